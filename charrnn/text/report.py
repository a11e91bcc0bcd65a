"""What a text is like: its characters, and the bits per character that a model of it must beat."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocabulary import CODE_POINTS, Codes, Vocabulary

SAMPLE = 2_000_000  # characters at the beginning of a text on which its entropies and its compressed size are measured
SHOWN = 10


class Census:
    """Counts the characters of a text that comes in pieces, and keeps its beginning.

    Attributes:
        counts: (0x110000,) how often each code occurs.
        beginning: the first SAMPLE codes, in pieces.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(CODE_POINTS, np.int64)
        self.beginning: list[Codes] = []
        self.total = 0

    def add(self, codes: Codes) -> None:
        """Count a piece."""
        counts = np.bincount(codes)
        self.counts[: len(counts)] += counts
        if self.total < SAMPLE:
            self.beginning.append(codes[: SAMPLE - self.total])
        self.total += len(codes)


def _conditional_entropy(contexts: NDArray[np.int64], symbols: NDArray[np.int64], size: int) -> float:
    """H(symbol | context) in bits, from counts (Shannon 1951, "Prediction and Entropy of Printed English")."""
    _, context, context_counts = np.unique(contexts, return_inverse=True, return_counts=True)
    pairs, counts = np.unique(context * size + symbols, return_counts=True)
    bits = -(counts * np.log2(counts / context_counts[pairs // size])).sum()
    return max(0.0, float(bits) / len(symbols))


def entropies(symbols: NDArray[np.integer], size: int) -> list[float | None]:
    """Entropy of order 0, 1 and 2 in bits per character; None where the text is too short for one.

    Args:
        symbols: (n,) numbers below `size`.
        size: V.
    """
    s = symbols.astype(np.int64)
    contexts = [np.zeros(len(s), np.int64), s[:-1], s[:-2] * size + s[1:-1]]
    return [
        _conditional_entropy(context, s[order:], size) if len(s) > order else None
        for order, context in enumerate(contexts)
    ]


def compressed_bits(content: bytes, characters: int) -> float | None:
    """Bits per character after xz; None for a Python without it."""
    try:
        import lzma
    except ImportError:
        return None
    return 8 * len(lzma.compress(content)) / characters


def script(code: int) -> str | None:
    """The script that a letter belongs to, by the first word of its Unicode name; None for what is no letter."""
    if not unicodedata.category(chr(code)).startswith("L"):
        return None
    name = unicodedata.name(chr(code), "OTHER").split()[0]
    return {"CJK": "Han"}.get(name, name.capitalize())


def describe_text(census: Census, vocabulary: Vocabulary) -> dict[str, Any]:
    """The report that goes into meta.json.

    Args:
        census: of the whole text.
        vocabulary: of the text; what it leaves out counts as its unknown symbol.
    Returns:
        commonest, rarest: [code, count] pairs; scripts: letters of each; sample: characters that the other figures
        are measured on; entropy: of order 0, 1 and 2, and xz: compressed size, in bits per character.
    """
    codes = np.flatnonzero(census.counts)
    counts = census.counts[codes]
    order = np.lexsort((codes, -counts))
    ranked = [[int(codes[k]), int(counts[k])] for k in [*order[:SHOWN], *order[SHOWN:][-SHOWN:]]]
    scripts: Counter[str] = Counter()
    if vocabulary.level == "char":
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            if (name := script(code)) is not None:
                scripts[name] += count
    pieces = [vocabulary.encode(piece, "the text", "replace") for piece in census.beginning]
    sample = np.concatenate(pieces)
    return {
        "commonest": ranked[:SHOWN],
        "rarest": ranked[SHOWN:],
        "scripts": dict(scripts.most_common()),
        "sample": len(sample),
        "entropy": entropies(sample, len(vocabulary)),
        "xz": compressed_bits(vocabulary.decode(sample), len(sample)),
    }
