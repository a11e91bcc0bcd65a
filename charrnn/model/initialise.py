"""How parameters begin.

**The input's share.** A gate's pre-activation is the sum of the input's share, x W_x, and the state's share, h W_h. If
the entries of W_x are independent with mean 0 and variance w, and x has n entries of mean square q, the input's share
has variance n q w. So W_x is uniform with

    w = INPUT_SHARE^2 / (n q),

and the input moves every gate by the same INPUT_SHARE, whatever the input is (the argument of LeCun, Bottou, Orr &
Müller 1998, "Efficient BackProp", section 4.6, and of Glorot & Bengio 2010). What n q is:

| input | n | q | n q |
|---|---|---|---|
| one-hot | V | 1 / V: one entry is 1 | 1 |
| an embedding of width D, uniform with variance 1 | D | 1 | D |
| a tied embedding, which begins as the output's weights do | D | 1 / (3 H) | D / (3 H) |
| the output of the layer below | H | OUTPUT_SQUARE of the cell | H OUTPUT_SQUARE |

A rule by the number of hidden units alone, such as the 1 / sqrt(H) of PyTorch's cells, makes the share of a one-hot
input sqrt(H) times too small: the network does not see its input until hundreds of updates have made the rows larger.

**The rest.** Recurrent and output weights are uniform within 1 / sqrt(H), or W_h is orthogonal for each gate (Saxe,
McClelland & Ganguli 2014). The output's bias is the logarithm of how often each symbol occurs, so that training begins
at the entropy of single characters. Other biases are 0, gains 1.

**The forget gate.** Its bias is `forget_bias`. With 1 a cell remembers longer from the start (Gers et al. 2000;
Jozefowicz, Zaremba & Sutskever 2015). With "chrono" (Tallec & Ollivier 2018, "Can recurrent neural networks warp
time?") each unit remembers for a time of its own, u steps, u uniform from 1 to the length of a chunk: b_f = ln u,
b_i = -b_f.
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.engine.panels import Array
from charrnn.engine.random import PURPOSES, fill_uniform
from charrnn.model.config import CHRONO, USUAL_FORGET_BIAS, ModelConfig
from charrnn.model.parameters import Parameters

INPUT_SHARE = 1.15  # standard deviation of the input's share of a gate
# Mean square of a unit's output with the parameters as they begin, measured on English text.
OUTPUT_SQUARE = {"tanh": 0.5, "relu": 1.0, "lstm": 0.06, "gru": 0.25}


class Initialiser:
    """Draws every parameter's first value: a function of the seed and the array's place alone.

    Args:
        config: the model.
        seed: any integer from 0 to 2^64 - 1.
        recurrent: "uniform" or "orthogonal".
        forget_bias: of an LSTM, a number or "chrono".
        longest: the longest memory, in time steps, that "chrono" gives a unit.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int,
        recurrent: str = "uniform",
        forget_bias: str = USUAL_FORGET_BIAS,
        longest: int = 64,
    ) -> None:
        self.config, self.seed, self.recurrent = config, seed, recurrent
        self.forget_bias, self.longest = forget_bias, longest

    def fill(self, parameters: Parameters, counts: Array | None = None) -> None:
        """Overwrite all parameters.

        Args:
            parameters: float32 or float64.
            counts: (V,) how often each symbol occurs in the text; without them all are taken for equally frequent.
        """
        for place, (name, view) in enumerate(parameters.items()):
            if view.ndim == 1:
                view[:] = 1 if ".gain" in name else 0
            elif self.recurrent == "orthogonal" and name.endswith(".W_h"):
                self._fill_orthogonal(view, place)
            else:
                self._fill_uniform(view, self._bound(name), place)
        if self.config.cell == "lstm":
            for layer in range(self.config.layers):
                self._fill_forget_bias(parameters[f"layer{layer}.b"], place=len(parameters.items()) + layer)
        if counts is not None:
            parameters["b_y"][:] = np.log((counts + 1.0) / (counts.sum() + len(counts)))

    def _bound(self, name: str) -> float:
        """Half the width of a matrix's uniform distribution around 0."""
        config = self.config
        usual = 1.0 / math.sqrt(config.hidden)
        if name == "embed":
            return usual if config.tied else math.sqrt(3.0)
        if not name.endswith(".W_x"):
            return usual
        if not name.startswith("layer0."):
            square = config.hidden * OUTPUT_SQUARE[config.nonlinearity if config.cell == "rnn" else config.cell]
        elif config.tied:
            square = config.embed * usual**2 / 3.0
        else:
            square = config.embed or 1
        return INPUT_SHARE * math.sqrt(3.0 / square)

    def _fill_uniform(self, view: Array, bound: float, place: int) -> None:
        fill_uniform(view.reshape(-1), -bound, bound, np.uint64(self.seed), PURPOSES["initialise"], np.uint64(place))

    def _fill_orthogonal(self, view: Array, place: int) -> None:
        """Each gate's H x H weights, evenly distributed over all orthogonal matrices (Mezzadri 2007)."""
        hidden, width = view.shape
        for gate in range(width // hidden):
            uniform = np.empty((2, hidden, hidden))
            counter = np.uint64((gate + 1) << 32 | place)
            fill_uniform(uniform.reshape(-1), 0.0, 1.0, np.uint64(self.seed), PURPOSES["initialise"], counter)
            # Normal numbers by Box & Muller (1958).
            normal = np.sqrt(-2.0 * np.log(1.0 - uniform[0])) * np.cos(2.0 * np.pi * uniform[1])
            q, r = np.linalg.qr(normal)
            view[:, gate * hidden : (gate + 1) * hidden] = q * np.sign(np.diag(r))

    def _fill_forget_bias(self, b: Array, place: int) -> None:
        hidden = self.config.hidden
        if self.forget_bias != CHRONO:
            b[hidden : 2 * hidden] = float(self.forget_bias)
            return
        steps = np.empty(hidden)
        counter = np.uint64(place)
        fill_uniform(steps, 1.0, max(2.0, self.longest - 1.0), np.uint64(self.seed), PURPOSES["initialise"], counter)
        b[hidden : 2 * hidden] = np.log(steps)
        b[:hidden] = -np.log(steps)
