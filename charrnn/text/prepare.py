"""From text files to a DATA folder: vocabulary, contiguous splits, arrays of symbol numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError, OutputError
from charrnn.files import building_folder, refuse_existing
from charrnn.text.data import FORMAT, FORMAT_VERSION, MARKER, SPLITS
from charrnn.text.vocabulary import LEVELS, Vocabulary, code_points


@dataclass(frozen=True)
class PrepareOptions:
    """How to read and split a text.

    Args:
        level: "char" for Unicode code points, "byte" for bytes.
        encoding: of the files, at level char.
        val: fraction of the text, at its end, that is held out for validation.
        test: fraction after the validation part.
    """

    level: str = "char"
    encoding: str = "utf-8"
    val: float = 0.1
    test: float = 0.0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise DataError(f"expected --level char or byte, got {self.level!r}; try --level char")
        try:
            "".encode(self.encoding)
        except (LookupError, UnicodeError):
            raise DataError(f"expected an encoding that Python knows, got {self.encoding!r}; try utf-8") from None
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise DataError(
                f"expected --val and --test from 0 up, together below 1, got {self.val} and {self.test}; try --val 0.1"
            )


def read_file(path: Path) -> bytes:
    """The content of a file, or a DataError that says why there is none."""
    if path.is_dir():
        raise DataError(f"expected a text file, got the folder {path}; try the files in it")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"expected a readable text file, got {path}: {error.strerror}; try another path") from None
    if not content:
        raise DataError(f"expected text, got the empty file {path}; try another file")
    return content


def codes_in(content: bytes, path: Path, level: str, encoding: str) -> NDArray[np.unsignedinteger]:
    """Code points (level char) or bytes (level byte) of a file's content, or a DataError with the first bad bytes."""
    if level == "byte":
        return np.frombuffer(content, np.uint8)
    try:
        return code_points(content.decode(encoding))
    except UnicodeDecodeError as error:
        found = error.object[error.start : error.end][:8].hex(" ")
        offset = error.start + len(content) - len(error.object)  # a codec may have taken a byte-order mark off
        raise DataError(
            f"expected {encoding} text, got bytes {found} at offset {offset} of {path} "
            f"({error.reason}); try --encoding latin-1, or --level byte"
        ) from None


def _split_ends(count: int, options: PrepareOptions) -> dict[str, tuple[int, int]]:
    """Start and end of each split: train, then val, then test."""
    sizes = {"val": int(count * options.val), "test": int(count * options.test)}
    sizes["train"] = count - sizes["val"] - sizes["test"]
    ends, start = {}, 0
    for name in SPLITS:
        ends[name] = (start, start + sizes[name])
        start += sizes[name]
    for name, fraction in (("train", 1.0), ("val", options.val), ("test", options.test)):
        if fraction > 0 and sizes[name] < 2:
            raise DataError(
                f"expected at least 2 characters in each split, got {sizes[name]} in {name} of a text of {count}; "
                f"try {'a longer text' if name == 'train' else f'a longer text, or --{name} 0'}"
            )
    return ends


def prepare(inputs: list[Path], out: Path, options: PrepareOptions, force: bool = False) -> dict[str, Any]:
    """Read text files and write a DATA folder.

    Args:
        inputs: the files, joined in this order.
        out: the folder to make.
        options: how to read and split.
        force: replace an older DATA folder at `out`.
    Returns:
        What `meta.json` holds: level, encoding, sizes, and name, size and SHA-256 of each input.
    Raises:
        DataError: a file is missing, empty or undecodable, or a split would be empty.
        OutputError: `out` exists or cannot be written.
    """
    refuse_existing(out, MARKER, force)
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise OutputError(f"expected texts outside the folder to make, got {path} in {out}; try another --out")
    contents = [read_file(path) for path in inputs]
    codes = np.concatenate(
        [codes_in(c, path, options.level, options.encoding) for c, path in zip(contents, inputs, strict=True)]
    )
    if not len(codes):
        raise DataError(f"expected text, got only empty files: {', '.join(map(str, inputs))}; try another file")
    vocabulary = Vocabulary(options.level, np.unique(codes).tolist())
    ends = _split_ends(len(codes), options)
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "level": options.level,
        "encoding": options.encoding if options.level == "char" else None,
        "symbols": len(vocabulary),
        "characters": len(codes),
        "splits": {name: end - start for name, (start, end) in ends.items()},
        "inputs": [
            {"name": path.name, "bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()}
            for c, path in zip(contents, inputs, strict=True)
        ],
    }
    symbols = vocabulary.encode(codes, "the text")
    listed = [chr(c) for c in vocabulary.codes] if options.level == "char" else vocabulary.codes.tolist()
    with building_folder(out, MARKER, force) as folder:
        for name, (start, end) in ends.items():
            if end > start:
                np.save(folder / f"{name}.npy", symbols[start:end])
        (folder / "vocab.json").write_text(json.dumps({"level": options.level, "symbols": listed}) + "\n")
        (folder / MARKER).write_text(json.dumps(meta, indent=2) + "\n")
    return meta
