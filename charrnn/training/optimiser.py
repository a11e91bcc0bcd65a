"""Optimisers: moments with the names of the parameters, and fused passes over all parameters for each update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine.optimisers import (
    BLOCK,
    adam,
    by_root_of_squares,
    look_ahead,
    momentum,
    move_along,
    sums_of_squares,
)
from charrnn.engine.orthogonal import orthogonalise
from charrnn.engine.panels import Array, pack, panels_for, unpack, zeros
from charrnn.engine.simd import W
from charrnn.model.config import ModelConfig
from charrnn.model.network import readers_of_input, symbol_axes
from charrnn.model.parameters import Parameters
from charrnn.training.config import TrainConfig

MOMENTS = {
    **{"adam": ("m", "v"), "adamw": ("m", "v"), "muon": ("m", "v")},
    **{"rmsprop": ("v",), "adagrad": ("v",), "sgd": ("m",)},
}
MUON_SCRATCH = 5  # further numbers for each weight: its direction, and four packed matrices


class Optimiser:
    """Clips the gradient and updates the parameters.

    Args:
        config: which optimiser, its rate and its clipping.
        parameters: the parameters to train; the moments have the same names and shapes.
        factors: the factor of the learning rate for each name of a parameter that has one, see `rate_factors`.

    Attributes:
        moments: those of "m" and "v" that the optimiser has.
        updates: how many updates have been made.
    """

    def __init__(
        self, config: TrainConfig, parameters: Parameters, factors: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        self.config = config
        self.moments = {name: parameters.like() for name in MOMENTS[config.optimiser]}
        self.updates = 0
        self._sums = np.zeros(-(-parameters.flat.size // BLOCK))
        of_muon = hidden_matrices(parameters) if config.optimiser == "muon" else []
        self._matrices = [Matrix(name, parameters) for name in of_muon]
        self._runs = runs_of_equal_rate(
            {name: factors.get(name, 1.0) for name, _ in parameters.items() if name not in of_muon}, parameters
        )

    def norm(self, gradients: Parameters) -> float:
        """Global (Euclidean) norm of all gradients."""
        sums_of_squares(gradients.flat, self._sums)
        return math.sqrt(self._sums.sum())

    def update(self, parameters: Parameters, gradients: Parameters, norm: float, lr: float) -> None:
        """One update in place at learning rate lr, with clipping by the given global norm and by value."""
        config = self.config
        self.updates += 1
        scale = min(1.0, config.clip_norm / norm) if config.clip_norm and norm else 1.0
        assert config.weight_decay is not None
        assert config.momentum is not None
        clipping = (scale, config.clip_value or math.inf)
        for run, factor in self._runs:
            moments = {name: moment.flat[run] for name, moment in self.moments.items()}
            sweep = (*clipping, 1.0 - lr * factor * config.weight_decay)
            self._sweep(parameters.flat[run], gradients.flat[run], moments, sweep, lr * factor)
        if self._matrices:
            rate = lr * config.matrix_lr / config.lr
            for matrix in self._matrices:
                moment = self.moments["m"]
                matrix.update(parameters, gradients, moment, clipping, rate, config.momentum, config.weight_decay)

    def _sweep(self, p: Array, g: Array, moments: dict[str, Array], sweep: tuple[float, ...], lr: float) -> None:
        """One elementwise update of flat vectors."""
        config = self.config
        assert config.beta2 is not None
        if config.optimiser in ("adam", "adamw", "muon"):
            rate = lr / (1.0 - config.beta1**self.updates)
            correction = 1.0 / math.sqrt(1.0 - config.beta2**self.updates)
            means = (config.beta1, 1.0 - config.beta1, config.beta2, 1.0 - config.beta2)
            scalars = (*sweep, rate, *means, config.epsilon, correction)
            m, v = moments["m"], moments["v"]
            adam((p, g, m, v), (p, m, v), scalars)
        elif config.optimiser == "sgd":
            assert config.momentum is not None
            of_m, of_g = (config.momentum, 1.0) if config.nesterov else (1.0, 0.0)
            m = moments["m"]
            momentum((p, g, m), (p, m), (*sweep, lr, config.momentum, of_m, of_g))
        else:
            decay, gain = (1.0, 1.0) if config.optimiser == "adagrad" else (config.beta2, 1.0 - config.beta2)
            v = moments["v"]
            by_root_of_squares((p, g, v), (p, v), (*sweep, lr, decay, gain, config.epsilon))


class Matrix:
    """One weight matrix under Muon: the H x H part of each gate moves by the orthogonal matrix nearest to its momentum.

    Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks", with Nesterov's momentum: a step
    has the same size along every pair of singular vectors, so that rare directions are learnt as fast as common ones.

    Args:
        name: the name of the matrix, which has the shape (H, gates * H).
        parameters: the parameters that hold the matrix.
    """

    def __init__(self, name: str, parameters: Parameters) -> None:
        self.name = name
        height, width = parameters[name].shape
        self.gates = width // height
        self._order = np.arange(self.gates)
        self._direction = Parameters({name: (height, width)}, parameters.flat.dtype)
        panels = panels_for(height)
        self._packed = [zeros((self.gates * panels, panels * W, W), parameters.flat.dtype) for _ in range(4)]
        self._zero = zeros((W,), parameters.flat.dtype)

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        moment: Parameters,
        clipping: tuple[float, float],
        rate: float,
        beta: float,
        decay: float,
    ) -> None:
        """m = beta m + g; W = (1 - rate decay) W - rate orthogonal(g + beta m)."""
        place, direction = parameters.place(self.name), self._direction.flat
        p, g, m = parameters.flat[place], gradients.flat[place], moment.flat[place]
        look_ahead((m, g), (m, direction), (*clipping, beta))
        self._orthogonalise(self._direction[self.name])
        move_along((p, direction), (p,), (1.0 - rate * decay, rate))

    def _orthogonalise(self, direction: Array) -> None:
        """Replace the matrix of each gate by the orthogonal matrix that is nearest to it."""
        packed, *scratch = self._packed
        pack(direction, self.gates, self._order, packed)
        gram, polynomial, other = scratch
        threads = numba.get_num_threads()
        nearest = orthogonalise(packed, self.gates, self._zero, (gram, polynomial, other), threads)
        unpack(nearest, self.gates, self._order, direction)


def warm_up(config: TrainConfig, dtype: DTypeLike) -> Parameters:
    """Compile or load the kernels of an update.

    Returns:
        The few numbers of this dtype that the update was tried on; nobody reads them.
    """
    scratch = Parameters({"any": (1,), "any.W_h": (1, 1)}, dtype)
    optimiser = Optimiser(config, scratch)
    optimiser.update(scratch, scratch.like(), optimiser.norm(scratch), lr=0.0)
    return scratch


def hidden_matrices(parameters: Parameters) -> list[str]:
    """The weights between hidden units, H x H for each gate: all W_h, and W_x of the layers above the first."""
    return [
        name
        for name, view in parameters.items()
        if name.endswith(".W_h") or (name.endswith(".W_x") and not name.startswith("layer0."))
        if view.shape[1] % view.shape[0] == 0
    ]


def rate_factors(config: TrainConfig, model: ModelConfig) -> dict[str, float]:
    """The factor of the learning rate for the matrices between symbols and hidden units.

    An update with Adam moves every weight by about the rate. In a weighted sum these moves add up. So the rate of a
    matrix depends on how many inputs it has, and how large they are (Yang et al. 2021, "Tuning Large Neural Networks
    via Zero-Shot Hyperparameter Transfer", table 3). A gate gets only one row of those that the input looks up. The
    inputs of a projection, which reads the embedding, are larger than the outputs of hidden units.

    Returns:
        `input_rate` for a matrix with rows for the symbols, `output_rate` for one with columns, `projection_rate` for
        one that reads an embedding.
    """
    by_axis = (config.input_rate, config.output_rate)
    factors = {name: by_axis[axis] for name, axis in symbol_axes(model).items() if name != "b_y"}
    if model.embed:
        factors |= dict.fromkeys(readers_of_input(model), config.projection_rate)
    return factors


def runs_of_equal_rate(factors: Mapping[str, float], parameters: Parameters) -> list[tuple[slice, float]]:
    """The parts of the flat vector with the arrays of these names, and their factors; each part is as long as
    possible.
    """
    runs: list[tuple[slice, float]] = []
    for name, factor in factors.items():
        place = parameters.place(name)
        if runs and (runs[-1][0].stop, runs[-1][1]) == (place.start, factor):
            place = slice(runs.pop()[0].start, place.stop)
        runs.append((place, factor))
    return runs
