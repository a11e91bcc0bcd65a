"""The forward pass of every variant of the network in plain NumPy: one stream, one time step, one gate at a time."""

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


class PlainLayer:
    """One layer for one stream.

    Args:
        config: a ModelConfig.
        p: the layer's parameters by name.
    """

    def __init__(self, config, p):
        self.config, self.p, self.H = config, p, config.hidden

    def gate(self, name, gate):
        """The columns of one gate."""
        return self.p[name][..., gate * self.H : (gate + 1) * self.H]

    def normalised(self, a, gain, b):
        if not self.config.layer_norm:
            return a + b
        return gain * (a - a.mean()) / np.sqrt(a.var() + 1e-5) + b

    def whole(self, gate, x, h):
        """The pre-activation of a gate that adds the products of input and state."""
        gain = self.gate("gain", gate) if self.config.layer_norm else None
        return self.normalised(x @ self.gate("W_x", gate) + h @ self.gate("W_h", gate), gain, self.gate("b", gate))

    def cell(self, x, h, c):
        config = self.config
        if config.cell == "rnn":
            a = self.whole(0, x, h)
            return (np.tanh(a) if config.nonlinearity == "tanh" else np.maximum(a, 0)), None
        if config.cell == "lstm":
            i, f, o = (sigmoid(self.whole(gate, x, h)) for gate in (0, 1, 3))
            c = f * c + i * np.tanh(self.whole(2, x, h))
            return o * np.tanh(c), c
        r, z = sigmoid(self.whole(0, x, h)), sigmoid(self.whole(1, x, h))
        if config.reset == "before":
            n = np.tanh(self.whole(2, x, r * h))
        else:
            gains = (self.gate("gain", 2), self.p["gain_hn"]) if config.layer_norm else (None, None)
            of_input = self.normalised(x @ self.gate("W_x", 2), gains[0], self.gate("b", 2))
            of_state = self.normalised(h @ self.gate("W_h", 2), gains[1], self.p["b_hn"])
            n = np.tanh(of_input + r * of_state)
        return (1 - z) * n + z * h, None

    def step(self, x, h, c):
        """With zoneout in expectation."""
        k, k_cell = self.config.zoneout, self.config.zoneout_cell
        new_h, new_c = self.cell(x, h, c)
        return k * h + (1 - k) * new_h, None if c is None else k_cell * c + (1 - k_cell) * new_c


def logits(config, parameters, inputs, state, line_break):
    """The logits (T, B, V) of one chunk.

    Args:
        config: a ModelConfig.
        parameters: name -> float64 array.
        inputs: (T, B) symbols.
        state: {"h": (L, B, H), "c": ...} before it.
        line_break: with config.stateless, the symbol before which the state is zeros.
    """
    layers = []
    for index in range(config.layers):
        prefix = f"layer{index}."
        own = {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}
        layers.append(PlainLayer(config, own))
    W_y = parameters["embed"].T if config.tied else parameters["W_y"]
    answers = np.zeros((*inputs.shape, config.symbols))
    for b in range(inputs.shape[1]):
        h = [state["h"][layer, b] for layer in range(config.layers)]
        c = [state["c"][layer, b] if "c" in state else None for layer in range(config.layers)]
        for t, symbol in enumerate(inputs[:, b]):
            if config.stateless and symbol == line_break:
                h = [np.zeros(config.hidden) for _ in h]
                c = [None if old is None else np.zeros(config.hidden) for old in c]
            x = parameters["embed"][symbol] if config.embed else np.eye(config.symbols)[symbol]
            for index, layer in enumerate(layers):
                h[index], c[index] = layer.step(x, h[index], c[index])
                x = h[index] + x if config.residual and index else h[index]
            answers[t, b] = x @ W_y + parameters["b_y"]
    return answers
