"""The journal of a run, log.jsonl: each line is one JSON object, and is written as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import DataError, OutputError
from charrnn.files import open_regular, reason, replacing
from charrnn.folders import JOURNAL, what_is
from charrnn.json_files import WHOLE, Form, Maybe, Number, check, parse

LONGEST_LINE = 1 << 24  # bytes
NUMBER = Number(-1e100, 1e100)
FORMS: dict[str, Form] = {  # of the lines that are shown; of other lines, only OPTIONAL values are checked
    "train": dict.fromkeys(("step", "chars"), WHOLE) | dict.fromkeys(("epoch", "seconds", "loss", "bpc", "lr"), NUMBER),
    "eval": {"step": WHOLE, "loss": Maybe(NUMBER), "bpc": Maybe(NUMBER)},
    "event": {"name": str},
}
OPTIONAL: dict[str, Form] = {"step": WHOLE, "preview": str}


class Journal:
    """Appends lines to log.jsonl.

    Args:
        path: the file.
        last_step: lines of later steps are dropped. A run leaves them if it is killed after its newest checkpoint.
        last_evaluation: the same for evaluations, which are made again if the checkpoint is from before them.
    """

    def __init__(self, path: Path, last_step: int, last_evaluation: int) -> None:
        self.path = path
        try:
            if path.exists():
                with replacing(path) as file:
                    for line in _complete_lines(path):
                        if line.get("step", 0) <= (last_evaluation if line["kind"] == "eval" else last_step):
                            file.write((json.dumps(line) + "\n").encode())
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"expected to write {path}, got: {reason(error)}; try another folder") from None

    def write(self, kind: str, **values: Any) -> None:
        """Write one line: its kind, then the values in the given order; floats are rounded to 6 digits."""
        short = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
        try:
            self._file.write(json.dumps({"kind": kind} | short) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"expected to write {self.path}, got: {reason(error)}; try freeing space") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _complete_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in the file's lines; lines that are damaged, or incomplete after a killed process, are left out."""
    with open_regular(path) as file:
        while text := file.readline(LONGEST_LINE):
            try:
                line = parse(text)
                check(line, {"kind": str}, "line")
                check(line, FORMS.get(line["kind"], {}) | {k: v for k, v in OPTIONAL.items() if k in line}, "line")
            except ValueError:
                continue
            yield line


def read_journal(run: Path) -> list[dict[str, Any]]:
    """All lines of a run's journal.

    Raises:
        DataError: there is no journal, or no whole line in it.
    """
    path = run / JOURNAL
    try:
        lines = list(_complete_lines(path))
    except OSError as error:
        there = (
            f"{path}: {reason(error)}"
            if path.exists()
            else what_is(run) + (f", without {path.name}" if run.is_dir() else "")
        )
        raise DataError(f"expected a RUN folder with {JOURNAL}, got {there}; try the --out of charrnn train") from None
    if not lines:
        got = "damaged ones only; try another run" if path.stat().st_size else "none; try again when the run has begun"
        raise DataError(f"expected lines in {path}, got {got}")
    return lines


def finite(number: float) -> float | None:
    """The number, or None if it is not finite, because JSON cannot hold it."""
    return number if math.isfinite(number) else None
