"""An opened DATA folder: its vocabulary, and its splits as arrays of symbol numbers that stay in their files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError
from charrnn.files import reason
from charrnn.folders import what_is
from charrnn.json_files import FINITE, WHOLE, Each, Form, Maybe, Number, check, read_object
from charrnn.text.reading import TextForm
from charrnn.text.stored import StoredSymbols, blocks
from charrnn.text.vocabulary import CODE_POINTS, UNKNOWN, Vocabulary

FORMAT = "charrnn-data"
FORMAT_VERSION = 2
MARKER = "meta.json"
SPLITS = ("train", "val", "test")
LARGEST_META, LARGEST_VOCABULARY = 1 << 26, 1 << 25  # bytes
RANKED = [(Number(0, CODE_POINTS - 1, whole=True), WHOLE)]  # codes, and how often each occurs
META: Form = {  # what is read from meta.json after it was written
    "level": str,
    "symbols": WHOLE,
    "characters": Number(1, 2**63 - 1, whole=True),
    "splits": dict.fromkeys(SPLITS, WHOLE),
    "inputs": [{"name": str, "split": str, "bytes": WHOLE, "sha256": str}],
    "options": {"normalize": str, "newlines": str, "lowercase": bool, "errors": str},
    "left_out": {"symbols": WHOLE, "characters": WHOLE},
    "repairs": {"places": WHOLE, "bytes": WHOLE, "byte_order_marks": WHOLE},
    "report": {"commonest": RANKED, "rarest": RANKED, "scripts": Each(WHOLE)},
}
REPORT_PARTS: dict[str, Form] = {  # folders of older versions have none
    "to_beat": {
        **{"split": str, "learned": WHOLE, "measured": WHOLE},
        **{"orders": [Maybe(FINITE)], "xz": Maybe(FINITE)},
    },
    "lines": {"count": WHOLE, "short": WHOLE, "empty": WHOLE, "cr_lf": WHOLE, "list": bool},
}
SKIPPED: Form = [{"name": str}]
VOCABULARIES: dict[str, Form] = {  # vocab.json at each level
    level: {"symbols": [form], "unknown": Maybe(str)}
    for level, form in (("char", str), ("byte", Number(0, 255, whole=True)))
}
COMMON_SHARE = 0.99  # of a text, which its common symbols make up


@dataclass(frozen=True)
class Data:
    """Prepared text.

    Args:
        path: the folder.
        meta: what `meta.json` holds.
        vocabulary: which symbol each number stands for.
        splits: name -> (n,) symbol numbers, in a file; empty splits are left out.
    """

    path: Path
    meta: dict[str, Any]
    vocabulary: Vocabulary
    splits: dict[str, StoredSymbols]

    @property
    def form(self) -> TextForm:
        """What was done to the characters of the text."""
        return TextForm(**{name: self.meta["options"][name] for name in ("normalize", "newlines", "lowercase")})

    @property
    def fingerprint(self) -> str:
        """A hash of the text, its vocabulary and its splits: the same for the same training data."""
        parts = [self.meta["options"], self.meta["splits"], [i["sha256"] for i in self.meta["inputs"]]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def split(self, name: str) -> StoredSymbols:
        """One split; if it does not exist, raise a DataError that names the existing splits."""
        if name not in self.splits:
            there, hint = ", ".join(self.splits), "try one of these"
            if name in SPLITS:
                hint = f"try charrnn prepare with --{name} 0.1 to hold out a part, or name a text file"
            raise DataError(f"expected a split of {self.path} ({there}), got {name!r}; {hint}")
        return self.splits[name]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each symbol occurs in the split for training: (V,)."""
        counts = np.zeros(len(self.vocabulary), np.int64)
        for symbols in blocks(self.split("train")):
            counts += np.bincount(symbols, minlength=len(counts))
        return counts

    @property
    def common(self) -> int:
        """The least number of symbols that make up 99 % of the split for training."""
        covered = np.cumsum(np.sort(self.counts)[::-1])
        return 1 + int(np.searchsorted(covered, COMMON_SHARE * covered[-1]))


def open_data(path: Path) -> Data:
    """Open a DATA folder that `charrnn prepare` made.

    Raises:
        DataError: the path is not a DATA folder, or the folder is of another format, or damaged.
    """
    try:
        meta = _parse_meta(path)
        vocabulary = _read_vocabulary(path, meta["level"])
        if len(vocabulary) != meta["symbols"]:
            raise ValueError(f"{meta['symbols']} symbols in meta.json, {len(vocabulary)} in vocab.json")
        splits = open_splits(path, meta["splits"])
        for symbols in splits.values():
            _check_split(symbols, meta["splits"], vocabulary)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return Data(path, meta, vocabulary, splits)


def open_splits(folder: Path, sizes: dict[str, int]) -> dict[str, StoredSymbols]:
    """The symbol numbers of the splits that are not empty."""
    return {name: StoredSymbols(folder / f"{name}.npy") for name in SPLITS if sizes[name]}


def _damaged(path: Path, error: Exception) -> DataError:
    if isinstance(error, PermissionError):
        return DataError(f"expected a readable DATA folder, got {path}: {reason(error)}; try chmod u+r on its files")
    return DataError(f"expected a whole DATA folder, got {path}, damaged ({error}); try charrnn prepare with --force")


def read_meta(path: Path) -> dict[str, Any]:
    """What the meta.json of a DATA folder holds.

    Raises:
        DataError: meta.json is missing, damaged, not made by `charrnn prepare`, or of another format.
    """
    try:
        return _parse_meta(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _parse_meta(path: Path) -> dict[str, Any]:
    if not (path / MARKER).is_file():
        command = f"{path} --out DATA" if path.is_file() else "TEXT --out DATA"
        raise DataError(f"expected a DATA folder, got {what_is(path)}; try charrnn prepare {command}, to make one")
    meta = read_object(path / MARKER, LARGEST_META)
    if meta.get("format") != FORMAT:
        raise DataError(f"expected {path / MARKER} of charrnn prepare, got another file; try prepare with --force")
    check(meta.get("format_version"), WHOLE, "format_version")
    if meta["format_version"] != FORMAT_VERSION:
        newer = meta["format_version"] > FORMAT_VERSION
        raise DataError(
            f"expected data format {FORMAT_VERSION}, got {meta['format_version']} in {path}; "
            f"try {'a newer charrnn' if newer else 'charrnn prepare again, with --force'}"
        )
    check(meta, META, MARKER)
    check(meta.get("skipped", []), SKIPPED, f"{MARKER}.skipped")
    for name in REPORT_PARTS.keys() & meta["report"].keys():
        check(meta["report"][name], REPORT_PARTS[name], f"{MARKER}.report.{name}")
    if meta["splits"].keys() != set(SPLITS) or meta["level"] not in VOCABULARIES:
        raise ValueError(f"{MARKER} has an unknown split or level")
    return meta


def _read_vocabulary(path: Path, level: str) -> Vocabulary:
    content = read_object(path / "vocab.json", LARGEST_VOCABULARY)
    check(content, VOCABULARIES[level], "vocab.json")
    symbols = content["symbols"]
    if level == "char" and any(len(symbol) != 1 for symbol in symbols):
        raise ValueError("vocab.json holds symbols that are not single characters")
    codes = [ord(symbol) for symbol in symbols] if level == "char" else symbols
    return Vocabulary(level, codes, content["unknown"] is not None)


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Write vocab.json: the symbols as characters or as byte values, and the symbol that stands for unknown ones."""
    listed = [chr(c) for c in vocabulary.codes] if vocabulary.level == "char" else vocabulary.codes.tolist()
    content = {
        "level": vocabulary.level,
        "symbols": listed,
        "unknown": chr(UNKNOWN) if vocabulary.has_unknown else None,
    }
    (folder / "vocab.json").write_text(json.dumps(content) + "\n")


def _check_split(symbols: StoredSymbols, sizes: dict[str, int], vocabulary: Vocabulary) -> None:
    """Raise ValueError unless a file holds as many symbols of the vocabulary as meta.json says."""
    name, size = symbols.path.name, sizes[symbols.path.stem]
    if symbols.dtype != vocabulary.dtype or symbols.shape != (size,):
        raise ValueError(f"{name} does not hold {size} symbols of {vocabulary.dtype}")
    largest = max(int(block.max()) for block in blocks(symbols))
    if largest >= len(vocabulary):
        raise ValueError(f"{name} holds symbol {largest} of a vocabulary of {len(vocabulary)}")
    symbols.bound = len(vocabulary)  # it may change while it is open
