"""The journal of a run, log.jsonl: one JSON object to a line, each written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charrnn.errors import DataError, OutputError
from charrnn.files import replacing


class Journal:
    """Appends lines to log.jsonl.

    Args:
        path: the file.
        last_step: lines of later steps, left by a run that was killed after its last checkpoint, are dropped.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        self.path = path
        try:
            if path.exists():
                kept = [line for line in _complete_lines(path) if line.get("step", 0) <= last_step]
                with replacing(path) as file:
                    file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"expected to write {path}, got: {error.strerror}; try another folder") from None

    def write(self, kind: str, **values: Any) -> None:
        """One line: its kind, then the values in the order given; floats to 6 digits."""
        short = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
        try:
            self._file.write(json.dumps({"kind": kind} | short) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"expected to write {self.path}, got: {error.strerror}; try freeing space") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _complete_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in the file's complete lines."""
    lines = []
    for text in path.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # a line that was cut off when its process was killed
        if isinstance(line, dict) and "kind" in line:
            lines.append(line)
    return lines


def read_journal(run: Path) -> list[dict[str, Any]]:
    """All lines of a run's journal.

    Raises:
        DataError: there is no journal, or nothing in it.
    """
    path = run / "log.jsonl"
    try:
        lines = _complete_lines(path)
    except OSError as error:
        raise DataError(
            f"expected a RUN folder with a log.jsonl, got {run}: {error.strerror}; try the --out of charrnn train"
        ) from None
    if not lines:
        raise DataError(f"expected lines in {path}, got none; try again when the run has begun")
    return lines
