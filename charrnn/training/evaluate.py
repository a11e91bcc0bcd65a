"""Evaluation: a whole text read once, left to right, with carried state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from charrnn.model.chunk import Chunk
from charrnn.model.network import Network
from charrnn.text.data import Symbols
from charrnn.text.streams import Streams
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import Optimiser

STEPS = 256
DYNAMIC_STEPS = 32  # characters between updates of dynamic evaluation


class Evaluator:
    """Measures the loss of a network on one text; every character but the first is predicted and counts.

    Args:
        network: packed.
        symbols: (n,) the text, n >= 2.
        dynamic: learning rate of dynamic evaluation, 0 for none: after each piece of the text was read and counted, the
            network learns from it by one step of gradient descent (Mikolov et al. 2010; Krause et al. 2018,
            "Dynamic Evaluation of Neural Sequence Models"). Its parameters are then changed.
    """

    def __init__(self, network: Network, symbols: Symbols, dynamic: float = 0.0) -> None:
        self.network, self.dynamic = network, dynamic
        self.streams = Streams(symbols, 1, min(DYNAMIC_STEPS if dynamic else STEPS, len(symbols) - 1))
        self.chunk = Chunk(network, 1, self.streams.seq_len)
        descent = TrainConfig(optimiser="sgd", momentum=0.0, clip_norm=1.0)
        self.optimiser = Optimiser(descent, network.parameters) if dynamic else None

    def warm_up(self) -> None:
        """Have the kernels compiled or loaded; no parameter changes."""
        symbols = np.zeros((1, 1), np.int32)
        self.chunk.forward(symbols)
        self.chunk.loss(symbols)
        self._learn(rate=0.0)

    def _learn(self, rate: float) -> None:
        """One step on the piece just read, if evaluation is dynamic."""
        if self.optimiser is not None:
            self.chunk.backward()
            gradients = self.network.gradients
            self.optimiser.update(self.network.parameters, gradients, self.optimiser.norm(gradients), rate)
            self.network.pack()

    def loss(self, progress: Callable[[int], bool] | None = None) -> float | None:
        """Mean cross-entropy in nats per character.

        Args:
            progress: called with the characters read so far; evaluation is given up when it returns False.
        Returns:
            The loss, or None when given up.
        """
        self.chunk.reset_state()
        total = 0.0
        for position in range(0, self.streams.steps, self.streams.seq_len):
            inputs, targets = self.streams.chunk(position)
            self.chunk.forward(inputs)
            total += self.chunk.loss(targets) * targets.size
            self._learn(self.dynamic)
            if progress is not None and not progress(position + targets.size):
                return None
        return total / self.streams.steps
