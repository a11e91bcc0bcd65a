"""`charrnn log`: how a run went, as a table and a curve."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.options import Json, print_json, show
from charrnn.cli.terminal import print_table

MOST_ROWS = 20
CHART_ROWS, CHART_COLUMNS = 12, 64
TRAINING, VALIDATION = "·", "●"

Line = dict[str, Any]


def log(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show how a run went: its losses over time, and what happened to it."""
    from charrnn.training.journal import read_journal

    lines = read_journal(run)
    kinds: dict[str, list[Line]] = {kind: [] for kind in ("train", "eval", "event")}
    for line in lines:
        if line.get("kind") in kinds:
            kinds[line["kind"]].append(line)
    if as_json:
        print_json(kinds)
        return
    _print_table(_rows(lines))
    for text in chart(kinds["train"], kinds["eval"], lines):
        show(text)
    for event in kinds["event"]:
        figures = {k: v for k, v in event.items() if k not in ("kind", "name", "step")}
        details = ", ".join(f"{k} {'not finite' if v is None else v}" for k, v in figures.items())
        show(f"  {event['name']} at step {event.get('step', 0):,}{': ' + details if details else ''}")
    if kinds["eval"] and "preview" in kinds["eval"][-1]:
        show(f"\n{kinds['eval'][-1]['preview']}")


def _rows(lines: list[Line]) -> list[tuple[Line, Line | None]]:
    """Each evaluation with the training line before it; the last training line alone if nothing was evaluated."""
    rows: list[tuple[Line, Line | None]] = []
    latest = None
    for line in lines:
        if line["kind"] == "train":
            latest = line
        elif line["kind"] == "eval" and latest is not None:
            rows.append((latest, line))
    if not rows and latest is not None:
        rows.append((latest, None))
    thinned = max(1, math.ceil(len(rows) / MOST_ROWS))
    return rows[::-1][::thinned][::-1]


def _print_table(rows: list[tuple[Line, Line | None]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for name in ("step", "epoch", "chars", "minutes", "train nats", "val nats", "val bpc", "rate"):
        table.add_column(name, justify="right")
    for train, evaluation in rows:
        validation = ("", "") if evaluation is None else (_figure(evaluation["loss"]), _figure(evaluation["bpc"]))
        table.add_row(
            f"{train['step']:,}",
            f"{train['epoch']:.2f}",
            f"{train['chars']:,}",
            f"{train['seconds'] / 60:.2f}",
            f"{train['loss']:.4f}",
            *validation,
            f"{train['lr']:.2g}",
        )
    print_table(table)


def _figure(number: float | None) -> str:
    return "none" if number is None else f"{number:.4f}"


def chart(train: list[Line], evaluations: list[Line], lines: list[Line]) -> list[str]:
    """A chart of the losses (nats) against the number of characters trained on, as lines of text."""
    chars = {line["step"]: line["chars"] for line in lines if line["kind"] == "train"}
    points = [(line["chars"], line["loss"], TRAINING) for line in train]
    points += [(chars[e["step"]], e["loss"], VALIDATION) for e in evaluations if e["step"] in chars]
    points = [point for point in points if point[1] is not None]
    if len(points) < 2:
        return []
    right, low, high = max(1, *(p[0] for p in points)), min(p[1] for p in points), max(p[1] for p in points)
    span = (high - low) or 1.0
    canvas = [[" "] * CHART_COLUMNS for _ in range(CHART_ROWS)]
    for x, loss, mark in points:
        row = round((high - loss) / span * (CHART_ROWS - 1))
        canvas[row][min(CHART_COLUMNS - 1, int(x / right * CHART_COLUMNS))] = mark
    labels = [f"{high - span * row / (CHART_ROWS - 1):7.3f} ┤" for row in range(CHART_ROWS)]
    rows = [label + "".join(cells).rstrip() for label, cells in zip(labels, canvas, strict=True)]
    axis = "        └" + "─" * CHART_COLUMNS
    legend = f"         0 to {right:,} characters;  {TRAINING} training, {VALIDATION} validation, in nats"
    return [*rows, axis, legend]
