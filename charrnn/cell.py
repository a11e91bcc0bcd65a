"""The names that a user's file with a cell imports: `from charrnn.cell import State, cell, tanh`; see docs/cells.md."""

from charrnn.engine.expressions import exp, relu, sigmoid, tanh
from charrnn.model.cell import State, cell

__all__ = ["State", "cell", "exp", "relu", "sigmoid", "tanh"]
