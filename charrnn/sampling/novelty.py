"""Which passages of a text also stand in another text: the longest verbatim passage that ends at each place.

A suffix automaton is built from the text, symbol by symbol (Blumer et al. 1985, "The smallest automaton recognizing
the subwords of a text"). Then the other text, which may be much longer, runs through the automaton once. Each state
stands for some substrings that end at the same places. `length` is the length of the longest of them. `link` is the
state of its longest suffix that ends at more places.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.engine.kernel import kernel, subroutine

MOST_SYMBOLS = 1 << 29  # of the text: its states and edges are counted in int32


# The automaton of a text of n symbols. It has at most 2n states and 3n edges. All arrays are int32 but `where`:
#
#     length, link     (states,)
#     first            (states,) the first edge of each state, or -1; the edges of a state form a list
#     edges            (edges, 5) the columns below
#     buckets          (a power of two,) the first edge of each bucket, or -1; the edges of a bucket form a list too
#     prefixes         (n,) the state of each beginning of the text
#     matched          (states,) the longest of each state's substrings that the other text holds, or 0
#     where            (states,) int64, the place in the other text where this substring ended
#     known            (states,) of each state and its suffixes, the longest that was found in the other text
#
# A state of a text with thousands of symbols may have as many edges. So an edge is looked up in a hash table.
SOURCE, SYMBOL, TARGET, NEXT, NEXT_IN_BUCKET = range(5)  # columns of `edges`


@subroutine()
def _bucket(buckets, state, v):  # type: ignore[no-untyped-def]
    """The bucket of a state's edge with symbol v (multiplicative hashing, Knuth, TAOCP volume 3, section 6.4)."""
    mixed = (state * 0x9E3779B1 + v * 0x85EBCA6B) & 0xFFFFFFFF
    return (mixed ^ (mixed >> 15)) & (buckets.size - 1)


@subroutine()
def _edge(edges, buckets, state, v):  # type: ignore[no-untyped-def]
    """The edge of a state with symbol v, or -1."""
    edge = buckets[_bucket(buckets, state, v)]
    while edge >= 0 and (edges[edge, SOURCE] != state or edges[edge, SYMBOL] != v):
        edge = edges[edge, NEXT_IN_BUCKET]
    return edge


@subroutine()
def _add(edges, buckets, first, edge, state, v, target):  # type: ignore[no-untyped-def]
    """Make this edge one from the state to the target, with symbol v."""
    bucket = _bucket(buckets, state, v)
    edges[edge, SOURCE], edges[edge, SYMBOL], edges[edge, TARGET] = state, v, target
    edges[edge, NEXT], first[state] = first[state], edge
    edges[edge, NEXT_IN_BUCKET], buckets[bucket] = buckets[bucket], edge


@kernel()
def _build(text, length, link, first, edges, buckets, prefixes):  # type: ignore[no-untyped-def]
    """Put a text's automaton into the arrays; returns how many states it has."""
    states, used, last = 1, 0, 0
    length[0], link[0], first[0] = 0, -1, -1
    for i in range(text.size):
        v = text[i]
        new = states
        states += 1
        length[new], first[new], link[new] = length[last] + 1, -1, 0
        p = last
        while p >= 0 and _edge(edges, buckets, p, v) < 0:
            _add(edges, buckets, first, used, p, v, new)
            used += 1
            p = link[p]
        if p >= 0:
            q = edges[_edge(edges, buckets, p, v), TARGET]
            if length[q] == length[p] + 1:
                link[new] = q
            else:
                clone = states
                states += 1
                length[clone], link[clone], first[clone] = length[p] + 1, link[q], -1
                edge = first[q]
                while edge >= 0:
                    _add(edges, buckets, first, used, clone, edges[edge, SYMBOL], edges[edge, TARGET])
                    used += 1
                    edge = edges[edge, NEXT]
                while p >= 0:
                    edge = _edge(edges, buckets, p, v)
                    if edge < 0 or edges[edge, TARGET] != q:
                        break
                    edges[edge, TARGET] = clone
                    p = link[p]
                link[q] = link[new] = clone
        last = new
        prefixes[i] = new
    return states


@kernel()
def _run(text, start, state, found, length, link, edges, buckets, matched, where):  # type: ignore[no-untyped-def]
    """Run a part of the other text through the automaton, and note what is found. The part begins at place `start`.

    Takes and returns the state, and how many of the last symbols stand in the automaton's text.
    """
    for j in range(text.size):
        v = text[j]
        edge = _edge(edges, buckets, state, v)
        while edge < 0 and state > 0:
            state = link[state]
            found = length[state]
            edge = _edge(edges, buckets, state, v)
        if edge >= 0:
            state = edges[edge, TARGET]
            found += 1
            if found > matched[state]:
                matched[state], where[state] = found, start + j
    return state, found


@kernel(allocates=True)
def _spread(length, link, matched, where, known):  # type: ignore[no-untyped-def]
    """Mark the suffixes: if a substring of a state was found, all its suffixes were found too. Then fill `known`."""
    order = np.argsort(-length)
    for state in order:
        above = link[state]
        if above >= 0 and matched[state] > 0 and matched[above] < length[above]:
            matched[above], where[above] = length[above], where[state]
    for state in order[::-1]:
        known[state] = state if matched[state] > 0 or link[state] < 0 else known[link[state]]


@kernel()
def _longest(prefixes, known, matched, where, found, place):  # type: ignore[no-untyped-def]
    """For each place of the text, the longest substring that ends there and was found in the other text."""
    for i in range(prefixes.size):
        state = known[prefixes[i]]
        found[i], place[i] = matched[state], where[state]


@dataclass(frozen=True)
class Passage:
    """A passage that stands verbatim in both texts: where it begins in each, and how long it is."""

    start: int
    there: int
    length: int


class Overlap:
    """How a text overlaps with another.

    Args:
        text: (n,) integers, n >= 1.
        other: (m,) integers, in parts.
    Raises:
        ValueError: the text is empty or too long.

    Attributes:
        found: (n,) for each place of the text, how many symbols up to this place stand verbatim in the other text.
        ends: (n,) the place in the other text where these symbols end.
    """

    def __init__(self, text: NDArray[np.integer], other: Iterable[NDArray[np.integer]]) -> None:
        n = len(text)
        if not 1 <= n <= MOST_SYMBOLS:
            raise ValueError(f"expected a text of 1 to {MOST_SYMBOLS:,} symbols, got {n:,}")
        length, link, first = (np.empty(2 * n + 1, np.int32) for _ in range(3))
        edges, prefixes = np.empty((3 * n, 5), np.int32), np.empty(n, np.int32)
        buckets = np.full(1 << (3 * n - 1).bit_length(), -1, np.int32)
        states = _build(text.astype(np.int32), length, link, first, edges, buckets, prefixes)
        length, link = length[:states], link[:states]
        matched, where = np.zeros(states, np.int32), np.full(states, -1, np.int64)
        state = found = start = 0
        for part in other:
            symbols = np.ascontiguousarray(part, np.int32)
            state, found = _run(symbols, start, state, found, length, link, edges, buckets, matched, where)
            start += len(part)
        known = np.empty(states, np.int32)
        _spread(length, link, matched, where, known)
        self.found, self.ends = np.zeros(n, np.int32), np.zeros(n, np.int64)
        _longest(prefixes, known, matched, where, self.found, self.ends)

    def new_share(self, length: int) -> float | None:
        """The share of the text's n-grams of this length that the other text does not hold; None if there are none."""
        ends = self.found[length - 1 :]
        return float((ends < length).mean()) if len(ends) else None

    def passages(self, most: int, least: int = 1) -> list[Passage]:
        """The longest passages that stand in both texts. No passage lies inside another one.

        Args:
            most: how many passages at most.
            least: how many symbols a passage has at least.
        """
        grows = np.append(self.found[1:] == self.found[:-1] + 1, False)
        ends = np.flatnonzero(~grows & (self.found >= least))
        longest = ends[np.argsort(-self.found[ends], kind="stable")][:most]
        return [
            Passage(int(i - self.found[i] + 1), int(self.ends[i] - self.found[i] + 1), int(self.found[i]))
            for i in longest
        ]
