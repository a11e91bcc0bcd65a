"""Noise that regularises training: how much of it, where, and which draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.engine.dropout import drop_rows, drop_units, threshold_and_scale
from charrnn.engine.panels import Array

INPUT = np.uint64(0)  # the site of dropout on the input; that on the output of layer l is l + 1


@dataclass(frozen=True)
class Noise:
    """Dropout rates.

    Args:
        between: on the output of each layer that feeds another one.
        output: on the output of the top layer.
        input: on the input: whole characters are dropped, as a one-hot vector's only 1 is.
        variational: one mask for all time steps of a chunk, instead of one for each.
        seed: of the masks.
    """

    between: float = 0.0
    output: float = 0.0
    input: float = 0.0
    variational: bool = False
    seed: int = 0

    def rate(self, layer: int, layers: int) -> float:
        """The rate on the output of a layer."""
        return self.output if layer == layers - 1 else self.between

    def drop(self, rate: float, layer: int, draw: int, x: Array, x_row: int, y: Array, rows: int, batch: int) -> None:
        """y[:, :rows] = x[:, x_row : x_row + rows] with units dropped at this rate; the same mask for the same draw."""
        threshold, scale = threshold_and_scale(rate)
        period = batch if self.variational else rows
        seed, site = np.uint64(self.seed), np.uint64(layer + 1)
        drop_units(x, x_row, y, rows, period, threshold, x.dtype.type(scale), seed, np.uint64(draw), site)

    def input_weights(self, draw: int, weights: Array, rows: int, batch: int) -> None:
        """weights[:rows]: what the input of each row is multiplied with."""
        threshold, scale = threshold_and_scale(self.input)
        period = batch if self.variational else rows
        drop_rows(weights, rows, period, threshold, scale, np.uint64(self.seed), np.uint64(draw), INPUT)
