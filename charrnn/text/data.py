"""A DATA folder, opened: its vocabulary and its splits as memory-mapped arrays of symbol numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError
from charrnn.text.reading import TextForm
from charrnn.text.vocabulary import UNKNOWN, Vocabulary

FORMAT = "charrnn-data"
FORMAT_VERSION = 2
MARKER = "meta.json"
SPLITS = ("train", "val", "test")
BLOCK = 1 << 20  # bytes
META = {
    **{"level": str, "symbols": int, "characters": int, "splits": dict, "inputs": list},
    **{"options": dict, "left_out": dict, "repairs": dict, "report": dict},
}
REPORT = {"commonest", "rarest", "scripts"}
PARTS = {  # of the report; folders of older versions have none
    "to_beat": {"split", "learned", "measured", "orders", "xz"},
    "lines": {"count", "short", "empty", "cr_lf", "list"},
}

Symbols = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Data:
    """Prepared text.

    Args:
        path: the folder.
        meta: what `meta.json` holds.
        vocabulary: which symbol each number is.
        splits: name -> (n,) symbol numbers, memory-mapped; empty splits are left out.
    """

    path: Path
    meta: dict[str, Any]
    vocabulary: Vocabulary
    splits: dict[str, Symbols]

    @property
    def form(self) -> TextForm:
        """What was done to the characters of the text."""
        return TextForm(**{name: self.meta["options"][name] for name in ("normalize", "newlines", "lowercase")})

    @property
    def fingerprint(self) -> str:
        """A hash of the text, its vocabulary and its splits: the same for the same training data."""
        parts = [self.meta["options"], self.meta["splits"], [i["sha256"] for i in self.meta["inputs"]]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def split(self, name: str) -> Symbols:
        """One split, or a DataError that names those there are."""
        if name not in self.splits:
            there = ", ".join(self.splits)
            raise DataError(f"expected a split of {self.path} ({there}), got {name!r}; try one of these")
        return self.splits[name]

    def counts(self, name: str) -> NDArray[np.int64]:
        """How often each symbol occurs in a split: (V,)."""
        symbols = self.split(name)
        counts = np.zeros(len(self.vocabulary), np.int64)
        for start in range(0, len(symbols), BLOCK):
            counts += np.bincount(symbols[start : start + BLOCK], minlength=len(counts))
        return counts


def open_data(path: Path) -> Data:
    """Open a DATA folder that `charrnn prepare` made.

    Raises:
        DataError: it is not one, is of a newer format, or is damaged.
    """
    try:
        meta = _parse_meta(path)
        vocab = json.loads((path / "vocab.json").read_text())
        codes = [ord(s) for s in vocab["symbols"]] if meta["level"] == "char" else vocab["symbols"]
        vocabulary = Vocabulary(meta["level"], codes, vocab["unknown"] is not None)
        splits = open_splits(path, meta["splits"])
        _check(meta, vocabulary, splits)
    except DAMAGE as error:
        raise _damaged(path, error) from None
    return Data(path, meta, vocabulary, splits)


def open_splits(folder: Path, sizes: dict[str, int]) -> dict[str, Symbols]:
    """The arrays of the splits that are not empty, memory-mapped."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in SPLITS if sizes[name]}


DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, EOFError, RecursionError)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"expected a whole DATA folder, got {path}, damaged ({error}); try charrnn prepare with --force")


def read_meta(path: Path) -> dict[str, Any]:
    """What the meta.json of a DATA folder holds.

    Raises:
        DataError: it is damaged, another file, or of another format.
    """
    try:
        return _parse_meta(path)
    except DAMAGE as error:
        raise _damaged(path, error) from None


def _parse_meta(path: Path) -> dict[str, Any]:
    if not (path / MARKER).is_file():
        what = "a folder without meta.json" if path.is_dir() else "a file" if path.exists() else "nothing there"
        command = f"{path} --out DATA" if path.is_file() else f"TEXT --out {path}"
        raise DataError(f"expected a folder made by charrnn prepare, got {path}: {what}; try charrnn prepare {command}")
    meta: dict[str, Any] = json.loads((path / MARKER).read_text())
    if meta.get("format") != FORMAT:
        raise DataError(f"expected {path / MARKER} of charrnn prepare, got another file; try prepare with --force")
    if meta["format_version"] != FORMAT_VERSION:
        newer = meta["format_version"] > FORMAT_VERSION
        raise DataError(
            f"expected data format {FORMAT_VERSION}, got {meta['format_version']} in {path}; "
            f"try {'a newer charrnn' if newer else 'charrnn prepare again, with --force'}"
        )
    for name, kind in META.items():
        if not isinstance(meta[name], kind):
            raise ValueError(f"{name} in meta.json is no {kind.__name__}")
    report = meta["report"]
    missing = REPORT - report.keys()
    for name in PARTS.keys() & report.keys():
        missing |= PARTS[name] - dict(report[name]).keys()
    if missing or meta["characters"] < 1:
        raise ValueError(f"meta.json has no {', '.join(missing) or 'characters'}")
    return meta


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Write vocab.json: the symbols as characters or as byte values, and which of them stands for unknown ones."""
    listed = [chr(c) for c in vocabulary.codes] if vocabulary.level == "char" else vocabulary.codes.tolist()
    content = {
        "level": vocabulary.level,
        "symbols": listed,
        "unknown": chr(UNKNOWN) if vocabulary.has_unknown else None,
    }
    (folder / "vocab.json").write_text(json.dumps(content) + "\n")


def _check(meta: dict[str, Any], vocabulary: Vocabulary, splits: dict[str, Symbols]) -> None:
    if len(vocabulary) != meta["symbols"]:
        raise ValueError(f"{meta['symbols']} symbols in meta.json, {len(vocabulary)} in vocab.json")
    for name, array in splits.items():
        if array.dtype != vocabulary.dtype or array.shape != (meta["splits"][name],):
            raise ValueError(f"{name}.npy does not hold {meta['splits'][name]} symbols of {vocabulary.dtype}")
        if (largest := _largest(array)) >= len(vocabulary):  # the engine looks rows of tables up by these numbers
            raise ValueError(f"{name}.npy holds symbol {largest} of a vocabulary of {len(vocabulary)}")


def _largest(array: Symbols) -> int:
    """The largest number of a memory-mapped array, read as a file, so that no memory is taken by its pages."""
    assert isinstance(array, np.memmap)
    assert array.filename is not None
    largest, offset, end = 0, array.offset, array.offset + array.nbytes
    while offset < end:
        block = np.fromfile(array.filename, array.dtype, min(BLOCK, end - offset) // array.itemsize, offset=offset)
        largest, offset = max(largest, int(block.max())), offset + block.nbytes
    return largest
