"""The symbols that a model knows, and the conversion of text to symbol numbers and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError

LEVELS = ("char", "byte")
CODE_POINTS = 0x110000
UNKNOWN = 0xFFFD  # the replacement character of Unicode stands for all characters left out of a vocabulary

Codes = NDArray[np.unsignedinteger]


def code_points(text: str) -> Codes:
    """The Unicode code points of a text, one number for each character: uint8 if all are ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def describe(code: int) -> str:
    """A code point in a readable form: 'é' (U+00E9)."""
    return f"{chr(code)!r} (U+{code:04X})"


def _stand_for_bytes(codes: Codes) -> NDArray[np.bool_]:
    """Which code points stand for undecodable bytes, see `Vocabulary.decode`."""
    return (codes >= 0xDC80) & (codes <= 0xDCFF)


class Vocabulary:
    """Symbols in ascending order of code point or byte; symbol number k is the k-th of them.

    Args:
        level: "char" for Unicode code points, "byte" for bytes.
        codes: the code points or byte values, each once, in any order.
        has_unknown: whether U+FFFD, one of the codes, stands for all characters that are not among them.
    """

    def __init__(self, level: str, codes: Iterable[int], has_unknown: bool = False) -> None:
        self.level, self.has_unknown = level, has_unknown
        self.codes = np.array(sorted(codes), np.uint32)
        if level not in LEVELS or len(self.codes) == 0 or self.codes[-1] >= self._limit:
            raise DataError(
                f"expected a vocabulary of {' or '.join(LEVELS)} codes, got level {level!r}; try prepare again"
            )
        if len(np.unique(self.codes)) != len(self.codes):
            raise DataError("expected every symbol of a vocabulary once, got one twice; try prepare again")
        if has_unknown and (level == "byte" or UNKNOWN not in self.codes):
            raise DataError("expected U+FFFD in a vocabulary with an unknown symbol, got none; try prepare again")

    def __len__(self) -> int:
        return len(self.codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.fingerprint == other.fingerprint

    __hash__ = None  # type: ignore[assignment]

    @property
    def fingerprint(self) -> str:
        """A hash of level and symbols: the same for the same vocabulary."""
        key = f"{self.level} {self.has_unknown} {self.codes.tolist()}"
        return hashlib.sha256(key.encode()).hexdigest()

    @property
    def _limit(self) -> int:
        return 256 if self.level == "byte" else CODE_POINTS

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned type that holds every symbol number."""
        return np.min_scalar_type(len(self) - 1)

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        """(256,) or (0x110000,): the symbol number of every byte or code point, -1 for those not in the vocabulary."""
        numbers = np.full(self._limit, -1, np.int32)
        numbers[self.codes] = np.arange(len(self))
        return numbers

    @property
    def line_break(self) -> int:
        """The symbol number of the line break, -1 where there is none."""
        return int(self.numbers[ord("\n")])

    @property
    def has_bytes(self) -> bool:
        """Whether some characters stand for undecodable bytes."""
        return self.level == "char" and bool(_stand_for_bytes(self.codes).any())

    @property
    def beginning(self) -> NDArray[np.int64]:
        """(1,) The symbol before a text that has no prompt: a line break, or the first symbol if there is none."""
        return np.array([max(self.line_break, 0)])

    def codes_of(self, text: str | bytes) -> Codes:
        """Code points or bytes of a text; a str at level byte is encoded as UTF-8.

        Bytes of the command line that are not UTF-8 are surrogate escapes in a str; they become those bytes again.
        """
        if self.level == "byte":
            return np.frombuffer(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text, np.uint8)
        return code_points(text if isinstance(text, str) else text.decode("utf-8"))

    def describe(self, code: int) -> str:
        """A code in a readable form: 'é' (U+00E9), or byte 0xFF."""
        return describe(code) if self.level == "char" else f"byte 0x{code:02X}"

    def encode(self, codes: Codes, where: str, unknown: str = "error", start: int = 0) -> NDArray[np.unsignedinteger]:
        """Symbol numbers of code points or bytes.

        Args:
            codes: (n,) as `codes_of` returns them.
            where: what the text is, for the message.
            unknown: what is done with a code that is not in the vocabulary: "error", "skip" to leave it out, or
                "replace" to take the unknown symbol.
            start: the position of the first code in the text, for the message.
        Raises:
            DataError: a code is not in the vocabulary, and `unknown` is "error", or it is "replace" and the vocabulary
                has no unknown symbol.
        """
        symbols = self.numbers[codes]
        gone = symbols < 0
        if gone.any():
            if unknown == "skip":
                symbols = symbols[~gone]
            elif unknown == "replace" and self.has_unknown:
                symbols[gone] = self.numbers[UNKNOWN]
            else:
                at = int(np.argmax(gone))
                raise self._unknown(int(codes[at]), f"position {start + at} of {where}", unknown)
        numbers: NDArray[np.unsignedinteger] = symbols.astype(self.dtype)
        return numbers

    def _unknown(self, code: int, where: str, policy: str) -> DataError:
        found = f"{self.describe(code)} at {where}"
        if policy == "replace" and self.level == "byte":
            return DataError(f"expected only bytes that the model knows, got {found}; try --unknown skip")
        if policy == "replace":
            return DataError(
                f"expected a vocabulary with an unknown symbol for --unknown replace, got one without, and {found}; "
                "try --unknown skip, or a model of a text prepared with --min-count or --max-vocab"
            )
        return DataError(
            f"expected only symbols that the model knows, got {found}; "
            f"try --unknown skip{' or --unknown replace' if self.has_unknown else ''}, or a text without it"
        )

    def bytes_of(self, codes: Codes) -> int:
        """How many bytes a text of these codes takes; at level char, in UTF-8."""
        if self.level == "byte":
            return len(codes)
        further = sum(int(np.count_nonzero(codes >= first)) for first in (0x80, 0x800, 0x10000))
        return len(codes) + further - 2 * int(np.count_nonzero(_stand_for_bytes(codes)))

    def decode(self, symbols: NDArray[np.integer]) -> bytes:
        """The text of symbol numbers: in UTF-8 at level char, the bytes themselves at level byte.

        Lone surrogates that stand for undecodable bytes (U+DC80 to U+DCFF) become these bytes again.
        """
        codes = self.codes[symbols].astype(np.uint8 if self.level == "byte" else "<u4")
        content: bytes = codes.tobytes()
        if self.level == "byte":
            return content
        text = content.decode("utf-32-le", "surrogatepass")
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # surrogates that stand for no byte
            return text.encode("utf-8", "surrogatepass")
