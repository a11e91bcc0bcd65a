"""How parameters are initialised.

**The input's share.** A gate's pre-activation is the sum of the input's share, x W_x, and the state's share, h W_h. If
the entries of W_x are independent with mean 0 and variance w, and x has n entries of mean square q, the input's share
has variance n q w. So W_x is uniform within 1 / sqrt(n q). Then w = 1 / (3 n q), and the input moves every gate by the
same INPUT_SHARE, 1 / sqrt(3), whatever the input is (the argument of LeCun, Bottou, Orr & Müller 1998, "Efficient
BackProp", section 4.6, and of Glorot & Bengio 2010). The values of n q are:

| input | n | q | n q |
|---|---|---|---|
| one-hot | V | 1 / V: one entry is 1 | 1 |
| an embedding of width E, uniform with variance 1 | E | 1 | E |
| a tied embedding, initialised like the output's weights | E | 1 / (3 H) | E / (3 H) |
| the output of the layer below | H | `output_square` of the cell | H `output_square` |
| with --residual, the sum of the outputs of k layers | H | k `output_square` | k H `output_square` |

A rule that uses only the number of hidden units, such as the 1 / sqrt(H) of PyTorch's cells, makes the share of a
one-hot input sqrt(H) times too small. Then the network hardly sees its input until hundreds of updates have made the
rows larger. With --input-skips, each of the two inputs of an upper layer has half of the variance. With --layer-norm, a
gate is scaled afterwards, so only the ratio of the two shares matters; it is that of the model without normalisation.

**The rest.** Recurrent and output weights are uniform within 1 / sqrt(H), or W_h is orthogonal for each gate (Saxe,
McClelland & Ganguli 2014). The output's bias is the logarithm of each symbol's relative frequency, so that training
begins at the entropy of single characters. Other biases are 0, and gains are 1.

**Milder beginnings.** With a `scale` below 1, the input's share has this part of the variance above, and the output's
bias is this part of the logarithms. Then the model learns more slowly at first. Where it would learn the text by heart,
it ends with a lower loss. This was found by measurements, not derived: docs/measurements.md, "Models that read a text
often".

**The forget gate.** Its bias is `forget_bias`. With a bias of 1, a cell remembers longer from the start (Gers et al.
2000; Jozefowicz, Zaremba & Sutskever 2015). With "chrono" (Tallec & Ollivier 2018, "Can recurrent neural networks warp
time?") each unit has its own memory of u steps, where u is uniform from 1 to the length of a chunk less 1:
b_f = ln u, b_i = -b_f.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from charrnn.engine.expressions import NUMPY_OPERATORS, Expression, evaluate, is_leaf
from charrnn.engine.panels import Array
from charrnn.engine.random import PURPOSES, fill_uniform, normal
from charrnn.errors import ConfigError
from charrnn.model.cell import Cell
from charrnn.model.cells import cell_of, rnn_relu
from charrnn.model.config import CHRONO, IDENTITY, USUAL_FORGET_BIAS, ModelConfig
from charrnn.model.parameters import Parameters
from charrnn.model.step import Step

INPUT_SHARE = 1.0 / math.sqrt(3.0)  # standard deviation of the input's share; it follows from the bound of W_x
SIMULATED_UNITS, SIMULATED_STEPS = 4000, 50
UNKNOWN_SQUARE = 1 / 3  # for a cell whose output is zero at the beginning, or grows without limit


@cache
def output_square(cell: Cell) -> float:
    """The mean square of a cell's output at the beginning of training, to two digits.

    It is found by running the cell's equations on random pre-activations. These are sums of the input's share, the
    state's share and the usual forget bias. The weights of the state's share are uniform within 1 / sqrt(H), so its
    mean square is a third of that of h.
    """
    step, random = Step(cell), np.random.default_rng(0)
    state = [np.zeros(SIMULATED_UNITS) for _ in cell.states]
    squares = []
    for _ in range(SIMULATED_STEPS):
        from_state = np.square(state[0]).mean() / 3.0
        gates = {}
        for slot in step.slots:
            variance = INPUT_SHARE**2 * slot.has_input + from_state * (slot.stage is not None)
            gates[slot.leaf] = random.normal(0.0, math.sqrt(variance), SIMULATED_UNITS)
            gates[slot.leaf] += float(USUAL_FORGET_BIAS) * (cell.forget[:1] == (slot.gate,))

        states = {f"state{k}": values for k, values in enumerate(state)}

        def known(y: Expression, gates: Any = gates, states: Any = states) -> Any:
            if not is_leaf(y):
                return None
            place = y.arguments[0]
            return gates[y] if y in gates else states.get(place.array, 0.0)

        with np.errstate(all="ignore"):
            state = evaluate(step.new.values(), known, NUMPY_OPERATORS)
        squares.append(np.square(state[0]).mean())
    square = float(f"{np.mean(squares[SIMULATED_STEPS // 2 :]):.2g}")
    return square if 0.0 < square < math.inf else UNKNOWN_SQUARE


class Initialiser:
    """Draws every parameter's first value. The value depends only on the seed and on the array's place.

    Args:
        config: the model.
        seed: any integer from 0 to 2^64 - 1.
        recurrent: "uniform", "orthogonal" or, for rectified units, "identity" (Le, Jaitly & Hinton 2015).
        forget_bias: the forget gate's bias: a number or "chrono".
        longest: the longest memory, in time steps, that "chrono" gives a unit.
        scale: part of the variance of the input's share, and of the output's bias; above 0.
    Raises:
        ConfigError: "identity" for other units.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int,
        recurrent: str = "uniform",
        forget_bias: str = USUAL_FORGET_BIAS,
        longest: int = 64,
        scale: float = 1.0,
    ) -> None:
        self.config, self.seed, self.recurrent, self.cell = config, seed, recurrent, cell_of(config)
        self.forget_bias, self.longest, self.scale = forget_bias, longest, scale
        if recurrent == IDENTITY and self.cell is not rnn_relu:
            raise ConfigError(
                f"expected --init identity with --cell rnn --nonlinearity relu, got {self.cell.name}; "
                "try --init orthogonal"
            )

    def fill(self, parameters: Parameters, counts: Array | None = None) -> None:
        """Overwrite all parameters.

        Args:
            parameters: float32 or float64.
            counts: (V,) how often each symbol occurs in the text; by default all symbols are equally frequent.
        """
        for place, (name, view) in enumerate(parameters.items()):
            if view.ndim == 1:
                view[:] = 1 if ".gain" in name else 0
            elif self.recurrent == IDENTITY and name.endswith(".W_h"):
                view[:] = np.eye(len(view))
            elif self.recurrent == "orthogonal" and name.endswith(".W_h"):
                self._fill_orthogonal(view, place)
            else:
                self._fill_uniform(view, self._bound(name), place)
        if self.cell.forget:
            for layer in range(self.config.layers):
                self._fill_forget_bias(parameters[f"layer{layer}.b"], place=len(parameters.items()) + layer)
        if counts is not None:
            parameters["b_y"][:] = self.scale * np.log((counts + 1.0) / (counts.sum() + len(counts)))

    def _bound(self, name: str) -> float:
        """Half the width of a matrix's uniform distribution around 0."""
        config = self.config
        usual = 1.0 / math.sqrt(config.hidden)
        if name == "embed":
            return usual if config.tied else math.sqrt(3.0)
        if not name.endswith((".W_x", ".W_skip")):
            return usual
        layer = int(name.removeprefix("layer").split(".")[0])
        if name.endswith(".W_x") and layer:
            outputs = layer if config.residual else 1
            square = outputs * config.hidden * output_square(self.cell)
        elif config.tied:
            square = config.embed * usual**2 / 3.0
        else:
            square = config.embed or 1
        if config.input_skips and layer:
            square *= 2  # two inputs have the share of one
        return math.sqrt(self.scale / square)

    def _fill_uniform(self, view: Array, bound: float, place: int) -> None:
        fill_uniform(view.reshape(-1), -bound, bound, np.uint64(self.seed), PURPOSES["initialise"], np.uint64(place))

    def _fill_orthogonal(self, view: Array, place: int) -> None:
        """Each gate's H x H weights, evenly distributed over all orthogonal matrices (Mezzadri 2007)."""
        hidden, width = view.shape
        for gate in range(width // hidden):
            uniform = np.empty((2, hidden, hidden))
            counter = np.uint64((gate + 1) << 32 | place)
            fill_uniform(uniform.reshape(-1), 0.0, 1.0, np.uint64(self.seed), PURPOSES["initialise"], counter)
            q, r = np.linalg.qr(normal(*uniform))
            view[:, gate * hidden : (gate + 1) * hidden] = q * np.sign(np.diag(r))

    def _fill_forget_bias(self, b: Array, place: int) -> None:
        hidden = self.config.hidden
        forget, *inputs = (b[self.cell.gates.index(gate) * hidden :][:hidden] for gate in self.cell.forget)
        if self.forget_bias != CHRONO:
            forget[:] = float(self.forget_bias)
            return
        steps = np.empty(hidden)
        counter = np.uint64(place)
        fill_uniform(steps, 1.0, max(2.0, self.longest - 1.0), np.uint64(self.seed), PURPOSES["initialise"], counter)
        forget[:] = np.log(steps)
        for gate in inputs:
            gate[:] = -np.log(steps)
