"""`charrnn info`: what is in a DATA folder."""

from __future__ import annotations

from charrnn.cli.options import DataFolder, Json, print_json, show
from charrnn.cli.report import describe


def info(data: DataFolder, as_json: Json = False) -> None:
    """Show what is in a DATA folder: characters, scripts, and the figures that a model must beat."""
    from charrnn.text.data import read_meta

    meta = read_meta(data)
    if as_json:
        print_json(meta)
        return
    for line in describe(meta):
        show(line)
