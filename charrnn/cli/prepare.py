"""`charrnn prepare`: it makes a DATA folder from texts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.options import (
    Encoding,
    Errors,
    Force,
    Json,
    explicit,
    in_lower_case,
    is_data_folder,
    print_json,
    say,
    say_if_waiting,
    word,
)
from charrnn.cli.report import describe
from charrnn.errors import ConfigError
from charrnn.settings import flag

if TYPE_CHECKING:
    from charrnn.text.vocabulary import Vocabulary


def prepare(
    context: typer.Context,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Files (also .gz, .bz2, .xz), folders, or - for standard input, joined in this order.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATA", help="Folder to make.", show_default=False)],
    glob: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Which files of folders, such as '*.{py,txt}'; more of these add up.",
            show_default="all",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Files and folders in folders to leave out.", show_default=False),
    ] = None,
    skip_undecodable: Annotated[
        bool, typer.Option("--skip-undecodable", help="Leave out files of folders that are not text.")
    ] = False,
    level: Annotated[str, typer.Option(callback=in_lower_case, help="char (Unicode code points) or byte.")] = "char",
    encoding: Encoding = "utf-8",
    errors: Errors = "error",
    normalize: Annotated[
        str, typer.Option(callback=in_lower_case, help="Unicode normal form: none, nfc or nfkc.")
    ] = "none",
    newlines: Annotated[
        str, typer.Option(callback=in_lower_case, help="keep, or lf to turn CR LF and CR into LF.")
    ] = "keep",
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Make letters lower case.")] = False,
    min_count: Annotated[
        int, typer.Option(help="Rarer characters become one unknown symbol, U+FFFD.", show_default="keep all")
    ] = 0,
    max_vocab: Annotated[
        int, typer.Option(help="Most symbols; the rarest become the unknown symbol.", show_default="no limit")
    ] = 0,
    vocab_from: Annotated[
        Path | None, typer.Option(metavar="DATA|CKPT|RUN", help="Use exactly this vocabulary.", show_default=False)
    ] = None,
    val: Annotated[float, typer.Option(help="Fraction at the end held out for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Fraction after that held out for testing.")] = 0.0,
    shuffle_lines: Annotated[
        bool, typer.Option("--shuffle-lines", help="Take the lines in a random order, before the split.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of --shuffle-lines.")] = 0,
    val_file: Annotated[
        list[Path] | None, typer.Option(metavar="INPUT", help="Text for validation instead.", show_default=False)
    ] = None,
    test_file: Annotated[
        list[Path] | None, typer.Option(metavar="INPUT", help="Text for testing instead.", show_default=False)
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn texts into a folder that charrnn train reads; say what is in it."""
    from charrnn.text.job import Inputs, PrepareOptions
    from charrnn.text.patterns import Patterns
    from charrnn.text.prepare import prepare as prepare_text
    from charrnn.text.reading import Reading, TextForm

    for name, files in (("val", val_file), ("test", test_file)):
        if files and explicit(context, [name]):
            raise ConfigError(f"expected --{name} or --{name}-file, got both; try one of them")
    if explicit(context, ["seed"]) and not shuffle_lines:
        raise ConfigError("expected --seed with --shuffle-lines, got it alone; try --shuffle-lines, or without --seed")
    options = PrepareOptions(
        Reading(level, encoding, errors, TextForm(normalize, newlines, lowercase)),
        0.0 if val_file else val,
        0.0 if test_file else test,
        min_count,
        max_vocab,
        None if vocab_from is None else _vocabulary_of(vocab_from),
        seed if shuffle_lines else None,
    )
    chosen = explicit(context, ["glob", "exclude", "skip_undecodable"])
    if chosen and not any(path.is_dir() for path in [*inputs, *(val_file or []), *(test_file or [])]):
        option = flag(next(iter(chosen)))
        raise ConfigError(f"expected {option} with a folder, got files only; try the folder that they are in")
    patterns = Patterns(glob or ["*"], exclude or [])
    texts = Inputs(inputs, val_file or [], test_file or [], patterns, skip_undecodable)
    typed = say_if_waiting([*inputs, *texts.val, *texts.test])
    with reading_bar(sys.stderr.isatty() and not typed) as progress:
        meta, was_there = prepare_text(texts, out, options, force, progress)
    if as_json:
        print_json(meta | {"up_to_date": was_there})
    if was_there:
        say(f"{out} is up to date: the same texts and options; next: charrnn train {word(out)} --out RUN")
        return
    for line in describe(meta):
        say(line)
    say(f"wrote {out}; next: charrnn train {word(out)} --out RUN")


@contextmanager
def reading_bar(shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar with bytes and time left while texts are read, if it is to be shown."""
    if not shown:
        yield lambda *_: None
        return
    from tqdm import tqdm

    with tqdm(total=0, unit="B", unit_scale=True, file=sys.stderr, leave=False, dynamic_ncols=True) as bar:

        def progress(what: str, count: int, total: int) -> None:
            if bar.desc != f"{what}: " or bar.total != total:
                bar.reset(total)
                bar.set_description(what)
            bar.update(count)

        yield progress


def _vocabulary_of(path: Path) -> Vocabulary:
    """The vocabulary of a DATA folder, a RUN folder or a checkpoint."""
    if is_data_folder(path):
        from charrnn.text.data import open_data

        return open_data(path).vocabulary
    from charrnn.training.checkpoint import find_checkpoint, load_vocabulary

    return load_vocabulary(find_checkpoint(path))
