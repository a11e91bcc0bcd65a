"""The lines of a text: a description of them, and a random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError
from charrnn.text.vocabulary import Codes, Vocabulary

SHORT = 32  # characters of the longest line that counts as short
LEAST_LINES, LEAST_SHORT, MOST_EMPTY = 20, 0.9, 0.01  # of a list: number of lines, and shares of short and empty ones
BLOCK = 1 << 20  # characters that are put in order at a time
GOLDEN = 0x9E3779B97F4A7C15


def describe_lines(symbols: Codes, vocabulary: Vocabulary) -> dict[str, Any]:
    """What the report says about the lines that end in a line break.

    Args:
        symbols: (n,) symbol numbers.
        vocabulary: the vocabulary of these symbols.
    Returns:
        count: how many lines; short: how many of 1 to SHORT characters; empty: how many without characters; cr_lf: how
        many end in CR LF; list: whether the text looks like a list, for example of names. A list has at least 20 lines,
        at least 9 of 10 are short, and at most 1 of 100 is empty. (Verse and speech also have short lines, but empty
        lines between them.)
    """
    breaks = _places(symbols, vocabulary.line_break)
    carriage_returns = symbols[np.maximum(breaks - 1, 0)] == vocabulary.numbers[ord("\r")]
    lengths = np.diff(breaks, prepend=-1) - 1 - carriage_returns
    count, empty = len(lengths), int((lengths == 0).sum())
    short = int((lengths <= SHORT).sum()) - empty
    return {
        "count": count,
        "short": short,
        "empty": empty,
        "cr_lf": int(carriage_returns.sum()),
        "list": count >= LEAST_LINES and short >= LEAST_SHORT * count and empty <= MOST_EMPTY * count,
    }


def _places(symbols: Codes, line_break: int) -> NDArray[np.int64]:
    return np.flatnonzero(symbols == line_break) if line_break >= 0 else np.zeros(0, np.int64)


def shuffled_lines(symbols: Codes, line_break: int, seed: int) -> Iterator[Codes]:
    """The lines of a text in a random order, which depends only on the seed and on the number of lines.

    Each line gets a hash of 64 bits, and the lines are sorted by their hashes. The hash is that of SplitMix64, applied
    to a counter (Steele, Lea & Flood 2014, "Fast Splittable Pseudorandom Number Generators"). If the last line of the
    text has no line break, it gets one, and the last line of the new order loses its line break. So the text keeps its
    characters and their number.

    Args:
        symbols: (n,) symbol numbers.
        line_break: the symbol number of the line break; negative if the vocabulary has none.
        seed: 0 or more.
    Returns:
        Pieces of the text.
    Raises:
        DataError: there is no line break.
    """
    breaks = _places(symbols, line_break)
    if not len(breaks):
        lacks = " in its vocabulary; try a larger one, or" if line_break < 0 else "; try"
        raise DataError(f"expected a text of lines for --shuffle-lines, got one without a line break{lacks} without it")
    is_ended = breaks[-1] == len(symbols) - 1
    stops = breaks if is_ended else np.append(breaks, len(symbols))
    starts = np.concatenate([[0], stops[:-1] + 1])
    order = np.argsort(_hashes(len(stops), seed), kind="stable")
    ends = np.cumsum((stops - starts + 1)[order])
    cuts = np.unique(np.searchsorted(ends, np.arange(BLOCK, ends[-1], BLOCK)))
    for lines in np.split(order, cuts[cuts > 0]):
        piece = _joined(symbols, starts[lines], stops[lines], line_break)
        is_last = lines[-1] == order[-1]
        yield piece[:-1] if is_last and not is_ended else piece


def _joined(symbols: Codes, starts: NDArray[np.int64], stops: NDArray[np.int64], line_break: int) -> Codes:
    """These lines one after the other, each with a line break at its end."""
    sizes = stops - starts + 1
    ends = np.cumsum(sizes)
    taken = np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
    piece: Codes = symbols[np.minimum(taken, len(symbols) - 1)]
    piece[ends - 1] = line_break
    return piece


def _hashes(count: int, seed: int) -> NDArray[np.uint64]:
    """(count,) numbers of 64 bits."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN) + _mix(np.array([seed], np.uint64))
    return _mix(z)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of the result depends on every bit of z. Kernels have theirs in random.py."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
