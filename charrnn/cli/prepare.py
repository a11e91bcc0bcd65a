"""`charrnn prepare`: texts in, a DATA folder out; `charrnn info`: what is in one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import (
    DataFolder,
    Encoding,
    Errors,
    Force,
    Json,
    explicit,
    in_lower_case,
    print_json,
    say,
    show,
    start_engine,
)
from charrnn.errors import ConfigError, DataError

if TYPE_CHECKING:
    from charrnn.text.vocabulary import Vocabulary

LINE = "  {:<11} {}"


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
    glob: Annotated[str, typer.Option(help="Which files of folders, such as '*.py'.")] = "*",
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
        Path | None, typer.Option(metavar="DATA|CKPT", help="Use exactly this vocabulary.", show_default=False)
    ] = None,
    val: Annotated[float, typer.Option(help="Fraction at the end held out for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Fraction after that held out for testing.")] = 0.0,
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
    from charrnn.text.prepare import Inputs, PrepareOptions
    from charrnn.text.prepare import prepare as prepare_text
    from charrnn.text.reading import Reading, TextForm

    for name, files in (("val", val_file), ("test", test_file)):
        if files and explicit(context, [name]):
            raise ConfigError(f"expected --{name} or --{name}-file, got both; try one of them")
    options = PrepareOptions(
        Reading(level, encoding, errors, TextForm(normalize, newlines, lowercase)),
        0.0 if val_file else val,
        0.0 if test_file else test,
        min_count,
        max_vocab,
        None if vocab_from is None else _vocabulary_of(vocab_from),
    )
    with reading_bar() as progress:
        texts = Inputs(inputs, val_file or [], test_file or [], glob)
        meta, was_there = prepare_text(texts, out, options, force, progress)
    if as_json:
        print_json(meta | {"up_to_date": was_there})
    if was_there:
        say(f"{out} is up to date: the same texts and options; next: charrnn train {out} --out RUN")
        return
    for line in describe(meta):
        say(line)
    say(f"wrote {out}; next: charrnn train {out} --out RUN")


@contextmanager
def reading_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with bytes and time left while texts are read; nothing where there is no terminal."""
    if not sys.stderr.isatty():
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


def info(data: DataFolder, as_json: Json = False) -> None:
    """Show what is in a DATA folder: characters, scripts, and the figures that a model must beat."""
    from charrnn.text.data import read_meta

    meta = read_meta(data)
    if as_json:
        print_json(meta)
        return
    for line in describe(meta):
        show(line)


def _vocabulary_of(path: Path) -> Vocabulary:
    """The vocabulary of a DATA folder, a RUN folder or a checkpoint."""
    from charrnn.text.data import MARKER, open_data

    if (path / MARKER).is_file():
        return open_data(path).vocabulary
    if path.is_dir() and not any((path / name).is_file() for name in ("best.npz", "last.npz")):
        raise DataError(f"expected a DATA or RUN folder or a checkpoint, got the folder {path}; try one of these")
    start_engine(None)
    from charrnn.training.checkpoint import find_checkpoint, load_checkpoint

    return load_checkpoint(find_checkpoint(path)).vocabulary


def describe(meta: dict[str, Any]) -> list[str]:
    """The report of a text in lines for a person."""
    report, total = meta["report"], meta["characters"]
    unit = "characters" if meta["level"] == "char" else "bytes"
    splits = ", ".join(f"{name} {count:,}" for name, count in meta["splits"].items() if count)
    lines = [f"{total:,} {unit}, {meta['symbols']:,} symbols: {splits}", *_repairs(meta)]
    name = _shown if meta["level"] == "char" else "0x{:02X}".format
    lines.append(LINE.format("commonest", "  ".join(f"{name(c)} {n / total:.1%}" for c, n in report["commonest"])))
    if report["rarest"]:
        lines.append(LINE.format("rarest", "  ".join(f"{name(c)} {n:,}" for c, n in report["rarest"])))
    letters = sum(report["scripts"].values())
    if letters:
        scripts = ", ".join(f"{script} {count / letters:.1%}" for script, count in report["scripts"].items())
        lines.append(LINE.format("letters", scripts))
    figures = [(f"order {order}", bits) for order, bits in enumerate(report["entropy"])] + [("xz", report["xz"])]
    part = "" if report["sample"] == total else f" (of the first {report['sample']:,})"
    shown = ", ".join(f"{what} {bits:.3f}" for what, bits in figures if bits is not None)
    return [*lines, LINE.format("to beat", f"{shown} bits per character{part}")]


def _shown(code: int) -> str:
    """A character as it is if it can be seen by itself, else by a name."""
    character = chr(code)
    names = {" ": "space", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    visible = character.isprintable() and not character.isspace()
    return character if visible else names.get(character, f"U+{code:04X}")


def _repairs(meta: dict[str, Any]) -> list[str]:
    """What was done to the text on the way, where it was anything."""
    repairs, left_out, lines = meta["repairs"], meta["left_out"], []
    if repairs["byte_order_marks"]:
        lines.append(LINE.format("dropped", f"a byte-order mark at the start of {repairs['byte_order_marks']} file(s)"))
    if repairs["places"]:
        how = {"replace": "replaced by U+FFFD", "skip": "skipped"}.get(meta["options"]["errors"], "kept as surrogates")
        lines.append(
            LINE.format(
                how.split()[0], f"{repairs['bytes']:,} undecodable bytes, {how}, in {repairs['places']:,} places"
            )
        )
    if left_out["characters"]:
        share = left_out["characters"] / meta["characters"]
        lines.append(
            LINE.format("left out", f"{left_out['symbols']:,} rare characters, {share:.2%} of the text, now U+FFFD")
        )
    return lines
