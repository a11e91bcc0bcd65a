"""Cells of one's own: declared in a file that the command line names, and executed only then.

A checkpoint of such a model holds the cell's name, its declaration as text and the SHA-256 of its file: never code.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from charrnn.engine.expressions import Expression, is_leaf
from charrnn.errors import CheckpointError, ConfigError
from charrnn.files import reason
from charrnn.model.cell import Cell, Gate
from charrnn.model.config import OWN, ModelConfig
from charrnn.model.step import Step


@dataclass(frozen=True)
class OwnCell:
    """A cell that was read from a file.

    Args:
        cell: the cell.
        source: SHA-256 of the file.
    """

    cell: Cell
    source: str

    @property
    def settings(self) -> dict[str, str]:
        """What a ModelConfig says of it."""
        return {"cell": OWN + self.cell.name, "cell_source": self.source, "cell_declaration": declaration(self.cell)}


_READ: dict[str, OwnCell] = {}


def read_cell(path: Path, name: str) -> OwnCell:
    """Execute a file of one's own and take a cell from it; models with this cell can be made from then on.

    Raises:
        ConfigError: the file cannot be read or executed, or has no such cell, or the cell makes no sense.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"expected --cell FILE.py:NAME, got {path}, {reason(error)}; try the path of the file"
        ) from None
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"expected a file of Python, got {path}: {_where(error, path)}; try python {path}") from None
    found = {key: value for key, value in vars(module).items() if isinstance(value, Cell)}
    if name not in found:
        known = ", ".join(found) or "no cell"
        raise ConfigError(
            f"expected a cell {name} in {path}, got {known}; try --cell {path}:{next(iter(found), 'NAME')}"
        )
    own = OwnCell(found[name], sha256(source).hexdigest())
    Step(own.cell)
    _READ[OWN + own.cell.name] = own
    return own


def _where(error: Exception, path: Path) -> str:
    """An error in one line, with the line of the file that it comes from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{type(error).__name__}: {' '.join(str(error).split())}" + (f" (line {line})" if line else "")


def own_cell(name: str) -> Cell:
    """A cell that was read, by its name in a ModelConfig.

    Raises:
        CheckpointError: it was not read.
    """
    if name not in _READ:
        short = name.removeprefix(OWN)
        raise CheckpointError(
            f"expected --cell FILE.py:{short}, the file that declares the cell of this model, got none; "
            f"try it with --cell"
        )
    return _READ[name].cell


def other_source(model: ModelConfig) -> str | None:
    """What to say if a model's cell was read from a file other than the one it was trained with."""
    own = _READ.get(model.cell)
    if own is None or own.source == model.cell_source:
        return None
    return (
        f"the file of {model.cell.removeprefix(OWN)} is another than the one this model was trained with: "
        f"SHA-256 {own.source[:16]}..., then {model.cell_source[:16]}..."
    )


def declaration(cell: Cell) -> str:
    """A cell's names and equations as text, to be read by people."""
    names = {"gates": cell.gates, "recurrent": cell.recurrent, "states": cell.states, "units": cell.units}
    header = [f"{key} {' '.join(values)}" for key, values in names.items() if values]
    return "; ".join([*header, *(f"{name} = {_infix(cell, value)}" for name, value in cell.trace().items())])


SIGNS = {"add": " + ", "subtract": " - ", "multiply": " * ", "divide": " / ", "product": " @ W_"}


def _infix(cell: Cell, y: Any) -> str:
    """An expression as one would write it."""
    if not isinstance(y, Expression):
        return str(y)
    if is_leaf(y):
        return _name(cell, y.arguments[0])
    if y.operation not in SIGNS:
        return f"{y.operation}({', '.join(_infix(cell, x) for x in y.arguments)})"
    parts = [
        f"({_infix(cell, x)})" if isinstance(x, Expression) and x.operation in SIGNS else _infix(cell, x)
        for x in y.arguments
    ]
    return SIGNS[y.operation].join(parts)


def _name(cell: Cell, meaning: Any) -> str:
    if isinstance(meaning, Gate):
        return f"a.{meaning.name}"
    if meaning.array == "units":
        return f"p.{cell.units[meaning.slot]}"
    return f"s.{cell.states[int(meaning.array.removeprefix('state'))]}"
