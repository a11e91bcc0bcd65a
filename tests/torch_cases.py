"""The cases that are compared with PyTorch, and the numbers that both sides begin with. Needs NumPy alone."""

from dataclasses import dataclass
from itertools import product

import numpy as np

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Case:
    cell: str
    layers: int
    embed: int = 0
    nonlinearity: str = "tanh"
    hidden: int = 9
    symbols: int = 6
    batch: int = 3
    steps: int = 5
    input_skips: bool = False

    @property
    def name(self):
        return f"{self.cell}-{self.nonlinearity}-{self.layers}-{self.embed}" + "-skips" * self.input_skips


@dataclass(frozen=True)
class Drawn:
    parameters: dict
    state: dict
    inputs: np.ndarray
    targets: np.ndarray


CASES = [Case(cell, layers, embed) for cell, layers, embed in product(GATES, (1, 2, 3), (0, 4))]
CASES += [Case("rnn", layers, 0, "relu") for layers in (1, 2)]
CASES += [Case("lstm", 3, 4, input_skips=True), Case("gru", 2, 0, input_skips=True)]


def draw_case(case):
    """Parameters by the project's names, a state and symbols, all from one seeded generator."""
    rng = np.random.default_rng(sum(map(ord, case.name)))
    H, width = case.hidden, GATES[case.cell] * case.hidden
    shapes = {"embed": (case.symbols, case.embed)} if case.embed else {}
    for layer in range(case.layers):
        below = H if layer else case.embed or case.symbols
        shapes |= {f"layer{layer}.W_x": (below, width), f"layer{layer}.W_h": (H, width), f"layer{layer}.b": (width,)}
        if case.input_skips and layer:
            shapes[f"layer{layer}.W_skip"] = (case.embed or case.symbols, width)
        if case.cell == "gru":
            shapes[f"layer{layer}.b_hn"] = (H,)
    shapes |= {"W_y": (H, case.symbols), "b_y": (case.symbols,)}
    parameters = {name: rng.uniform(-0.5, 0.5, shape) for name, shape in shapes.items()}
    states = ("h", "c") if case.cell == "lstm" else ("h",)
    state = {name: rng.uniform(-0.5, 0.5, (case.layers, case.batch, H)) for name in states}
    symbols = rng.integers(0, case.symbols, (case.steps + 1, case.batch))
    return Drawn(parameters, state, symbols[:-1], symbols[1:])
