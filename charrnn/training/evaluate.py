"""Evaluation: a whole text read once, left to right, with carried state."""

from __future__ import annotations

from collections.abc import Callable

from charrnn.model.network import Chunk, Network
from charrnn.text.data import Symbols
from charrnn.text.streams import Streams

STEPS = 256


class Evaluator:
    """Measures the loss of a network on one text; every character but the first is predicted and counts.

    Args:
        network: packed.
        symbols: (n,) the text, n >= 2.
    """

    def __init__(self, network: Network, symbols: Symbols) -> None:
        self.streams = Streams(symbols, 1, min(STEPS, len(symbols) - 1))
        self.chunk = Chunk(network, 1, self.streams.seq_len)

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
            if progress is not None and not progress(position + targets.size):
                return None
        return total / self.streams.steps
