"""Makes a DATA folder from text of any size, in two passes: one counts the characters, one writes their numbers."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from os.path import realpath
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import DataError, OutputError
from charrnn.files import without_links
from charrnn.folders import building_folder, refuse_existing
from charrnn.text.data import (
    FORMAT,
    FORMAT_VERSION,
    LARGEST_META,
    MARKER,
    SPLITS,
    open_data,
    open_splits,
    write_vocabulary,
)
from charrnn.text.job import Inputs, Job, PrepareOptions, Progress, listed
from charrnn.text.reading import Repairs
from charrnn.text.report import Census, describe_text
from charrnn.text.sources import STANDARD_INPUT, find_sources
from charrnn.text.splits import split_sizes, write_splits
from charrnn.text.vocabulary import UNKNOWN, Vocabulary


def prepare(
    inputs: Inputs, out: Path, options: PrepareOptions, force: bool = False, progress: Progress = lambda *_: None
) -> tuple[dict[str, Any], bool]:
    """Read texts and write a DATA folder, unless the existing DATA folder is up to date.

    Args:
        inputs: where the texts are.
        out: the folder to make.
        options: how to read and split.
        force: replace an older DATA folder at `out`.
        progress: called with what is being done, the bytes read since the last call, and all bytes to read.
    Returns:
        What `meta.json` holds, and whether the folder was already up to date.
    Raises:
        DataError: a text is missing, empty, undecodable or too short for a split.
        OutputError: `out` was made from other texts or options, is not a DATA folder, or cannot be written.
    """
    if inputs.skip_undecodable and (options.reading.level, options.reading.errors) != ("char", "error"):
        raise DataError(
            "expected --skip-undecodable at --level char with --errors error, got another; nothing is undecodable "
            "there: try without --skip-undecodable"
        )
    older = out / MARKER
    is_older = older.is_file() and not force
    if not is_older:
        refuse_existing(out, MARKER, force)
    _check_places(inputs, out)
    with ExitStack() as stack:
        spool_in = without_links(out).parent
        while not spool_in.is_dir():
            spool_in = spool_in.parent
        parts = {"train": inputs.text, "val": inputs.val, "test": inputs.test}
        sources = {name: find_sources(paths, inputs.patterns, stack, spool_in) for name, paths in parts.items()}
        job = Job(sources, options, progress)
        if is_older:
            job.hash()
            return _same_as_before(open_data(out).meta, job, inputs.skip_undecodable, out), True
        if inputs.skip_undecodable:
            job.skip_undecodable()
        with building_folder(out, MARKER, force) as folder:
            return _build(folder.path, job), False


def _check_places(inputs: Inputs, out: Path) -> None:
    for path in [*inputs.text, *inputs.val, *inputs.test]:
        if path == STANDARD_INPUT:
            continue
        if Path(realpath(path)).is_relative_to(realpath(out)):
            raise OutputError(f"expected texts outside the folder to make, got {path} in {out}; try another --out")
        if path.is_dir() and Path(realpath(out)).is_relative_to(realpath(path)):
            raise OutputError(f"expected a folder outside the texts, got {out} in {path}; try another --out")
    if sum(paths.count(STANDARD_INPUT) for paths in (inputs.text, inputs.val, inputs.test)) > 1:
        raise DataError("expected - for standard input once, got it more often; try naming it once")


def _same_as_before(meta: dict[str, Any], job: Job, skips: bool, out: Path) -> dict[str, Any]:
    """The older meta if the texts and options are the same; else raise an OutputError that names the changes."""
    before, now = meta["options"], job.options.as_dict()
    changes = [f"--{name.replace('_', '-')}" for name in before | now if before.get(name) != now.get(name)]
    skipped = {tuple(source.items()) for source in meta.get("skipped", []) if skips}
    now_read = [source for source in listed(job.sources) if tuple(source.items()) not in skipped]
    changes += _changed_inputs(meta["inputs"], now_read)
    if changes:
        shown = ", ".join(sorted(changes)[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
        raise OutputError(
            f"expected the texts and options that {out} was made from, got changes: {shown}; "
            "try --force to make it anew, or another --out"
        )
    return meta


def _changed_inputs(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    """The inputs that are new, missing or changed, or a note that their order is another."""
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
        what, hint = ("undecodable bytes", "--encoding") if job.repairs.places else ("empty files", "file")
        raise DataError(f"expected text, got only {what}: {names}; try another {hint}")
    options, repairs = job.options, job.repairs
    vocabulary = options.vocabulary or _own_vocabulary(census, options)
    left_out = _left_out(census, vocabulary)
    sizes = split_sizes(counts, job)
    job.repairs = Repairs()
    write_splits(folder, job, sizes, vocabulary)
    write_vocabulary(folder, vocabulary)
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "level": options.reading.level,
        "encoding": options.reading.encoding if options.reading.level == "char" else None,
        "symbols": len(vocabulary),
        "characters": census.total,
        "splits": sizes,
        "inputs": listed(job.sources),
        "skipped": listed(job.skipped),
        "options": options.as_dict(),
        "left_out": left_out,
        "repairs": vars(repairs),
        "report": describe_text(census, vocabulary, open_splits(folder, sizes)),
    }
    content = json.dumps(meta, indent=2) + "\n"
    if len(content) > LARGEST_META:
        count = len(listed(job.sources))
        raise DataError(f"expected fewer input files, got {count:,}; try to join some of them first")
    (folder / MARKER).write_text(content)
    return meta


def _own_vocabulary(census: Census, options: PrepareOptions) -> Vocabulary:
    """The characters of the text, without those that are too rare.

    Raises:
        DataError: all are too rare.
    """
    codes = np.flatnonzero(census.counts >= max(1, options.min_count))
    there = int(np.count_nonzero(census.counts))
    if len(codes) == there and there <= (options.max_vocab or there):
        return Vocabulary(options.reading.level, codes.tolist())
    codes = codes[codes != UNKNOWN]
    if not len(codes):
        raise DataError(
            f"expected characters that come at least {options.min_count:,} times, got none; try a smaller --min-count"
        )
    if options.max_vocab:
        commonest = np.lexsort((codes, -census.counts[codes]))[: options.max_vocab - 1]
        codes = codes[commonest]
    return Vocabulary("char", [*codes.tolist(), UNKNOWN], has_unknown=True)


def _left_out(census: Census, vocabulary: Vocabulary) -> dict[str, int]:
    """How many different characters, and how many in all, become the unknown symbol.

    Raises:
        DataError: characters are left out, and the vocabulary has no unknown symbol.
    """
    missing = census.counts.copy()
    missing[vocabulary.codes] = 0
    codes = np.flatnonzero(missing)
    left_out = {"symbols": len(codes), "characters": int(missing.sum())}
    if len(codes) and not vocabulary.has_unknown:
        commonest = int(np.argmax(missing))
        raise DataError(
            f"expected only characters of the vocabulary, got {left_out['characters']:,} others ({len(codes):,} "
            f"different), of which {vocabulary.describe(commonest)} is the commonest; try without --vocab-from (train "
            "--init-from takes a model to another vocabulary), or a vocabulary with an unknown symbol"
        )
    return left_out
