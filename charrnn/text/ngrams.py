"""Smoothed n-gram models of order 0, 1 and 2: how well the simplest models predict a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDERS = 3  # order 0 knows how often each symbol occurs; order 1 also the symbol before, order 2 the two before

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Counts by key.

    Args:
        keys: (n,) in ascending order.
        counts: (n,) the count of each key.
    """

    keys: Integers
    counts: Integers

    def of(self, keys: Integers) -> Integers:
        """The count of each of these keys, 0 for those that are not in the table."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found: Integers = np.where(self.keys[at] == keys, self.counts[at], 0)
        return found


class WittenBell:
    """N-gram models with interpolated Witten-Bell smoothing.

        p(w | h) = (c(hw) + t(h) p(w | h')) / (c(h) + t(h))

    where c(hw) counts how often the symbol w follows the history h, c(h) is the sum of c(hw) over all w, t(h) is how
    many different symbols follow h, and h' is h without its first symbol. For the empty history, p(w | h') is the
    uniform distribution, 1 / V. After a history that never occurred, p(w | h) is p(w | h').

    Sources: Witten & Bell 1991, "The Zero-Frequency Problem", method C; as an interpolation in Chen & Goodman 1998,
    "An Empirical Study of Smoothing Techniques for Language Modeling", section 2.5.

    Args:
        symbols: (n,) the text to learn from: at least ORDERS numbers, all below `size`.
        size: V, at most 0x110000; an int64 holds the cube of this number.
    """

    def __init__(self, symbols: NDArray[np.integer], size: int) -> None:
        self.size = size
        s = symbols.astype(np.int64)
        self._tables = [self._count(s, order) for order in range(ORDERS)]

    def _key(self, grams: list[Integers]) -> Integers:
        """One number for each row of symbols; the numbers have the same order as the rows."""
        key = grams[0]
        for column in grams[1:]:
            key = key * self.size + column
        return key

    def _count(self, s: Integers, order: int) -> tuple[Table, Table, Table]:
        """c(hw), c(h) and t(h) of all histories of `order` symbols."""
        keys, counts = np.unique(self._key([s[k : len(s) - order + k] for k in range(order + 1)]), return_counts=True)
        histories, first, followers = np.unique(keys // self.size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        return Table(keys, counts), Table(histories, totals), Table(histories, followers)

    def probabilities(self, grams: NDArray[np.integer]) -> list[Floats]:
        """The probability of the last symbol of each row after the symbols before it, from the model of each order.

        Args:
            grams: (n, ORDERS) symbols.
        Returns:
            For each order, (n,) probabilities.
        """
        columns = list(grams.astype(np.int64).T)
        p = np.full(len(grams), 1 / self.size)
        every = []
        for order, (together, totals, followers) in enumerate(self._tables):
            key = self._key(columns[ORDERS - 1 - order :])
            history = key // self.size
            t = followers.of(history)
            p = np.where(t > 0, (together.of(key) + t * p) / np.maximum(totals.of(history) + t, 1), p)
            every.append(p)
        return every


def held_out_bits(rest: NDArray[np.integer], part: NDArray[np.integer], size: int) -> list[float]:
    """Cross-entropy in bits per symbol of order 0, 1 and 2 on a part that the models have not learned from.

    Args:
        rest: (n,) the text that they learn from, at least ORDERS symbols; its last symbols come before the part.
        part: (m,) the text that they are measured on; every symbol of it counts.
        size: V.
    """
    before = np.concatenate([rest[len(rest) - ORDERS + 1 :], part])
    grams = np.lib.stride_tricks.sliding_window_view(before, ORDERS)
    return [abs(float(np.log2(p).mean())) for p in WittenBell(rest, size).probabilities(grams)]
