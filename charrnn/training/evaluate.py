"""Evaluation: a whole text read once, left to right, with carried state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from charrnn.engine.panels import Array
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled
from charrnn.text.stored import Symbols
from charrnn.text.streams import Streams
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import Optimiser

STEPS = 256
MEASUREMENTS = 3  # of the speed
DYNAMIC_STEPS = 32  # characters between updates of dynamic evaluation


class PieceReader:
    """Reads a text piece by piece and sums up its cross-entropy; every character but the first is predicted and counts.

    Args:
        network: packed.
        dynamic: learning rate of dynamic evaluation, 0 for none: after each piece of the text was read and counted, the
            network learns from it by one step of gradient descent (Mikolov et al. 2010; Krause et al. 2018,
            "Dynamic Evaluation of Neural Sequence Models"). Its parameters are then changed.

    Attributes:
        steps: characters of a piece; only the last one may have fewer.
        nats, chars: the sum so far, and of how many characters.
    """

    def __init__(self, network: Network, dynamic: float = 0.0) -> None:
        self.network, self.dynamic = network, dynamic
        self.steps = DYNAMIC_STEPS if dynamic else STEPS
        self.unrolled = Unrolled(network, 1, self.steps)
        descent = TrainConfig(optimiser="sgd", momentum=0.0, clip_norm=1.0)
        self.optimiser = Optimiser(descent, network.parameters) if dynamic else None
        self.begin()

    def begin(self) -> None:
        """Begin a text, from a state of zeros."""
        self.unrolled.reset_state()
        self.nats, self.chars = 0.0, 0

    def read(self, inputs: Array, targets: Array) -> None:
        """Count a piece: (t, 1) symbols, and those that follow them."""
        self.unrolled.forward(inputs)
        self.nats += self.unrolled.loss(targets) * targets.size
        self.chars += targets.size
        self._learn(self.dynamic)

    def warm_up(self) -> None:
        """Have the kernels compiled or loaded; no parameter changes."""
        symbols = np.zeros((1, 1), np.int32)
        self.unrolled.forward(symbols)
        self.unrolled.loss(symbols)
        self._learn(rate=0.0)

    def _learn(self, rate: float) -> None:
        """One step on the piece just read, if evaluation is dynamic."""
        if self.optimiser is not None:
            self.unrolled.backward()
            gradients = self.network.gradients
            self.optimiser.update(self.network.parameters, gradients, self.optimiser.norm(gradients), rate)
            self.network.pack()

    def loss(self) -> float:
        """Mean cross-entropy so far in nats per character."""
        return self.nats / self.chars


class Evaluator:
    """Measures the loss of a network on one text; see `PieceReader`.

    Args:
        network: packed.
        symbols: (n,) the text, n >= 2.
        dynamic: learning rate of dynamic evaluation.
    """

    def __init__(self, network: Network, symbols: Symbols, dynamic: float = 0.0) -> None:
        self.reader, self.symbols = PieceReader(network, dynamic), symbols
        self.unrolled = self.reader.unrolled
        self.streams = Streams(symbols, 1, min(self.reader.steps, len(symbols) - 1))

    def warm_up(self) -> None:
        """Have the kernels compiled or loaded; no parameter changes."""
        self.reader.warm_up()

    def seconds_per_char(self) -> float:
        """How long it takes to predict one character: the best of some measurements on the first piece of the text."""
        inputs, targets = self.streams.chunk(0)
        times = []
        for _ in range(MEASUREMENTS):
            start = time.perf_counter()
            self.unrolled.forward(inputs)
            self.unrolled.loss(targets)
            times.append(time.perf_counter() - start)
        return min(times) / targets.size

    def loss(self, progress: Callable[[int], bool] | None = None) -> float | None:
        """Mean cross-entropy in nats per character.

        Args:
            progress: called with the characters read so far; evaluation is given up when it returns False.
        Returns:
            The loss, or None when given up.
        """
        self.reader.begin()
        for position in range(0, self.streams.steps, self.streams.seq_len):
            self.reader.read(*self.streams.chunk(position))
            if progress is not None and not progress(self.reader.chars):
                return None
        return self.reader.loss()


def loss_of_blocks(
    network: Network, blocks: Iterable[Array], dynamic: float = 0.0, progress: Callable[[int], bool] = lambda _: True
) -> tuple[float | None, int]:
    """The loss of a text that comes in blocks of any size, bit for bit that of `Evaluator`, without keeping the text.

    Args:
        network: packed.
        blocks: (n,) symbols each.
        dynamic: learning rate of dynamic evaluation.
        progress: as for `Evaluator.loss`.
    Returns:
        Mean cross-entropy in nats per character, None when given up or without a character to predict; and how many
        characters came.
    """
    reader, held = PieceReader(network, dynamic), np.zeros(0, np.int32)
    for block in blocks:
        held = np.concatenate([held, block.astype(np.int32)])
        while len(held) > reader.steps:
            reader.read(held[: reader.steps, None], held[1 : reader.steps + 1, None])
            held = held[reader.steps :]
            if not progress(reader.chars):
                return None, reader.chars
    if len(held) > 1:
        reader.read(held[:-1, None], held[1:, None])
    return (reader.loss() if reader.chars else None), reader.chars + bool(len(held))
