"""A text whose pieces are read in a random order, another one in each epoch.

Most texts change along the way: chapters, files, authors. B streams that read a text in its own order are in only B
places at a time. So a model follows the change, and at the end of the run it knows best what it has read last. In a
random order, each part of a run sees pieces from everywhere, as independent examples would be (Bottou 2012, "Stochastic
Gradient Descent Tricks", section 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.engine.random import PURPOSES, fill_uniform
from charrnn.model.network import NO_SYMBOL
from charrnn.text.stored import Symbols, blocks


class ShuffledText:
    """A text of n symbols in the order of an epoch; in its own order until `turn_to` is called.

    The order depends only on the text, the length of pieces, the seed and the epoch. Each epoch chooses other places. A
    piece begins at the first line that begins in the next `length` symbols after such a place. If there is none, it
    begins at the place itself. The last piece stays last, because it need not end with a line break.

    Args:
        symbols: (n,) the text.
        length: about how many symbols each piece has.
        seed: of the random numbers.
        line_break: the symbol at the end of each line; NO_SYMBOL if there is none.
        whole_lines: every piece begins with a line, however far away it is.
    """

    def __init__(
        self, symbols: Symbols, length: int, seed: int, line_break: int = NO_SYMBOL, whole_lines: bool = False
    ) -> None:
        self._symbols, self._length, self._seed = symbols, length, np.uint64(seed)
        self._line_break, self._whole_lines = line_break, whole_lines
        self._epoch = -1
        self._ends, self._moves = np.array([len(symbols)]), np.array([0])

    def __len__(self) -> int:
        return len(self._symbols)

    def turn_to(self, epoch: int) -> None:
        """Take the order of an epoch, which is 0 or more."""
        if epoch == self._epoch:
            return
        n = len(self)
        numbers = np.empty(n // self._length + 2)
        fill_uniform(numbers, 0.0, 1.0, self._seed, PURPOSES["shuffle"], np.uint64(epoch))
        cuts = self._cuts(1 + int(numbers[-1] * self._length))
        starts = np.concatenate([[0], cuts])
        order = np.append(np.argsort(numbers[: len(cuts)], kind="stable"), len(cuts))
        sizes = np.diff(starts, append=n)[order]
        self._ends = np.cumsum(sizes)  # of the pieces, in the order of reading
        self._moves = starts[order] - (self._ends - sizes)  # from a place in that order to the place in the text
        self._epoch = epoch

    def _cuts(self, first: int) -> NDArray[np.int64]:
        """Where pieces begin, but for the first one, if the text is cut from the place `first` on."""
        places = np.arange(first, len(self), self._length)
        if self._line_break == NO_SYMBOL:
            return places
        lines = line_starts_from(self._symbols, places, self._line_break)
        if not self._whole_lines:
            lines = np.where((lines < len(self)) & (lines - places < self._length), lines, places)
        return np.unique(lines[lines < len(self)])

    def __getitem__(self, part: slice) -> NDArray[np.unsignedinteger]:
        """At least one symbol: those that follow each other in the order of reading, from one piece or from several."""
        start, stop, _ = part.indices(len(self))
        found = []
        piece = int(self._ends.searchsorted(start, side="right"))
        while start < stop:
            end, move = min(stop, int(self._ends[piece])), int(self._moves[piece])
            found.append(self._symbols[start + move : end + move])
            start, piece = end, piece + 1
        return found[0] if len(found) == 1 else np.concatenate(found)


def line_starts_from(symbols: Symbols, places: NDArray[np.int64], line_break: int) -> NDArray[np.int64]:
    """For each place, the beginning of the first line that begins there or after it; n if there is none.

    Args:
        symbols: (n,) the text.
        places: in ascending order.
        line_break: the symbol at the end of each line.
    """
    found = np.full(len(places), len(symbols))
    begin = done = 0
    for block in blocks(symbols):
        starts = begin + 1 + np.flatnonzero(block == line_break)
        begin += len(block)
        known = np.searchsorted(places, starts[-1], side="right") if len(starts) else done
        found[done:known] = starts[np.searchsorted(starts, places[done:known])]
        done = known
    return found
