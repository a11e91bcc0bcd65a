"""Evaluation: a whole text is read once from left to right, and the state is carried along."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from charrnn.engine.panels import Array
from charrnn.model.network import Network
from charrnn.model.reader import SINGLE_STEPS, Reader, Text
from charrnn.text.stored import Symbols
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import Optimiser

MEASUREMENTS = 3  # of the speed
DYNAMIC_STEPS = 32  # characters between updates of dynamic evaluation


class PieceReader:
    """Reads a text piece by piece and sums its cross-entropy; every character except the first is predicted and counts.

    Args:
        network: packed.
        dynamic: learning rate of dynamic evaluation; 0 for none. In dynamic evaluation, each piece of the text is read
            and counted first. Then the network learns from the piece by one step of gradient descent (Mikolov et al.
            2010; Krause et al. 2018, "Dynamic Evaluation of Neural Sequence Models"). This changes its parameters.

    Attributes:
        steps: characters of a piece; only the last piece may have fewer.
        nats, chars: the sum of the cross-entropy so far, and over how many characters.
    """

    def __init__(self, network: Network, dynamic: float = 0.0) -> None:
        self.network, self.dynamic = network, dynamic
        self.reader = Reader(network, 1, DYNAMIC_STEPS if dynamic else SINGLE_STEPS)
        self.steps = self.reader.unrolled.most_steps
        descent = TrainConfig(optimiser="sgd", momentum=0.0, clip_norm=1.0)
        self.optimiser = Optimiser(descent, network.parameters) if dynamic else None
        self.begin()

    def begin(self) -> None:
        """Begin a text, from a state of zeros."""
        self.reader.unrolled.carried.reset()
        self.nats, self.chars = 0.0, 0

    def read(self, piece: Text) -> None:
        """Read and count a piece: (t + 1,) symbols; its last symbol is also the first one of the next piece."""
        nats = self.reader.losses(piece[:, None].astype(np.int32))
        self.nats += float(nats.sum(dtype=float))
        self.chars += nats.size
        self._learn(self.dynamic)

    def warm_up(self) -> None:
        """Compile or load the kernels; no parameter changes."""
        self.reader.losses(np.zeros((2, 1), np.int32))
        self._learn(rate=0.0)

    def _learn(self, rate: float) -> None:
        """One step on the piece just read, if evaluation is dynamic."""
        if self.optimiser is not None:
            self.reader.unrolled.backward()
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

    Attributes:
        chars: how many characters are predicted.
    """

    def __init__(self, network: Network, symbols: Symbols, dynamic: float = 0.0) -> None:
        self.reader, self.symbols = PieceReader(network, dynamic), symbols
        self.chars = len(symbols) - 1

    def warm_up(self) -> None:
        """Compile or load the kernels; no parameter changes."""
        self.reader.warm_up()

    def seconds_per_char(self) -> float:
        """How long it takes to predict one character: the shortest of some measurements on the text's first piece."""
        piece, times = self.symbols[: self.reader.steps + 1], []
        for _ in range(MEASUREMENTS):
            start = time.perf_counter()
            self.reader.read(piece)
            times.append(time.perf_counter() - start)
        return min(times) / (len(piece) - 1)

    def loss(self, progress: Callable[[int], bool] | None = None) -> float | None:
        """Mean cross-entropy in nats per character.

        Args:
            progress: called with the number of characters read so far; the evaluation stops when it returns False.
        Returns:
            The loss, or None if the evaluation was stopped.
        """
        self.reader.begin()
        for at in range(0, self.chars, self.reader.steps):
            self.reader.read(self.symbols[at : at + self.reader.steps + 1])
            if progress is not None and not progress(self.reader.chars):
                return None
        return self.reader.loss()


def loss_of_blocks(
    network: Network, blocks: Iterable[Array], dynamic: float = 0.0, progress: Callable[[int], bool] = lambda _: True
) -> tuple[float | None, int]:
    """The loss of a text that comes in blocks of any size; the text is not kept.

    The loss is the same as that of `Evaluator`, bit for bit.

    Args:
        network: packed.
        blocks: (n,) symbols each.
        dynamic: learning rate of dynamic evaluation.
        progress: as for `Evaluator.loss`.
    Returns:
        Mean cross-entropy in nats per character, or None if the evaluation was stopped or there was no character to
        predict; and how many characters were read.
    """
    reader, held = PieceReader(network, dynamic), np.zeros(0, np.int32)
    for block in blocks:
        held = np.concatenate([held, block.astype(np.int32)])
        while len(held) > reader.steps:
            reader.read(held[: reader.steps + 1])
            held = held[reader.steps :]
            if not progress(reader.chars):
                return None, reader.chars
    if len(held) > 1:
        reader.read(held)
    return (reader.loss() if reader.chars else None), reader.chars + bool(len(held))
