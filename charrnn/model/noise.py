"""Noise that regularises training: how much of it, where, and which draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.engine.dropout import LEVELS, drop_rows, drop_units, drop_weights, threshold_and_scale
from charrnn.engine.panels import Array

KINDS = ("input", "output", "weights", "zoneout")  # each has masks of its own in each layer


def site(kind: str, layer: int = 0) -> np.uint64:
    """The counter of a place where masks are drawn."""
    return np.uint64(KINDS.index(kind) << 32 | layer)


@dataclass(frozen=True)
class Noise:
    """Rates of dropout, and the masks of dropout and zoneout.

    Args:
        between: the rate on the output of each layer that feeds another one.
        output: the rate on the output of the top layer.
        input: the rate on the input. Whole characters are dropped, because a one-hot vector has only one 1.
        weights: the rate on the recurrent weights. A whole chunk has one mask.
        variational: whether all time steps of a chunk have the same mask of units, or of symbols at the input.
            Otherwise each time step has its own.
        seed: the seed of the masks.
    """

    between: float = 0.0
    output: float = 0.0
    input: float = 0.0
    weights: float = 0.0
    variational: bool = False
    seed: int = 0

    def rate(self, layer: int, layers: int) -> float:
        """The rate on the output of a layer."""
        return self.output if layer == layers - 1 else self.between

    def drop(self, rate: float, layer: int, draw: int, x: Array, x_row: int, y: Array, rows: int, batch: int) -> None:
        """y[:, :rows] = x[:, x_row : x_row + rows] with units dropped at this rate. The same draw has the same mask."""
        threshold, scale = threshold_and_scale(rate)
        period = batch if self.variational else rows
        counters = np.uint64(self.seed), np.uint64(draw), site("output", layer)
        drop_units(x, x_row, y, rows, period, threshold, x.dtype.type(scale), *counters)

    def input_weights(self, draw: int, weights: Array, symbols: Array, batch: int) -> None:
        """Write weights[:rows], the factors of the rows' inputs.

        Args:
            draw: the number of the draw.
            weights: (>= rows,).
            symbols: (rows,) the inputs. With `variational`, a stream drops some symbols wherever they occur in the
                chunk, as Gal & Ghahramani (2016, section 4.2) drop words. To drop time steps would leave whole streams
                without input.
            batch: number of streams.
        """
        places = np.arange(symbols.size)
        if self.variational:
            places = places % batch << 32 | symbols
        threshold, scale = threshold_and_scale(self.input)
        drop_rows(weights, places, threshold, scale, np.uint64(self.seed), np.uint64(draw), site("input"))

    def drop_weights(self, layer: int, draw: int, w: Array, out: Array) -> None:
        """out = a layer's recurrent weights w, or their gradient, with some dropped. w and out may be one array."""
        threshold, scale = threshold_and_scale(self.weights)
        counters = np.uint64(self.seed), np.uint64(draw), site("weights", layer)
        drop_weights(w.reshape(-1), out.reshape(-1), threshold, w.dtype.type(scale), *counters)

    def zoneout(self, state: int, rate: float, layer: int, draw: int, keep: Array, rows: int) -> None:
        """keep[:, :rows] = 1 for units that keep their previous state, else 0. It is 1 with this rate."""
        threshold = np.uint64(LEVELS) - threshold_and_scale(rate)[0]
        place = site("zoneout", layer) + np.uint64(state << 32)
        counters = np.uint64(self.seed), np.uint64(draw), place
        keep[:, :rows] = 1
        drop_units(keep, 0, keep, rows, rows, threshold, keep.dtype.type(1), *counters)


@dataclass(frozen=True)
class Objective:
    """The terms that are minimised in addition to the cross-entropy.

    Args:
        smoothing: share of the target distribution that is uniform (Szegedy et al. 2016).
        activation: factor of the mean square of what the top layer gives to the output layer, after dropout.
        temporal: factor of the mean square of the top layer's change from one time step to the next, before dropout
            (both Merity, McCann & Socher 2017, "Revisiting Activation Regularization for Language RNNs").
    """

    smoothing: float = 0.0
    activation: float = 0.0
    temporal: float = 0.0
