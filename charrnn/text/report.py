"""The report of a text: its characters, and the bits per character that a model of the text must beat."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.lines import describe_lines
from charrnn.text.ngrams import ORDERS, held_out_bits
from charrnn.text.stored import Symbols
from charrnn.text.vocabulary import CODE_POINTS, Codes, Vocabulary

SAMPLE = 2_000_000  # characters at the beginning of a text on which simple models are measured
XZ_SAMPLE = 2_000_000  # bytes that xz, by far the slowest of them, reads at most
HELD_OUT = 0.1  # of the training text, if there is no validation text
SHOWN = 10
SCRIPTS = {  # first words of names that are not the name of a script
    **{"CJK": "Han", "IDEOGRAPHIC": "Han", "KATAKANA-HIRAGANA": "Katakana", "MICRO": "Greek"},
    **dict.fromkeys(("FEMININE", "MASCULINE"), "Latin"),
    **dict.fromkeys(("MODIFIER", "MATHEMATICAL", "SCRIPT", "DOUBLE-STRUCK", "BLACK-LETTER"), "Other"),
}
WIDTHS = ("FULLWIDTH", "HALFWIDTH")  # words before the script in the names of characters


class Census:
    """Counts the characters of a text that comes in pieces.

    Attributes:
        counts: (0x110000,) how often each code occurs.
        total: the sum of all counts.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(CODE_POINTS, np.int64)
        self.total = 0

    def add(self, codes: Codes) -> None:
        """Count a piece."""
        counts = np.bincount(codes)
        self.counts[: len(counts)] += counts
        self.total += len(codes)


def describe_text(census: Census, vocabulary: Vocabulary, splits: Mapping[str, Symbols]) -> dict[str, Any]:
    """The report that goes into meta.json.

    Args:
        census: the counts of the whole text.
        vocabulary: the vocabulary of the text; a character that it leaves out counts as its unknown symbol.
        splits: name -> (n,) symbol numbers, without empty splits.
    Returns:
        commonest, rarest: [code, count] pairs; scripts: the number of letters of each script; lines: what
        `describe_lines` says about the beginning of the training text; to_beat: see `simple_models`.
    """
    codes = np.flatnonzero(census.counts)
    counts = census.counts[codes]
    order = np.lexsort((codes, -counts))
    ranked = [[int(codes[k]), int(counts[k])] for k in [*order[:SHOWN], *order[SHOWN:][-SHOWN:]]]
    return {
        "commonest": ranked[:SHOWN],
        "rarest": ranked[SHOWN:],
        "scripts": _scripts(codes, counts) if vocabulary.level == "char" else {},
        "lines": describe_lines(splits["train"][:SAMPLE], vocabulary),
        "to_beat": simple_models(splits, vocabulary),
    }


def _scripts(codes: NDArray[np.int64], counts: NDArray[np.int64]) -> dict[str, int]:
    scripts: Counter[str] = Counter()
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        if (name := script(code)) is not None:
            scripts[name] += count
    return dict(scripts.most_common())


def script(code: int) -> str | None:
    """The script that a letter belongs to, from its Unicode name, which begins with it; None if it is not a letter."""
    if not unicodedata.category(chr(code)).startswith("L"):
        return None
    words = [word for word in unicodedata.name(chr(code), "OTHER").split() if word not in WIDTHS]
    return SCRIPTS.get(words[0], words[0].capitalize())


def simple_models(splits: Mapping[str, Symbols], vocabulary: Vocabulary) -> dict[str, Any]:
    """What simple models reach on text that they have not seen.

    The models learn from the beginning of the training text, and are measured on the beginning of the validation text.
    Both parts together have at most SAMPLE characters. If there is no validation text, the models are measured on the
    last tenth of the first SAMPLE characters of the training text, and learn from the other nine tenths.

    Returns:
        split: the split that the models are measured on; learned, measured: how many characters; orders: bits per
        character of n-gram models of order 0, 1 and 2; xz: see `xz_bits`. The figures are None if the text is too
        short.
    """
    split = "val" if "val" in splits else "train"
    most = int(SAMPLE * HELD_OUT)
    if split == "val":
        rest, part = splits["train"][: SAMPLE - most], splits["val"][:most]
    else:
        beginning = splits["train"][:SAMPLE]
        cut = len(beginning) - max(1, int(len(beginning) * HELD_OUT))
        rest, part = beginning[:cut], beginning[cut:]
    enough = len(rest) >= ORDERS
    return {
        "split": split,
        "learned": len(rest),
        "measured": len(part),
        "orders": held_out_bits(rest, part, len(vocabulary)) if enough else [None] * ORDERS,
        "xz": xz_bits(vocabulary.decode(rest), vocabulary.decode(part), len(part)) if enough else None,
    }


def xz_bits(rest: bytes, part: bytes, characters: int) -> float | None:
    """How many bits each character of a part adds to the rest when xz -6 compresses both; None in a Python without xz.

    The bits are the compressed size of rest and part together, minus the compressed size of the rest. The texts are
    compressed as xz does (LZMA2, preset 6), but without the head and the end of the file. If the rest is too long, only
    its end is used.

    Args:
        rest, part: texts in UTF-8, or bytes at level byte.
        characters: the number of characters in the part.
    """
    try:
        import lzma
    except ImportError:
        return None

    def size(content: bytes) -> int:
        return len(lzma.compress(content, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}]))

    rest = rest[-max(1, XZ_SAMPLE - len(part)) :]
    with ThreadPoolExecutor(2) as threads:  # lzma lets other threads run
        both, one = threads.map(size, (rest + part, rest))
    return 8 * max(0, both - one) / characters
