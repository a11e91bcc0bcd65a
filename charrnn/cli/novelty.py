"""`charrnn novelty`: how much of a sampled text stands verbatim in the training text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn import runtime
from charrnn.cli.evaluate import KnownSymbols, open_data_of
from charrnn.cli.options import (
    Encoding,
    Errors,
    Json,
    OwnCell,
    Seed,
    Threads,
    Unknown,
    cell_of_model,
    check_seed,
    explicit,
    print_json,
    say,
    say_if_waiting,
    say_repaired,
    say_skipped,
    show,
    start_engine,
    trained_model,
    unknown_policy,
)
from charrnn.cli.terminal import interruptible
from charrnn.errors import ConfigError, DataError
from charrnn.folders import what_is

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charrnn.sampling.novelty import Overlap
    from charrnn.text.stored import Symbols
    from charrnn.training.checkpoint import Checkpoint

LENGTHS = (4, 8, 16, 32)  # of the n-grams that are counted
PART = 1 << 20  # symbols of the training text that are read at a time
LONGEST_SHOWN = 200  # characters of a passage in a line for a person


def novelty(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="RUN", help="A RUN folder, or a checkpoint in it.")],
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="A sampled text; - for standard input.", show_default="drawn from the model"
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="The training data, if they were moved.", show_default=False)
    ] = None,
    length: Annotated[int, typer.Option("--length", "-n", help="Characters to draw, without FILE.")] = 20_000,
    temperature: Annotated[float, typer.Option("--temperature", "-t", help="Of what is drawn.")] = 1.0,
    seed: Seed = 0,
    passages: Annotated[int, typer.Option(help="How many of the longest passages are shown.")] = 5,
    encoding: Encoding = "utf-8",
    errors: Errors = "error",
    unknown: Unknown = "error",
    threads: Threads = None,
    cell: OwnCell = "",
    as_json: Json = False,
) -> None:
    """Say how much of a sampled text is new, and which passages stand verbatim in the training text.

    The same figures for as much held-out text tell what to expect of a text by the same author.
    """
    if length < 1:
        raise ConfigError(f"expected --length of at least 1, got {length}; try --length 20000")
    if passages < 0:
        raise ConfigError(f"expected --passages of 0 or more, got {passages}; try --passages 5")
    if text is None and (given := explicit(context, ["encoding", "errors", "unknown"])):
        raise ConfigError(f"expected --{next(iter(given))} with a FILE, got it without; try naming a FILE")
    if text is not None and (given := explicit(context, ["length", "temperature", "seed"])):
        raise ConfigError(f"expected --{next(iter(given))} without a FILE, got {text} too; try it without")
    check_seed(seed)
    _refuse_too_long(length, f"--length {length:,}", "--length 20000")
    unknown_policy(unknown)
    start_engine(threads)
    cell_of_model(cell)
    from charrnn.sampling.novelty import Overlap
    from charrnn.training.run import data_of_run

    checkpoint = trained_model(source)
    folder = data_of_run(source, "naming its data: --data DATA") if data is None else data
    if not folder.exists():
        raise DataError(f"expected the data of {source}, got {what_is(folder)}; try naming them: --data DATA")
    text_of_run = open_data_of(folder, checkpoint, source, "--data with the folder that the run began with")
    with interruptible() as look:

        def parts(symbols: Symbols) -> Iterator[NDArray[Any]]:
            for at in range(0, len(symbols), PART):
                look()
                yield symbols[at : at + PART]

        if text is None:
            sampled = _drawn(checkpoint, length, temperature, seed)
        else:
            sampled = _read(text, checkpoint, encoding, errors, unknown)
            _refuse_too_long(len(sampled), f"{text} of {len(sampled):,} characters", "a part of it")
        train, held_out = text_of_run.split("train"), text_of_run.splits.get("val")
        found = Overlap(sampled, parts(train))
        yardstick = None
        if held_out is not None and len(held_out):
            yardstick = Overlap(held_out[: len(sampled)], parts(train))
    values = _values(checkpoint, sampled, len(train), found, yardstick, passages)
    if as_json:
        print_json(values)
    else:
        _show(values, "drawn" if text is None else str(text))


def _refuse_too_long(length: int, what: str, good: str) -> None:
    """Raise ConfigError if a text of this length does not fit into the free memory; `what` it is, `good` is to try."""
    needed, there = 150 * length, runtime.available_memory()  # bytes: what is kept for each character
    if there is not None and needed > there:
        raise ConfigError(
            f"expected a text that fits into {there / 2**30:.1f} GB of free memory, got {what}, "
            f"about {needed / 2**30:,.1f} GB; try {good}"
        )


def _drawn(checkpoint: Checkpoint, length: int, temperature: float, seed: int) -> NDArray[Any]:
    """A text drawn from the model."""
    from charrnn.cli.sample import draw_one
    from charrnn.sampling.rule import Rule

    if not 0 <= temperature <= 100:
        raise ConfigError(f"expected --temperature from 0 to 100, got {temperature}; try 0.8")
    return draw_one(checkpoint, Rule(float(temperature)), length, seed)


def _read(path: Path, checkpoint: Checkpoint, encoding: str, errors: str, unknown: str) -> NDArray[Any]:
    """A text file as the model's symbols."""
    import numpy as np

    from charrnn.text.reading import Reading

    say_if_waiting([path])
    reading = Reading(checkpoint.vocabulary.level, encoding, errors, form=checkpoint.form)
    known = KnownSymbols(path, reading, checkpoint.vocabulary, unknown, None)
    symbols = np.concatenate([np.zeros(0, np.int32), *known.blocks()])
    say_skipped(known.skipped, str(path))
    say_repaired(known.repairs, str(path))
    if not len(symbols):
        raise DataError(f"expected a text with characters that the model knows, got none in {path}; try another file")
    return symbols


def _values(
    checkpoint: Checkpoint,
    sampled: NDArray[Any],
    train: int,
    found: Overlap,
    yardstick: Overlap | None,
    most: int,
) -> dict[str, Any]:
    """The figures of --json."""
    held_out = None
    if yardstick is not None:
        held_out = {"chars": len(yardstick.found), "new": _new(yardstick), "longest": int(yardstick.found.max())}
    passages = [
        {
            "length": passage.length,
            "start": passage.start,
            "train_start": passage.there,
            "text": checkpoint.vocabulary.decode(sampled[passage.start : passage.start + passage.length]).decode(
                "utf-8", "surrogateescape"
            ),
        }
        for passage in found.passages(most)
    ]
    return {
        "chars": len(sampled),
        "train_chars": train,
        "new": _new(found),
        "longest": int(found.found.max()),
        "held_out": held_out,
        "passages": passages,
    }


def _new(overlap: Overlap) -> dict[str, float | None]:
    return {str(n): overlap.new_share(n) for n in LENGTHS}


def _show(values: dict[str, Any], what: str) -> None:
    """Print the figures as lines of text."""
    rows = {f"{what}, {values['chars']:,} characters": values}
    if values["held_out"] is not None:
        rows[f"held-out text, {values['held_out']['chars']:,}"] = values["held_out"]
    width = max(map(len, rows))
    show(f"{'new n-grams of':<{width}}" + "".join(f"{n:>9}" for n in LENGTHS) + f"{'longest old passage':>21}")
    for name, row in rows.items():
        shares = "".join(f"{'-':>9}" if share is None else f"{100 * share:>7.1f} %" for share in row["new"].values())
        show(f"{name:<{width}}{shares}{row['longest']:>21,}")
    if values["passages"]:
        show(f"the longest passages that stand in the training text of {values['train_chars']:,} characters:")
    for passage in values["passages"]:
        text = passage["text"] if passage["length"] <= LONGEST_SHOWN else passage["text"][:LONGEST_SHOWN] + "..."
        show(f"{passage['length']:>6,} characters, there from {passage['train_start']:,} on: {text!r}")
    if values["held_out"] is None:
        say("the data of the run has no validation split to compare with")
