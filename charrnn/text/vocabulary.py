"""Which symbols a model knows, and the way from text to symbol numbers and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError

LEVELS = ("char", "byte")
CODE_POINTS = 0x110000


def code_points(text: str) -> NDArray[np.uint32]:
    """The Unicode code points of a text, one number each."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def describe(code: int) -> str:
    """A code point as a person reads it: 'é' (U+00E9)."""
    return f"{chr(code)!r} (U+{code:04X})"


class Vocabulary:
    """Symbols in ascending order of code point or byte; symbol number k is the k-th of them.

    Args:
        level: "char" for Unicode code points, "byte" for bytes.
        codes: the code points or byte values, each once, in any order.
    """

    def __init__(self, level: str, codes: Iterable[int]) -> None:
        self.level = level
        self.codes = np.array(sorted(codes), np.uint32)
        limit = CODE_POINTS if level == "char" else 256
        if level not in LEVELS or len(self.codes) == 0 or self.codes[-1] >= limit:
            raise DataError(
                f"expected a vocabulary of {' or '.join(LEVELS)} codes, got level {level!r}; try prepare again"
            )
        if len(np.unique(self.codes)) != len(self.codes):
            raise DataError("expected every symbol of a vocabulary once, got one twice; try prepare again")

    def __len__(self) -> int:
        return len(self.codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.level == other.level and np.array_equal(self.codes, other.codes)

    __hash__ = None  # type: ignore[assignment]

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned type that holds every symbol number."""
        return np.min_scalar_type(len(self) - 1)

    def codes_of(self, text: str | bytes) -> NDArray[np.unsignedinteger]:
        """Code points or bytes of a text; a str at level byte is taken as UTF-8.

        Bytes of the command line that are not UTF-8 come as surrogate escapes and become those bytes again.
        """
        if self.level == "byte":
            return np.frombuffer(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text, np.uint8)
        return code_points(text if isinstance(text, str) else text.decode("utf-8"))

    def encode(self, codes: NDArray[np.unsignedinteger], where: str) -> NDArray[np.unsignedinteger]:
        """Symbol numbers of code points or bytes.

        Args:
            codes: (n,) as `codes_of` returns them.
            where: what the text is, for the message.
        Raises:
            DataError: a symbol is not in the vocabulary.
        """
        limit = CODE_POINTS if self.level == "char" else 256
        table = np.full(limit, len(self), np.uint32)
        table[self.codes] = np.arange(len(self))
        symbols = table[codes]
        unknown = np.flatnonzero(symbols == len(self))
        if len(unknown):
            at = int(unknown[0])
            code = int(codes[at])
            name = describe(code) if self.level == "char" else f"byte 0x{code:02X}"
            raise DataError(
                f"expected only symbols that the model knows, got {name} at position {at} of {where}; "
                "try a text without it, or a model trained on a text that has it"
            )
        numbers: NDArray[np.unsignedinteger] = symbols.astype(self.dtype)
        return numbers

    def decode(self, symbols: NDArray[np.integer]) -> bytes:
        """Text of symbol numbers: UTF-8 at level char, the bytes themselves at level byte."""
        codes = self.codes[symbols].astype(np.uint8 if self.level == "byte" else "<u4")
        content: bytes = codes.tobytes()
        if self.level == "byte":
            return content
        return content.decode("utf-32-le", "surrogatepass").encode("utf-8", "surrogatepass")
