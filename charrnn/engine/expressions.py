"""Equations as graphs, and the graphs of their derivatives.

Equations are written once, with ordinary operators on `Expression` objects. That makes a graph, which can be evaluated
on anything that knows the operators: on SIMD vectors while a kernel is built, on NumPy arrays in a test. `gradients`
walks such a graph from its outputs back to its leaves and writes the derivatives in the same operators: reverse-mode
differentiation (Speelpenning 1980; Griewank & Walther 2008, "Evaluating Derivatives", chapter 3).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

Operators = dict[str, Callable[..., Any]]


class Expression:
    """A node of the graph.

    Args:
        operation: "leaf", "product", or one of OPERATIONS.
        arguments: expressions and numbers. A leaf has its meaning only. A product has an expression and a name.
    Raises:
        TypeError: an argument of an operation is something else.
    """

    def __init__(self, operation: str, *arguments: Any) -> None:
        if operation not in ("leaf", "product"):
            strange = [x for x in arguments if not isinstance(x, Expression | Real)]
            if strange or not any(isinstance(x, Expression) for x in arguments):
                raise TypeError(f"expected expressions to {operation}, got {(strange or arguments)[0]!r}")
        self.operation, self.arguments = operation, arguments

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value before there are numbers")

    def __add__(self, other: Any) -> Expression:
        return Expression("add", self, other)

    def __radd__(self, other: Any) -> Expression:
        return Expression("add", other, self)

    def __sub__(self, other: Any) -> Expression:
        return Expression("subtract", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return Expression("subtract", other, self)

    def __mul__(self, other: Any) -> Expression:
        return Expression("multiply", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return Expression("multiply", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return Expression("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return Expression("divide", other, self)

    def __neg__(self) -> Expression:
        return Expression("negate", self)


def leaf(meaning: Hashable) -> Expression:
    """An expression whose value is given from outside."""
    return Expression("leaf", meaning)


def is_leaf(y: Expression) -> bool:
    """Whether an expression is a leaf."""
    return y.operation == "leaf"


def sigmoid(x: Any) -> Expression:
    """1 / (1 + e^-x)."""
    return Expression("sigmoid", x)


def tanh(x: Any) -> Expression:
    """Hyperbolic tangent."""
    return Expression("tanh", x)


def relu(x: Any) -> Expression:
    """The larger of x and 0."""
    return Expression("relu", x)


def exp(x: Any) -> Expression:
    """e^x."""
    return Expression("exp", x)


def where_positive(condition: Any, x: Any) -> Expression:
    """x where the condition is above 0, else 0."""
    return Expression("where_positive", condition, x)


# For each operation, the gradients of its arguments, given its result y and the gradient d of y.
RULES: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "add": lambda y, d: (d, d),
    "subtract": lambda y, d: (d, -d),
    "multiply": lambda y, d: (d * y.arguments[1], d * y.arguments[0]),
    "divide": lambda y, d: (d / y.arguments[1], -(d * y / y.arguments[1])),
    "negate": lambda y, d: (-d,),
    "sigmoid": lambda y, d: (d * y * (1.0 - y),),
    "tanh": lambda y, d: (d * (1.0 - y * y),),
    "relu": lambda y, d: (where_positive(y, d),),
    "exp": lambda y, d: (d * y,),
    "where_positive": lambda y, d: (0.0, where_positive(y.arguments[0], d)),
}
OPERATIONS = tuple(RULES)
_REBUILD: Operators = {name: partial(Expression, name) for name in (*OPERATIONS, "product")}
NUMPY_OPERATORS: Operators = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negate": np.negative,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
    "exp": np.exp,
    "relu": lambda x: np.maximum(x, 0.0),
    "where_positive": lambda x, y: np.where(x > 0.0, y, 0.0),
}
NONLINEAR = ("sigmoid", "tanh", "relu", "exp")


def in_order(outputs: Iterable[Any], given: Callable[[Expression], bool] = is_leaf) -> list[Expression]:
    """All expressions that the outputs are made of, each after its arguments. Given ones come without theirs."""
    seen: set[Expression] = set()
    order: list[Expression] = []
    waiting = [(y, False) for y in reversed(list(outputs)) if isinstance(y, Expression)]
    while waiting:
        y, arguments_done = waiting.pop()
        if arguments_done:
            order.append(y)
        elif y not in seen:
            seen.add(y)
            waiting.append((y, True))
            if not given(y):
                waiting += [(x, False) for x in reversed(y.arguments) if isinstance(x, Expression)]
    return order


def gradients(outputs: Iterable[tuple[Expression, Any]]) -> dict[Expression, Any]:
    """The gradients of everything that some outputs are made of.

    Args:
        outputs: expressions, each with the gradient that reaches it.
    Returns:
        For each expression that a gradient reaches, this gradient.
    """
    reached: dict[Expression, Any] = {}

    def add(x: Any, d: Any) -> None:
        if not isinstance(x, Expression):
            return
        reached[x] = _sum(reached[x], d) if x in reached else d

    outputs = list(outputs)
    for y, d in outputs:
        add(y, d)
    for y in reversed(in_order(y for y, _ in outputs)):
        if not is_leaf(y) and y in reached:
            for x, d in zip(y.arguments, RULES[y.operation](y, reached[y]), strict=True):
                if d != 0.0:
                    add(x, d)
    return reached


def _sum(x: Any, d: Any) -> Any:
    """x + d in few operations: x - y for d = -y, and p (q + r) for p q + p r."""
    negative = isinstance(d, Expression) and d.operation == "negate"
    d = d.arguments[0] if negative else d
    factors = [y.arguments for y in (x, d) if isinstance(y, Expression) and y.operation == "multiply"]
    if len(factors) == 2 and factors[0][0] is factors[1][0]:
        common, q, r = factors[0][0], factors[0][1], factors[1][1]
        return common * (q - r if negative else q + r)
    return x - d if negative else x + d


def evaluate(outputs: Iterable[Any], given: Callable[[Expression], Any], operators: Operators) -> list[Any]:
    """The values of some expressions. Each part is computed once.

    Args:
        outputs: expressions and numbers.
        given: returns the value of a known expression, and None for an expression to be computed. All leaves must be
            known.
        operators: a function for each of OPERATIONS.
    """
    values: dict[Expression, Any] = {}
    outputs = list(outputs)

    def is_known(y: Expression) -> bool:
        known = given(y)
        if known is not None:
            values[y] = known
        return known is not None

    for y in in_order(outputs, is_known):
        if y not in values:
            arguments = (values[x] if isinstance(x, Expression) else x for x in y.arguments)
            values[y] = operators[y.operation](*arguments)
    return [values[y] if isinstance(y, Expression) else y for y in outputs]


def replaced(outputs: Iterable[Any], given: Callable[[Expression], Expression | None]) -> list[Any]:
    """The same expressions, with some of their parts replaced. Leaves stay unless they are replaced."""

    def known(y: Expression) -> Expression | None:
        found = given(y)
        return y if found is None and is_leaf(y) else found

    return evaluate(outputs, known, _REBUILD)


def spelled(outputs: Iterable[Any]) -> str:
    """The expressions as text. Graphs that compute the same in the same way have the same text."""
    numbers: dict[Expression, int] = {}
    lines = []
    outputs = list(outputs)
    for y in in_order(y for y in outputs if isinstance(y, Expression)):
        numbers[y] = len(numbers)
        arguments = (f"%{numbers[x]}" if isinstance(x, Expression) else repr(x) for x in y.arguments)
        lines.append(f"%{numbers[y]} = {y.operation} {', '.join(arguments)}")
    lines.append(f"return {', '.join(f'%{numbers[y]}' if isinstance(y, Expression) else repr(y) for y in outputs)}")
    return "\n".join(lines)
