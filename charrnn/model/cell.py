"""The declaration of a cell: its forward equations, and the names that they use.

A cell says how one layer gets from the state before a character to the state after it:

    @cell(gates="i f g o", states="h c")
    def lstm(a, s):
        i, f, g, o = sigmoid(a.i), sigmoid(a.f), tanh(a.g), sigmoid(a.o)
        c = f * s.c + i * g
        return State(h=o * tanh(c), c=c)

The names of the equations' parameters say what the equations use:

    a   the pre-activation of each gate: a.i = x W_x + s.h W_h + b, with the columns of gate i
    s   the state before: s.h, s.c
    w   the recurrent weights of each gate, for a product that the equations contain themselves. The pre-activation of
        such a gate is x W_x + b only. (r * s.h) @ w.n must be added to a.n. s.h @ w.n may stand anywhere, and has its
        own bias, unless it is simply added to a.n.
    p   a learned number for each unit (`units`)

Everything else is derived from the equations, see step.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.engine.expressions import Expression, leaf
from charrnn.engine.fused import UNITS, Place
from charrnn.errors import ConfigError

PARAMETERS = ("a", "s", "w", "p")  # of equations


class EquationError(ConfigError):
    """A cell's equations make no sense."""


@dataclass(frozen=True)
class Gate:
    """The meaning of a leaf of the equations: the pre-activation of a gate, or (`single`) a separate product with h."""

    name: str
    single: bool = False


class Weights:
    """The recurrent weights of one gate: `x @ w.n` is their product with x."""

    def __init__(self, gate: str) -> None:
        self.gate = gate

    def __rmatmul__(self, x: Any) -> Expression:
        if not isinstance(x, Expression):
            raise TypeError(f"expected an expression before @ w.{self.gate}, got {x!r}")
        return Expression("product", x, self.gate)


class State(dict[str, Any]):
    """What the equations return: `State(h=..., c=...)`."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell as it was declared.

    Args:
        name: the name of the function.
        equations: the function.
        gates: the names of the gates, in the order in which they stand in W_x, W_h and b.
        recurrent: the gates that have recurrent weights.
        states: the names of the states. The first one is h, which other layers see.
        units: names of the learned numbers for each unit.
        forget: first the gate whose bias is `--forget-bias`, then the gate whose bias chrono sets to the negative.
    """

    name: str
    equations: Callable[..., Any]
    gates: tuple[str, ...]
    recurrent: tuple[str, ...]
    states: tuple[str, ...] = ("h",)
    units: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in inspect.signature(self.equations).parameters if name not in PARAMETERS]
        if unknown:
            raise self.error(f"expected parameters of {', '.join(PARAMETERS)}, got {unknown[0]}")
        if not self.gates or self.states[:1] != ("h",):
            raise self.error("expected at least one gate, and h as the first state; try gates='h', states='h'")
        for names in (self.gates, self.recurrent, self.states, self.units):
            for name in names:
                if not name.isidentifier() or names.count(name) > 1:
                    raise self.error(f"expected names, each once, got {' '.join(names)}")
        strange = [name for name in (*self.recurrent, *self.forget) if name not in self.gates]
        if strange:
            raise self.error(f"expected gates among {' '.join(self.gates)}, got {strange[0]}")

    def error(self, what: str) -> EquationError:
        """An error that names the cell and the place of its declaration."""
        code = self.equations.__code__
        return EquationError(f"cell {self.name} ({Path(code.co_filename).name}, line {code.co_firstlineno}): {what}")

    def trace(self) -> State:
        """The new state as expressions.

        Each leaf stands for a `Gate` or for a place. Recurrent products are operations "product".

        Raises:
            EquationError: the equations use a name that is not declared, or return something else.
        """
        names = {
            "a": _Names(self, "a", {name: leaf(Gate(name)) for name in self.gates}),
            "s": _Names(self, "s", {name: leaf(Place(f"state{k}")) for k, name in enumerate(self.states)}),
            "w": _Names(self, "w", {name: Weights(name) for name in self.recurrent}),
            "p": _Names(self, "p", {name: leaf(Place("units", UNITS, k)) for k, name in enumerate(self.units)}),
        }
        try:
            new = self.equations(*(names[name] for name in inspect.signature(self.equations).parameters))
        except EquationError:
            raise
        except Exception as error:
            raise self.error(
                f"expected equations, got {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        if not isinstance(new, State) or tuple(sorted(new)) != tuple(sorted(self.states)):
            given = f"State({', '.join(new)})" if isinstance(new, State) else repr(new)
            raise self.error(f"expected it to return State({', '.join(f'{n}=...' for n in self.states)}), got {given}")
        for name, value in new.items():
            if not isinstance(value, Expression):
                raise self.error(f"expected an expression for state {name}, got {value!r}")
        return State({name: new[name] for name in self.states})


class _Names:
    """The names of one kind that equations may use."""

    def __init__(self, cell: Cell, kind: str, known: dict[str, Any]) -> None:
        self._cell, self._kind, self._known = cell, kind, known

    def __getattr__(self, name: str) -> Any:
        if name not in self._known:
            known = ", ".join(f"{self._kind}.{each}" for each in self._known) or "none"
            raise self._cell.error(f"expected one of {known}, got {self._kind}.{name}")
        return self._known[name]


def cell(
    gates: str, states: str = "h", recurrent: str | None = None, units: str = "", forget: str = ""
) -> Callable[[Callable[..., Any]], Cell]:
    """Declare a cell by its forward equations. Names are separated by spaces, see `Cell`.

    Args:
        recurrent: the gates that have recurrent weights; all gates by default.
    """

    def declare(equations: Callable[..., Any]) -> Cell:
        words = [names.split() for names in (gates, gates if recurrent is None else recurrent, states, units, forget)]
        return Cell(equations.__name__, equations, *map(tuple, words))

    return declare
