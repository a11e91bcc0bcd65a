"""Every variant of the network in plain NumPy: one stream, one time step, one gate at a time.

The gradients are the chain rule's, see tape.py.
"""

import numpy as np
from oracle import log_softmax
from tape import Traced, run_back


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


class PlainLayer:
    """One layer for one stream.

    Args:
        config: a ModelConfig.
        p: the layer's parameters by name.
        product: of a vector and a matrix.
        product_x: the same for W_x.
    """

    def __init__(self, config, p, product=np.matmul, product_x=np.matmul):
        self.config, self.p, self.H = config, p, config.hidden
        self.product, self.product_x = product, product_x
        self.seen = None  # the character, where the layer sees it beside its input

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
        return self.normalised(self.share(gate, x) + self.times_h(h, gate), gain, self.gate("b", gate))

    def share(self, gate, x):
        """The input's share of a gate."""
        skipped = 0 if self.seen is None else self.seen @ self.gate("W_skip", gate)
        return self.product_x(x, self.gate("W_x", gate)) + skipped

    def times_h(self, h, gate):
        return self.product(h, self.gate("W_h", gate))

    def of_input(self, gate, x):
        gain = self.gate("gain", gate) if self.config.layer_norm else None
        return self.normalised(self.share(gate, x), gain, self.gate("b", gate))

    def of_state(self, gate, h, name):
        """A product by itself, with a bias of its own."""
        gain = self.p[f"gain_{name}"] if self.config.layer_norm else None
        return self.normalised(self.times_h(h, gate), gain, self.p[f"b_{name}"])

    def cell(self, x, h, c):
        """The new h, and the new c or None."""
        return getattr(self, self.config.cell)(x, h, c)

    def rnn(self, x, h, c):
        a = self.whole(0, x, h)
        return {"tanh": np.tanh(a), "relu": np.maximum(a, 0), "sigmoid": sigmoid(a)}[self.config.nonlinearity], None

    def mlstm(self, x, h, c):
        m = self.of_input(0, x) * self.of_state(0, h, "hm")
        i, f, o = (sigmoid(self.whole(gate, x, m)) for gate in (1, 2, 4))
        c = f * c + i * np.tanh(self.whole(3, x, m))
        return o * np.tanh(c), c

    def ugrnn(self, x, h, c):
        g = sigmoid(self.whole(1, x, h))
        return g * h + (1 - g) * np.tanh(self.whole(0, x, h)), None

    def minlstm(self, x, h, c):
        f, i = sigmoid(self.of_input(0, x)), sigmoid(self.of_input(1, x))
        return f / (f + i) * h + i / (f + i) * self.of_input(2, x), None

    def mingru(self, x, h, c):
        z = sigmoid(self.of_input(0, x))
        return (1 - z) * h + z * self.of_input(1, x), None

    def gru(self, x, h, c):
        r, z = sigmoid(self.whole(0, x, h)), sigmoid(self.whole(1, x, h))
        before = self.config.reset == "before"
        n = self.whole(2, x, r * h) if before else self.of_input(2, x) + r * self.of_state(2, h, "hn")
        return (1 - z) * np.tanh(n) + z * h, None

    def lstm(self, x, h, c):
        """Peepholes, coupled gates and the missing output gate, as Greff et al. (2017) write them."""
        config = self.config
        names = [g for g in "ifgo" if (g != "i" or not config.coupled) and (g != "o" or config.output_gate)]

        def gate(name, cell):
            seen = self.p[f"p_{name}"] * cell if config.peepholes else 0
            return sigmoid(self.whole(names.index(name), x, h) + seen)

        f = gate("f", c)
        i = 1 - f if config.coupled else gate("i", c)
        c = f * c + i * np.tanh(self.whole(names.index("g"), x, h))
        c = np.minimum(np.maximum(c, -50), 50) if config.peepholes and not config.coupled else c
        return (gate("o", c) if config.output_gate else 1) * np.tanh(c), c

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
    answers = np.zeros((*inputs.shape, config.symbols))
    for b in range(inputs.shape[1]):
        before = {name: value[:, b] for name, value in state.items()}
        answers[:, b], _ = read_stream(config, parameters, inputs[:, b], before, line_break)
    return answers


def read_stream(config, parameters, symbols, state, line_break, product=np.matmul):
    """One stream: T vectors of logits, and its new state.

    Args:
        symbols: (T,).
        state: {"h": L vectors, "c": ...} before it.
        product: of a vector and a matrix, except those that the engine makes a table of. The rest is as in `logits`.
    """
    layers = []
    for index in range(config.layers):
        prefix = f"layer{index}."
        own = {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}
        layers.append(PlainLayer(config, own, product, product if index else np.matmul))
    W_y = parameters["embed"].transpose() if config.tied else parameters["W_y"]
    h = list(state["h"])
    c = list(state["c"]) if "c" in state else [None] * config.layers
    answers = []
    for symbol in symbols:
        if config.stateless and symbol == line_break:
            h = [np.zeros(config.hidden) for _ in h]
            c = [None if old is None else np.zeros(config.hidden) for old in c]
        x = seen = parameters["embed"][symbol] if config.embed else np.eye(config.symbols)[symbol]
        logit = parameters["b_y"]
        for index, layer in enumerate(layers):
            layer.seen = seen if config.input_skips and index else None
            h[index], c[index] = layer.step(x, h[index], c[index])
            x = h[index] + x if config.residual and index else h[index]
            if config.output_skips and index < config.layers - 1:
                logit = logit + product(x, parameters[f"layer{index}.W_y"])
        answers.append(logit + product(x, W_y))
    return answers, {"h": h} | ({"c": c} if "c" in state else {})


def run(m, line_break, product=np.matmul):
    """Mean loss, all gradients, state gradients and final state of one chunk, as networks.pass_through returns them.

    Args:
        m: of networks.make.
        line_break, product: as in read_stream.
    """
    parameters = {name: Traced(view) for name, view in m.network.parameters.items()}
    state = {n: [[Traced(row) for row in layer] for layer in value] for n, value in m.state.items()}
    final = {name: np.zeros(value.shape) for name, value in m.state.items()}
    loss, ends = 0.0, []
    for b, targets in enumerate(m.targets.T):
        before = {name: [layer[b] for layer in value] for name, value in state.items()}
        answers, after = read_stream(m.config, parameters, m.inputs[:, b], before, line_break, product)
        log_probs = log_softmax([row.value for row in answers])
        for row, log_p, target in zip(answers, log_probs, targets, strict=True):
            loss -= log_p[target] / m.targets.size
            row.gradient = (np.exp(log_p) - (np.arange(len(log_p)) == target)) / m.targets.size
        for name, layers in after.items():
            final[name][:, b] = [row.value for row in layers]
        ends += answers
    run_back(ends)
    d_state = {n: np.array([[row.gradient for row in layer] for layer in value]) for n, value in state.items()}
    return loss, {name: traced.gradient for name, traced in parameters.items()}, d_state, final
