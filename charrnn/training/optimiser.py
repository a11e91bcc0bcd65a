"""Optimisers: moments under the parameters' names, and one fused sweep for each update."""

from __future__ import annotations

import math

import numpy as np

from charrnn.engine.optimisers import BLOCK, adam, by_root_of_squares, momentum, sums_of_squares
from charrnn.model.parameters import Parameters
from charrnn.training.config import TrainConfig

MOMENTS = {"adam": ("m", "v"), "adamw": ("m", "v"), "rmsprop": ("v",), "adagrad": ("v",), "sgd": ("m",)}


class Optimiser:
    """Clips the gradient and updates the parameters.

    Args:
        config: which optimiser, its rate and its clipping.
        parameters: the ones to train; moments are made in their image.

    Attributes:
        moments: "m" and "v", as far as the optimiser has them.
        updates: how many updates have been made.
    """

    def __init__(self, config: TrainConfig, parameters: Parameters) -> None:
        self.config = config
        self.moments = {name: parameters.like() for name in MOMENTS[config.optimiser]}
        self.updates = 0
        self._sums = np.zeros(-(-parameters.flat.size // BLOCK))

    def norm(self, gradients: Parameters) -> float:
        """Global (Euclidean) norm of all gradients."""
        sums_of_squares(gradients.flat, self._sums)
        return math.sqrt(self._sums.sum())

    def update(self, parameters: Parameters, gradients: Parameters, norm: float, lr: float) -> None:
        """One update in place at learning rate lr, with clipping by the given global norm and by value."""
        config = self.config
        self.updates += 1
        scale = min(1.0, config.clip_norm / norm) if config.clip_norm and norm else 1.0
        bound = config.clip_value or math.inf
        assert config.beta2 is not None
        assert config.weight_decay is not None
        sweep = (scale, bound, 1.0 - lr * config.weight_decay)
        p, g = parameters.flat, gradients.flat
        if config.optimiser in ("adam", "adamw"):
            rate = lr / (1.0 - config.beta1**self.updates)
            correction = 1.0 / math.sqrt(1.0 - config.beta2**self.updates)
            scalars = (*sweep, rate, config.beta1, config.beta2, config.epsilon, correction)
            adam(p, g, self.moments["m"].flat, self.moments["v"].flat, scalars)
        elif config.optimiser == "sgd":
            of_m, of_g = (config.momentum, 1.0) if config.nesterov else (1.0, 0.0)
            momentum(p, g, self.moments["m"].flat, (*sweep, lr, config.momentum, of_m, of_g))
        else:
            decay, gain = (1.0, 1.0) if config.optimiser == "adagrad" else (config.beta2, 1.0 - config.beta2)
            by_root_of_squares(p, g, self.moments["v"].flat, (*sweep, lr, decay, gain, config.epsilon))
