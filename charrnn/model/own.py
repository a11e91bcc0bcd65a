"""The user's own cells. They are declared in a file, which is executed only if the command line names it.

A checkpoint of such a model holds the cell's name, its declaration as text and the SHA-256 of its file. It never holds
code.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from charrnn.engine.expressions import NUMPY_OPERATORS, Expression, evaluate, gradients, in_order, is_leaf, leaf
from charrnn.errors import CheckpointError, ConfigError
from charrnn.files import reason
from charrnn.model.cell import Cell, Gate
from charrnn.model.config import OWN, ModelConfig
from charrnn.model.programs import Programs
from charrnn.model.step import Step

PADDED_STEPS = 1000  # for so many steps the equations are tried in padding
GROWTH = 3.0  # by this factor, a large state may grow in the second half of these steps


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
        """The fields of a ModelConfig that describe this cell."""
        return {"cell": OWN + self.cell.name, "cell_source": self.source, "cell_declaration": declaration(self.cell)}


_READ: dict[str, OwnCell] = {}


def read_cell(path: Path, name: str) -> OwnCell:
    """Execute the user's file and take a cell from it. From then on, models with this cell can be made.

    Raises:
        ConfigError: the file cannot be read or executed, or has no such cell, or the cell makes no sense.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"expected --cell FILE.py:NAME, got {path}, {reason(error)}; try the path of the file"
        ) from None
    module = sys.modules[f"cell_of_{path.stem}"] = ModuleType(f"cell_of_{path.stem}")
    module.__file__ = str(path)
    sys.path.insert(0, str(path.parent))  # as `python FILE` does
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"expected a file of Python, got {path}: {_where(error, path)}; try python {path}") from None
    finally:
        sys.path.pop(0)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Cell)}
    if name not in found:
        known = ", ".join(found) or "no cell"
        raise ConfigError(
            f"expected a cell {name} in {path}, got {known}; try --cell {path}:{next(iter(found), 'NAME')}"
        )
    own = OwnCell(replace(found[name], name=name), sha256(source).hexdigest())
    _refuse_nonsense(own.cell)
    _READ[OWN + name] = own
    return own


def _refuse_nonsense(cell: Cell) -> None:
    """Raise EquationError if the equations lack gradients, or if they or their gradients do not stay finite in padding.

    There all inputs are 0, and the states begin at 0. The gradients that arrive there are 0. A number that is not
    finite would spoil all units: their zero weights for it would make NaN. So a state may not grow exponentially there.
    """
    step = Programs(Step(cell)).step
    values = [*step.new.values(), *step.operands]
    arriving = gradients((y, leaf("arriving")) for y in values if not is_leaf(y))
    values += [d for y, d in arriving.items() if is_leaf(y)]
    derived = len(values) - len(step.new) - len(step.operands)
    states: dict[str, np.float32] = {}
    half = np.zeros(len(step.new))

    def known(y: Expression) -> Any:
        return states.get(getattr(y.arguments[0], "array", ""), np.float32(0)) if is_leaf(y) else None

    for steps in range(1, PADDED_STEPS + 1):
        with np.errstate(all="ignore"):
            numbers = np.array(evaluate(values, known, NUMPY_OPERATORS), np.float32)
        if not np.isfinite(numbers).all():
            what = "derivatives" if np.isfinite(numbers[:-derived]).all() else "numbers"
            raise cell.error(
                f"expected finite {what} when all inputs are 0, as in padding, "
                f"got {numbers[~np.isfinite(numbers)][0]} after {steps} step{'s' * (steps > 1)}"
            )
        states = {f"state{k}": number for k, number in enumerate(numbers[: len(step.new)])}
        if steps == PADDED_STEPS // 2:
            half = np.abs(numbers[: len(step.new)])
    last = np.abs(numbers[: len(step.new)])
    grown = last > GROWTH * np.maximum(half, 1.0)
    if grown.any():
        k = int(grown.argmax())
        raise cell.error(
            f"expected states with a limit when all inputs are 0, as in padding, got {half[k]:.3g} after "
            f"{PADDED_STEPS // 2} steps and {last[k]:.3g} after {PADDED_STEPS}"
        )


def _where(error: BaseException, path: Path) -> str:
    """An error in one line, with the line of the file that it comes from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{type(error).__name__}: {' '.join(str(error).split())}" + (f" (line {line})" if line else "")


def own_cell(name: str) -> Cell:
    """A cell that was read, by its name in a ModelConfig.

    Raises:
        CheckpointError: the cell was not read.
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
    if own is None or (own.source, declaration(own.cell)) == (model.cell_source, model.cell_declaration):
        return None
    what = "file" if own.source != model.cell_source else "equations"
    return (
        f"the {what} of {model.cell.removeprefix(OWN)} differ{'s' * (what == 'file')} from those of training: "
        f"SHA-256 of the file {own.source[:16]}..., in training {model.cell_source[:16]}..."
    )


def declaration(cell: Cell) -> str:
    """A cell's names and equations as text for people. A part that is used several times gets a name: t1, t2 ..."""
    new = cell.trace()
    names = {"gates": cell.gates, "recurrent": cell.recurrent, "states": cell.states, "units": cell.units}
    parts = [f"{key} {' '.join(values)}" for key, values in names.items() if values]
    order = in_order(new.values())
    uses = Counter(x for y in order for x in y.arguments if isinstance(x, Expression))
    text: dict[Expression, str] = {}
    for y in order:
        text[y] = _name(cell, y.arguments[0]) if is_leaf(y) else _infix(y, text)
        if uses[y] > 1 and not is_leaf(y):
            shared = f"t{sum(part.startswith('t') for part in parts) + 1}"
            parts.append(f"{shared} = {text[y]}")
            text[y] = shared
    return "; ".join([*parts, *(f"{name} = {text[y]}" for name, y in new.items())])


SIGNS = {"add": " + ", "subtract": " - ", "multiply": " * ", "divide": " / ", "product": " @ w."}


def _infix(y: Expression, text: dict[Expression, str]) -> str:
    """An expression in the usual notation, made from the text of its parts."""
    if y.operation not in SIGNS:
        return f"{y.operation}({', '.join(text[x] if isinstance(x, Expression) else str(x) for x in y.arguments)})"
    sides = [text[x] if isinstance(x, Expression) else str(x) for x in y.arguments]
    inner = [
        isinstance(x, Expression) and x.operation in SIGNS and " " in t for x, t in zip(y.arguments, sides, strict=True)
    ]
    return SIGNS[y.operation].join(f"({t})" if nested else t for t, nested in zip(sides, inner, strict=True))


def _name(cell: Cell, meaning: Any) -> str:
    """What the equations call a leaf."""
    if isinstance(meaning, Gate):
        return f"a.{meaning.name}"
    if meaning.array == "units":
        return f"p.{cell.units[meaning.slot]}"
    return f"s.{cell.states[int(meaning.array.removeprefix('state'))]}"
