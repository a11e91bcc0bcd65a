"""From text of any size to a DATA folder, in two passes: one counts the characters, one writes their numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from os.path import realpath
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.errors import DataError, OutputError
from charrnn.folders import building_folder, refuse_existing
from charrnn.text.data import FORMAT, FORMAT_VERSION, LARGEST_META, MARKER, SPLITS, open_data, write_vocabulary
from charrnn.text.reading import Reading, Repairs, read_blocks
from charrnn.text.report import Census, describe_text
from charrnn.text.sources import STANDARD_INPUT, Source, find_sources
from charrnn.text.vocabulary import UNKNOWN, Codes, Vocabulary

Progress = Callable[[str, int, int], None]  # what is being done, bytes done, bytes in all


@dataclass(frozen=True)
class Inputs:
    """The texts of a DATA folder.

    Args:
        text: files, folders, or `-` for standard input, joined in this order and then split.
        val, test: texts to take for these splits, instead of parts of `text`.
        glob: which files of folders.
    """

    text: list[Path]
    val: list[Path] = field(default_factory=list)
    test: list[Path] = field(default_factory=list)
    glob: str = "*"


@dataclass(frozen=True)
class PrepareOptions:
    """How to read and split a text.

    Args:
        reading: level, encoding and form.
        val: fraction of the text, at its end, that is held out for validation.
        test: fraction after the validation part.
        min_count: characters that occur less often become the unknown symbol; 0 for none.
        max_vocab: most symbols of the vocabulary, of which the unknown symbol is one; 0 for no limit.
        vocabulary: a vocabulary to use instead of the text's own.
    """

    reading: Reading = field(default_factory=Reading)
    val: float = 0.1
    test: float = 0.0
    min_count: int = 0
    max_vocab: int = 0
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise DataError(
                f"expected --val and --test from 0 up, together below 1, got {self.val} and {self.test}; try --val 0.1"
            )
        if self.min_count < 0 or self.max_vocab < 0 or self.max_vocab == 1:
            raise DataError(
                f"expected --min-count of 0 or more and --max-vocab of 2 or more, got {self.min_count} and "
                f"{self.max_vocab}; try leaving them out"
            )
        limits = self.min_count or self.max_vocab
        if limits and self.reading.level == "byte":
            raise DataError("expected --min-count and --max-vocab at --level char, got --level byte; try without them")
        if limits and self.vocabulary is not None:
            raise DataError("expected --vocab-from or limits of the vocabulary, got both; try --vocab-from alone")
        if self.vocabulary is not None and self.vocabulary.level != self.reading.level:
            raise DataError(
                f"expected a vocabulary of level {self.reading.level}, got one of level {self.vocabulary.level}; "
                f"try --level {self.vocabulary.level}"
            )

    def as_dict(self) -> dict[str, Any]:
        """The options as plain JSON values; a frozen vocabulary is named by its fingerprint."""
        reading = asdict(self.reading)
        form: dict[str, Any] = reading.pop("form")
        limits = {"val": self.val, "test": self.test, "min_count": self.min_count, "max_vocab": self.max_vocab}
        frozen = None if self.vocabulary is None else self.vocabulary.fingerprint
        return reading | form | limits | {"vocab_from": frozen}


@dataclass
class Job:
    """One preparation: its sources by split (the texts to be split stand under "train"), options and progress."""

    sources: dict[str, list[Source]]
    options: PrepareOptions
    progress: Progress
    repairs: Repairs = field(default_factory=Repairs)

    def codes(self, split: str, what: str) -> Iterator[Codes]:
        """The characters of a split's sources, one after the other."""
        advance = self._advance(what)
        for source in self.sources[split]:
            yield from read_blocks(source.blocks(advance), source.name, self.options.reading, self.repairs)

    def hash(self) -> None:
        """Read all sources for their hashes alone."""
        for split in SPLITS:
            for source in self.sources[split]:
                source.hash(self._advance("comparing"))

    def _advance(self, what: str) -> Callable[[int], None]:
        total = sum(source.size for sources in self.sources.values() for source in sources)

        def advance(count: int) -> None:
            self.progress(what, count, total)

        return advance

    def inputs(self) -> list[dict[str, Any]]:
        """What meta.json says of each source."""
        return [
            {"name": source.name, "split": split, "bytes": source.size, "sha256": source.sha256}
            for split in SPLITS
            for source in self.sources[split]
        ]


def prepare(
    inputs: Inputs, out: Path, options: PrepareOptions, force: bool = False, progress: Progress = lambda *_: None
) -> tuple[dict[str, Any], bool]:
    """Read texts and write a DATA folder, or find that the one there is up to date.

    Args:
        inputs: where the texts are.
        out: the folder to make.
        options: how to read and split.
        force: replace an older DATA folder at `out`.
        progress: called with what is being done, the bytes read since the last call, and all bytes to read.
    Returns:
        What `meta.json` holds, and whether it was there already.
    Raises:
        DataError: a text is missing, empty, undecodable or too short for a split.
        OutputError: `out` was made from something else, is something else, or cannot be written.
    """
    older = out / MARKER
    is_older = older.is_file() and not force
    if not is_older:
        refuse_existing(out, MARKER, force)
    _check_places(inputs, out)
    with ExitStack() as stack:
        spool_in = out.resolve().parent
        while not spool_in.is_dir():
            spool_in = spool_in.parent
        parts = {"train": inputs.text, "val": inputs.val, "test": inputs.test}
        sources = {name: find_sources(paths, inputs.glob, stack, spool_in) for name, paths in parts.items()}
        job = Job(sources, options, progress)
        if is_older:
            refuse_existing(out, MARKER, force=True)
            job.hash()
            return _same_as_before(open_data(out).meta, job, out), True
        with building_folder(out, MARKER, force) as folder:
            return _build(folder.path, job), False


def _check_places(inputs: Inputs, out: Path) -> None:
    for path in [*inputs.text, *inputs.val, *inputs.test]:
        if Path(realpath(path)).is_relative_to(realpath(out)):
            raise OutputError(f"expected texts outside the folder to make, got {path} in {out}; try another --out")
        if path.is_dir() and Path(realpath(out)).is_relative_to(realpath(path)):
            raise OutputError(f"expected a folder outside the texts, got {out} in {path}; try another --out")
    if sum(paths.count(STANDARD_INPUT) for paths in (inputs.text, inputs.val, inputs.test)) > 1:
        raise DataError("expected - for standard input once, got it more often; try naming it once")


def _same_as_before(meta: dict[str, Any], job: Job, out: Path) -> dict[str, Any]:
    """The older meta if it was made from the same texts in the same way, else an OutputError that says what changed."""
    options = job.options.as_dict()
    changes = [f"--{name.replace('_', '-')}" for name, value in options.items() if meta["options"].get(name) != value]
    changes += _changed_inputs(meta["inputs"], job.inputs())
    if changes:
        shown = ", ".join(sorted(changes)[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
        raise OutputError(
            f"expected the texts and options that {out} was made from, got changes: {shown}; "
            "try --force to make it anew, or another --out"
        )
    return meta


def _changed_inputs(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    """What is new, gone, changed or in another order."""
    if before == now:
        return []
    names = [Counter((i["split"], i["name"]) for i in inputs) for inputs in (before, now)]
    texts = [Counter((i["split"], i["name"], i["sha256"]) for i in inputs) for inputs in (before, now)]
    new, gone = names[1] - names[0], names[0] - names[1]
    changed = {key[:2] for key in texts[1] - texts[0]} - new.keys()
    named = ((new, "new"), (gone, "gone"), (changed, "changed"))
    found = [f"{name} ({what})" for keys, what in named for _, name in keys]
    return found or ["the order of the inputs"]


def _build(folder: Path, job: Job) -> dict[str, Any]:
    """Write the files of a DATA folder; returns what meta.json holds."""
    census, counts = Census(), {}
    for split in SPLITS:
        before = census.total
        for codes in job.codes(split, "counting"):
            census.add(codes)
        counts[split] = census.total - before
    if not census.total:
        names = ", ".join(source.name for source in job.sources["train"])
        raise DataError(f"expected text, got only empty files: {names}; try another file")
    options, repairs = job.options, job.repairs
    vocabulary = options.vocabulary or _own_vocabulary(census, options)
    left_out = _left_out(census, vocabulary)
    sizes = _split_sizes(counts, job)
    job.repairs = Repairs()
    _write_splits(folder, job, sizes, vocabulary)
    write_vocabulary(folder, vocabulary)
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "level": options.reading.level,
        "encoding": options.reading.encoding if options.reading.level == "char" else None,
        "symbols": len(vocabulary),
        "characters": census.total,
        "splits": sizes,
        "inputs": job.inputs(),
        "options": options.as_dict(),
        "left_out": left_out,
        "repairs": vars(repairs),
        "report": describe_text(census, vocabulary),
    }
    content = json.dumps(meta, indent=2) + "\n"
    if len(content) > LARGEST_META:
        raise DataError(f"expected fewer input files, got {len(job.inputs()):,}; try to join some of them before")
    (folder / MARKER).write_text(content)
    return meta


def _own_vocabulary(census: Census, options: PrepareOptions) -> Vocabulary:
    """The characters of the text, without those that are too rare."""
    codes = np.flatnonzero(census.counts >= max(1, options.min_count))
    there = int(np.count_nonzero(census.counts))
    if len(codes) == there and there <= (options.max_vocab or there):
        return Vocabulary(options.reading.level, codes.tolist())
    codes = codes[codes != UNKNOWN]
    if options.max_vocab:
        commonest = np.lexsort((codes, -census.counts[codes]))[: options.max_vocab - 1]
        codes = codes[commonest]
    return Vocabulary("char", [*codes.tolist(), UNKNOWN], has_unknown=True)


def _left_out(census: Census, vocabulary: Vocabulary) -> dict[str, int]:
    """How many different characters, and how many in all, become the unknown symbol; an error if there is none."""
    missing = census.counts.copy()
    missing[vocabulary.codes] = 0
    codes = np.flatnonzero(missing)
    left_out = {"symbols": len(codes), "characters": int(missing.sum())}
    if len(codes) and not vocabulary.has_unknown:
        commonest = int(np.argmax(missing))
        raise DataError(
            f"expected only characters of the vocabulary, got {len(codes)} others, {left_out['characters']} times, "
            f"the commonest {vocabulary.describe(commonest)}; try without --vocab-from (train --init-from takes a "
            "model to another vocabulary), or a vocabulary with an unknown symbol"
        )
    return left_out


def _split_sizes(counts: dict[str, int], job: Job) -> dict[str, int]:
    """Characters in each split; what has no text of its own is a part of the end of the text."""
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
            hint = "a longer text" if name == "train" or not part else f"a longer text, or --{name} 0"
            raise DataError(
                f"expected at least 2 characters in each split, got {sizes[name]} in {name}{part}; try {hint}"
            )
    return sizes


def _write_splits(folder: Path, job: Job, sizes: dict[str, int], vocabulary: Vocabulary) -> None:
    """Second pass: the symbol numbers of each split, into its .npy file."""
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
            for codes in job.codes(split, "writing"):
                symbols = table[codes]
                for writer in targets:
                    symbols = writer.write(symbols)
                if len(symbols):
                    raise DataError(f"expected the text of {split} to stay as it is, got more of it; try once more")


class SplitWriter:
    """Writes one split's .npy file, of a length known before.

    Attributes:
        left: symbols still to come.
    """

    def __init__(self, stack: ExitStack, folder: Path, name: str, size: int, dtype: np.dtype[Any]) -> None:
        self.left = size
        self._file: IO[bytes] = stack.enter_context((folder / f"{name}.npy").open("wb"))
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, symbols: Codes) -> Codes:
        """Write as many as this split still takes; returns the rest."""
        taken = symbols[: self.left]
        self._file.write(taken.data)
        self.left -= len(taken)
        return symbols[len(taken) :]
