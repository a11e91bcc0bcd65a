"""One text is cut into B contiguous streams, which are read side by side, chunk after chunk."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError


class Sliceable(Protocol):
    """A text of symbol numbers, in memory, in a file or in another order."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[np.unsignedinteger]: ...


class Streams:
    """A text cut into `batch` equal parts; a chunk takes the next few characters of each.

    Args:
        symbols: (n,) the text.
        batch: B, the number of streams.
        seq_len: time steps of a chunk, unless `chunk` is asked for another number.

    Attributes:
        steps: time steps in one stream; each step predicts one character of every stream.
    """

    def __init__(self, symbols: Sliceable, batch: int, seq_len: int) -> None:
        self.seq_len, self.batch = seq_len, batch
        self.steps = (len(symbols) - 1) // batch
        if self.steps < seq_len:
            shorter = max(1, min(seq_len, len(symbols) // 8))
            fitting = max(1, (len(symbols) - 1) // shorter)
            raise DataError(
                f"expected a training text of more than batch x seq-len = {batch * seq_len} characters, "
                f"got {len(symbols)}; try --batch {min(batch, fitting)} --seq-len {shorter}"
            )
        self._symbols = symbols

    def chunk(
        self, position: int, steps: int | None = None, past: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Inputs and targets (T, B): `steps` time steps from `position` on, and the `past` time steps before it.

        Args:
            position: a time step in each stream.
            steps: how many time steps from `position` on, seq_len unless given; fewer at the end of the text.
            past: how many time steps before `position`, at most `position`.
        Raises:
            ValueError: the position is not in the streams.
        """
        if not 0 <= past <= position < self.steps:
            raise ValueError(f"expected a time step from {past} to {self.steps - 1}, got {position}")
        end = min(position + (steps or self.seq_len), self.steps)
        starts = range(position - past, self.batch * self.steps, self.steps)
        pieces = [self._symbols[start : start + end + 1 - position + past] for start in starts]
        part = np.array(pieces, np.int32).T.copy()
        return part[:-1], part[1:]
