"""`charrnn prepare`: text files in, a DATA folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.options import Force, Json, print_json, say


def prepare(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Text files, joined in this order.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DATA", help="Folder to make.", show_default=False)],
    level: Annotated[str, typer.Option(help="char (Unicode code points) or byte.")] = "char",
    encoding: Annotated[str, typer.Option(help="Encoding of the files, at level char.")] = "utf-8",
    val: Annotated[float, typer.Option(help="Fraction at the end held out for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Fraction after that held out for testing.")] = 0.0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn text files into a folder that charrnn train reads."""
    from charrnn.text.prepare import PrepareOptions
    from charrnn.text.prepare import prepare as prepare_text

    meta = prepare_text(inputs, out, PrepareOptions(level, encoding, val, test), force)
    if as_json:
        print_json(meta)
    unit = "characters" if level == "char" else "bytes"
    splits = ", ".join(f"{name} {count:,}" for name, count in meta["splits"].items() if count)
    say(f"{meta['characters']:,} {unit}, {meta['symbols']:,} different ones: {splits}")
    say(f"wrote {out}; next: charrnn train {out} --out RUN")
