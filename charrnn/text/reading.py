"""Reading a file: its bytes become the numbers of its characters, one block at a time."""

from __future__ import annotations

import codecs
import io
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from charrnn.errors import DataError, UndecodableError
from charrnn.text.vocabulary import LEVELS, Codes, code_points

ERRORS = ("error", "replace", "skip", "surrogateescape")
NORMAL_FORMS = ("none", "nfc", "nfkc")
NEWLINES = ("keep", "lf")
LONG_WORD = 1 << 16  # this many characters without white space are not taken for a word
MOST_MARKS = 1 << 16  # if more characters in a row join the one before, they are cut apart
BEGINNINGS = {  # the first bytes of files that are not UTF-8, and what to try
    b"\xff\xfe\0\0": "--encoding utf-32, which its first bytes speak for",
    b"\xff": "--encoding utf-16, which its first bytes speak for",
    b"\xfe": "--encoding utf-16, which its first bytes speak for",
    b"\x1f\x8b": "to give it a name that ends in .gz, for it is compressed",
    b"BZh": "to give it a name that ends in .bz2, for it is compressed",
    b"\xfd7zXZ": "to give it a name that ends in .xz, for it is compressed",
    b"PK\x03\x04": "to unpack it first, for it is a zip archive",
    b"\x28\xb5\x2f\xfd": "to unpack it first with zstd, for it is compressed",
}
BYTE_ORDER_MARK = "\ufeff"


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"expected --{option} to be one of {', '.join(choices)}, got {value!r}; try {choices[0]}")


@dataclass(frozen=True)
class TextForm:
    """What is done to characters after decoding; it is the same for a model's training text and for its prompts.

    Args:
        normalize: Unicode normal form, one of NORMAL_FORMS (Unicode Standard Annex 15).
        newlines: "lf" to replace each CR LF and each single CR by one line feed.
        lowercase: whether letters are made lower case.
    """

    normalize: str = "none"
    newlines: str = "keep"
    lowercase: bool = False

    def __post_init__(self) -> None:
        _one_of("normalize", self.normalize, NORMAL_FORMS)
        _one_of("newlines", self.newlines, NEWLINES)

    @property
    def folds(self) -> bool:
        """Whether characters other than line ends may change."""
        return self.lowercase or self.normalize != "none"

    def fold(self, text: str) -> str:
        """The text in normal form and in lower case, as far as these are asked for."""
        if text.isascii():
            return text.lower() if self.lowercase else text
        text = self._normal(text)
        return self._normal(text.lower()) if self.lowercase else text

    def _normal(self, text: str) -> str:
        if self.normalize == "none":
            return text
        return unicodedata.normalize("NFC" if self.normalize == "nfc" else "NFKC", text)

    def apply(self, text: str) -> str:
        """The text after all changes: line ends, normal form and case."""
        if self.newlines == "lf":
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return self.fold(text)


def begins_anew(character: str) -> bool:
    """Whether normalisation can never join this character with the text before it, or reorder them."""
    first = unicodedata.normalize("NFKD", character)[0]
    medial_or_final_jamo = 0x1160 <= ord(first) <= 0x11FF
    return not (unicodedata.category(first).startswith("M") or medial_or_final_jamo)


class Folding:
    """`TextForm.fold` for a text that comes in pieces: text that the next piece may still change is kept for later."""

    def __init__(self, form: TextForm) -> None:
        self.form, self.held = form, ""

    def add(self, piece: str, final: bool) -> str:
        """The next folded part of the text; the whole rest if this piece is the final one."""
        text = self.held + piece
        cut = len(text) if final else self._cut(text)
        self.held = text[cut:]
        return self.form.fold(text[:cut])

    @staticmethod
    def _cut(text: str) -> int:
        """Where to cut, so that neither part depends on the other.

        This is at white space, because the lower case of a Greek sigma depends on its word.
        """
        cut = max(text.rfind("\n"), text.rfind(" "))
        if cut > 0 or len(text) < LONG_WORD:
            return max(cut, 0)
        least = max(0, len(text) - MOST_MARKS)
        return next((at for at in range(len(text) - 1, least, -1) if begins_anew(text[at])), len(text) if least else 0)


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        level: "char" for Unicode code points, "byte" for bytes.
        encoding: of the files, at level char: any codec of Python.
        errors: what is done with undecodable bytes, one of ERRORS. "replace" makes U+FFFD of each undecodable place.
            "surrogateescape" makes a lone surrogate of each byte, which `Vocabulary.decode` turns into the byte again.
        form: what is done to the characters.
    """

    level: str = "char"
    encoding: str = "utf-8"
    errors: str = "error"
    form: TextForm = field(default_factory=TextForm)

    def __post_init__(self) -> None:
        _one_of("level", self.level, LEVELS)
        _one_of("errors", self.errors, ERRORS)
        try:
            "".encode(self.encoding)
            codecs.getincrementaldecoder(self.encoding)()
        except (LookupError, UnicodeError):
            raise DataError(
                f"expected an encoding of text that Python knows, got {self.encoding!r}; try utf-8"
            ) from None
        if self.level == "byte" and (self.encoding, self.errors, self.form) != ("utf-8", "error", TextForm()):
            raise DataError(
                "expected --encoding, --errors, --normalize, --newlines and --lowercase at level char only, got "
                "one of them at level byte; try it without them"
            )


class Repairs:
    """Counts what was repaired while reading: undecodable places, their bytes, and dropped byte-order marks."""

    def __init__(self) -> None:
        self.places = self.bytes = self.byte_order_marks = 0

    def handler(self, errors: str) -> str:
        """The name of an error handler of `codecs` that treats errors as `errors` says, and counts them here."""
        if errors == "error":
            return "strict"

        def mend(error: UnicodeError) -> tuple[str, int]:
            if not isinstance(error, UnicodeDecodeError):
                raise error
            bad = error.object[error.start : error.end]
            self.places += 1
            self.bytes += len(bad)
            if errors == "surrogateescape":
                return "".join(chr(0xDC00 + b) if b >= 0x80 else chr(b) for b in bad), error.end
            return "\ufffd" if errors == "replace" else "", error.end

        codecs.register_error("charrnn", mend)
        return "charrnn"


def read_blocks(blocks: Iterable[bytes], where: str, reading: Reading, repairs: Repairs) -> Iterator[Codes]:
    """Decode a file.

    Args:
        blocks: the bytes of the file, in pieces of any size.
        where: the name of the file, for messages.
        reading: how the file is read.
        repairs: counts what was repaired.
    Returns:
        The code points of its characters (level char) or its bytes (level byte), in arrays of any unsigned type.
    Raises:
        UndecodableError: bytes cannot be decoded and `reading.errors` is "error".
    """
    if reading.level == "byte":
        yield from (np.frombuffer(block, np.uint8) for block in blocks)
        return
    folding = Folding(reading.form)
    for number, (text, final) in enumerate(_decoded(blocks, where, reading, repairs)):
        marked = number == 0 and text.startswith(BYTE_ORDER_MARK)
        repairs.byte_order_marks += marked
        kept = text[1:] if marked else text
        if folded := folding.add(kept, final) if reading.form.folds else kept:
            yield code_points(folded)


def _decoded(blocks: Iterable[bytes], where: str, reading: Reading, repairs: Repairs) -> Iterator[tuple[str, bool]]:
    """Decoded text in pieces, each with whether it is the final one; the first is not empty unless all are empty."""
    plain = codecs.getincrementaldecoder(reading.encoding)(repairs.handler(reading.errors))
    decoder = io.IncrementalNewlineDecoder(plain, translate=True) if reading.form.newlines == "lf" else plain
    fed = 0
    try:
        for block in blocks:
            fed += len(block)
            if text := decoder.decode(block):
                yield text, False
        yield decoder.decode(b"", True), True
    except UnicodeDecodeError as error:
        raise _undecodable(error, fed, where, reading) from None
    except UnicodeError as error:
        hint = f"--encoding {codecs.lookup(reading.encoding).name}-le" if "BOM" in str(error) else "another --encoding"
        raise UndecodableError(
            f"expected {reading.encoding} text, got {where}, which is not ({error}); try {hint}"
        ) from None


def _undecodable(error: UnicodeDecodeError, fed: int, where: str, reading: Reading) -> UndecodableError:
    bad = error.object[error.start : error.end][:8]
    found = f"byte{'s' * (len(bad) > 1)} {' '.join(f'0x{byte:02X}' for byte in bad)}"
    offset = fed - len(error.object) + error.start  # the codec's buffer ends with the newest byte read
    hint = "--encoding latin-1, --errors replace, or charrnn prepare --level byte"
    if fed == len(error.object):  # which is the beginning of the file
        hint = next((advice for begin, advice in BEGINNINGS.items() if error.object.startswith(begin)), hint)
    return UndecodableError(
        f"expected {reading.encoding} text, got {found} at offset {offset} of {where} ({error.reason}); try {hint}"
    )
