"""The splits of a text: their lengths and their files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.errors import DataError
from charrnn.text.data import SPLITS
from charrnn.text.job import Job
from charrnn.text.lines import shuffled_lines
from charrnn.text.vocabulary import UNKNOWN, Codes, Vocabulary


def split_sizes(counts: dict[str, int], job: Job) -> dict[str, int]:
    """The number of characters in each split; val or test without its own text is taken from the text's end."""
    options, sizes = job.options, dict(counts)
    for name, fraction in (("val", options.val), ("test", options.test)):
        if not job.sources[name]:
            sizes[name] = int(counts["train"] * fraction)
            sizes["train"] -= sizes[name]
    wanted = {
        "train": True,
        "val": options.val > 0 or job.sources["val"],
        "test": options.test > 0 or job.sources["test"],
    }
    for name in SPLITS:
        if wanted[name] and sizes[name] < 2:
            part = "" if job.sources[name] and name != "train" else f" of a text of {counts['train']}"
            smaller = ", or a smaller --val and --test" if name == "train" else f", or --{name} 0" if part else ""
            raise DataError(
                f"expected at least 2 characters in each split, got {sizes[name]} in {name}{part}; "
                f"try a longer text{smaller}"
            )
    return sizes


def write_splits(folder: Path, job: Job, sizes: dict[str, int], vocabulary: Vocabulary) -> None:
    """The second pass: write the symbol numbers of each split into its .npy file."""
    numbers = vocabulary.numbers.copy()
    if vocabulary.has_unknown:
        numbers[numbers < 0] = numbers[UNKNOWN]
    table = numbers.astype(vocabulary.dtype)
    with ExitStack() as stack:
        writers = {
            name: SplitWriter(stack, folder, name, sizes[name], vocabulary.dtype) for name in SPLITS if sizes[name]
        }
        for split in SPLITS:
            own = [split] if split != "train" else ["train"] + [n for n in ("val", "test") if not job.sources[n]]
            targets = [writers[name] for name in own if name in writers]
            pieces = (table[codes] for codes in job.codes(split, "writing"))
            for piece in _in_order(job, split, pieces, vocabulary):
                rest = piece
                for writer in targets:
                    rest = writer.write(rest)
                if len(rest):
                    raise DataError(f"expected the text of {split} to stay as it is, got more of it; try once more")


def _in_order(job: Job, split: str, pieces: Iterator[Codes], vocabulary: Vocabulary) -> Iterator[Codes]:
    """A split's symbols in pieces; with --shuffle-lines, the lines of the text to be split are in random order."""
    seed = job.options.shuffle_lines
    if split != "train" or seed is None:
        return pieces
    return shuffled_lines(np.concatenate(list(pieces)), vocabulary.line_break, seed)


class SplitWriter:
    """Writes the .npy file of one split, whose length is known before.

    Attributes:
        left: how many symbols are still to be written.
    """

    def __init__(self, stack: ExitStack, folder: Path, name: str, size: int, dtype: np.dtype[Any]) -> None:
        self.left = size
        self._file: IO[bytes] = stack.enter_context((folder / f"{name}.npy").open("wb"))
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, symbols: Codes) -> Codes:
        """Write as many symbols as still fit into this split; return the rest."""
        taken = symbols[: self.left]
        self._file.write(taken.data)
        self.left -= len(taken)
        return symbols[len(taken) :]
