"""How parameters begin.

Weights are uniform within 1 / sqrt(fan-in) of zero, the rule of LeCun, Bottou, Orr & Müller (1998, "Efficient
BackProp") in the form in which PyTorch applies it: fan-in is H for W_x, W_h and the output. Embeddings are
uniform with variance 1, unless they are the output's weights too. Gains of normalisations are 1, biases 0, but for
the LSTM's forget gate, which begins at 1, open, so that gradients reach far back from the start (Gers et al. 2000;
Jozefowicz, Zaremba & Sutskever 2015).
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.engine.random import PURPOSES, fill_uniform
from charrnn.model.config import ModelConfig
from charrnn.model.parameters import Parameters


def initialise(parameters: Parameters, config: ModelConfig, seed: int) -> None:
    """Give every parameter its first value, a function of the seed and the array's place alone.

    Args:
        parameters: float32 or float64, overwritten.
        config: the model they belong to.
        seed: any integer from 0 to 2^64 - 1.
    """
    for step, (name, view) in enumerate(parameters.items()):
        if view.ndim == 1:
            view[:] = 1 if ".gain" in name else 0
            continue
        bound = math.sqrt(3.0) if name == "embed" and not config.tied else 1.0 / math.sqrt(config.hidden)
        fill_uniform(view.reshape(-1), -bound, bound, np.uint64(seed), PURPOSES["initialise"], np.uint64(step))
    if config.cell == "lstm":
        for layer in range(config.layers):
            parameters[f"layer{layer}.b"][config.hidden : 2 * config.hidden] = 1
