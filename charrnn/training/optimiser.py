"""Optimisers: moments under the parameters' names, and one fused sweep for each update."""

from __future__ import annotations

import math

import numpy as np

from charrnn.engine.optimisers import BLOCK, adam, momentum, rmsprop, sums_of_squares
from charrnn.model.parameters import Parameters
from charrnn.training.config import TrainConfig

MOMENTS = {"adam": ("m", "v"), "rmsprop": ("v",), "sgd": ("m",)}
BETA1, BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8  # Kingma & Ba (2015)
DECAY, RMSPROP_EPSILON = 0.95, 1e-8  # char-rnn's setting of RMSprop


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
        p, g = parameters.flat, gradients.flat
        if config.optimiser == "adam":
            rate = lr / (1.0 - BETA1**self.updates)
            correction = 1.0 / math.sqrt(1.0 - BETA2**self.updates)
            scalars = (scale, bound, rate, BETA1, BETA2, ADAM_EPSILON, correction)
            adam(p, g, self.moments["m"].flat, self.moments["v"].flat, scalars)
        elif config.optimiser == "rmsprop":
            rmsprop(p, g, self.moments["v"].flat, (scale, bound, lr, DECAY, RMSPROP_EPSILON))
        else:
            momentum(p, g, self.moments["m"].flat, (scale, bound, lr, config.momentum))
