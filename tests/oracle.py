"""An independent float64 model in plain NumPy: one gate, one stream, one time step at a time.

It shares no code with the engine. Everything is an explicit loop over single vectors, the gradients are
written by hand from the chain rule, and nothing is fast.
"""

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def log_softmax(logits):
    """(n, V) float64: the log-probabilities of the symbols, from (n, V) logits of any dtype."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def exact(x):
    return x


class Cell:
    """One layer for one stream. `p` holds W_x (D, G*H), W_h (H, G*H), b (G*H), and b_hn (H) for a GRU.

    `rounded` makes of a number the one that a product takes in its place; for those with W_x, `rounded_x` does.
    """

    def __init__(self, p, hidden, rounded=exact, rounded_x=exact):
        self.p, self.H = p, hidden
        self.rounded = {"W_h": rounded, "W_x": rounded_x}
        self.grads = {name: np.zeros_like(value) for name, value in p.items()}

    def part(self, name, gate):
        """Columns of one gate."""
        columns = slice(gate * self.H, (gate + 1) * self.H)
        return self.p[name][..., columns]

    def add(self, name, gate, value):
        columns = slice(gate * self.H, (gate + 1) * self.H)
        self.grads[name][..., columns] += value

    def times(self, x, name, gate):
        """x @ W."""
        r = self.rounded[name]
        return r(x) @ r(self.part(name, gate))

    def times_back(self, d, x, name, gate):
        """Add to the gradient of W; return that of x."""
        r = self.rounded[name]
        self.add(name, gate, np.outer(r(x), r(d)))
        return r(self.part(name, gate)) @ r(d)

    def affine(self, gate, x, h):
        return self.times(x, "W_x", gate) + self.times(h, "W_h", gate) + self.part("b", gate)

    def affine_back(self, gate, da, x, h):
        """Add to the gradients; return those of x and h."""
        self.add("b", gate, da)
        return self.times_back(da, x, "W_x", gate), self.times_back(da, h, "W_h", gate)


class TanhRNN(Cell):
    def step(self, x, state):
        h_prev = state["h"]
        h = np.tanh(self.affine(0, x, h_prev))
        return {"h": h}, (x, h_prev, h)

    def back(self, saved, d):
        x, h_prev, h = saved
        dx, dh = self.affine_back(0, d["h"] * (1 - h**2), x, h_prev)
        return dx, {"h": dh}


class ReluRNN(Cell):
    def step(self, x, state):
        h_prev = state["h"]
        a = self.affine(0, x, h_prev)
        return {"h": np.where(a > 0, a, 0)}, (x, h_prev, a)

    def back(self, saved, d):
        x, h_prev, a = saved
        dx, dh = self.affine_back(0, np.where(a > 0, d["h"], 0), x, h_prev)
        return dx, {"h": dh}


class LSTM(Cell):
    def step(self, x, state):
        h_prev, c_prev = state["h"], state["c"]
        i, f = sigmoid(self.affine(0, x, h_prev)), sigmoid(self.affine(1, x, h_prev))
        g, o = np.tanh(self.affine(2, x, h_prev)), sigmoid(self.affine(3, x, h_prev))
        c = f * c_prev + i * g
        return {"h": o * np.tanh(c), "c": c}, (x, h_prev, c_prev, i, f, g, o, c)

    def back(self, saved, d):
        x, h_prev, c_prev, i, f, g, o, c = saved
        dc = d["c"] + d["h"] * o / np.cosh(c) ** 2
        das = [
            dc * g * i * (1 - i),
            dc * c_prev * f * (1 - f),
            dc * i * (1 - g**2),
            d["h"] * np.tanh(c) * o * (1 - o),
        ]
        pairs = [self.affine_back(gate, da, x, h_prev) for gate, da in enumerate(das)]
        return sum(p[0] for p in pairs), {"h": sum(p[1] for p in pairs), "c": dc * f}


class GRU(Cell):
    """Reset gate after the recurrent product."""

    def step(self, x, state):
        h_prev = state["h"]
        r, z = sigmoid(self.affine(0, x, h_prev)), sigmoid(self.affine(1, x, h_prev))
        m = self.times(h_prev, "W_h", 2) + self.p["b_hn"]
        n = np.tanh(self.times(x, "W_x", 2) + self.part("b", 2) + r * m)
        return {"h": (1 - z) * n + z * h_prev}, (x, h_prev, r, z, m, n)

    def back(self, saved, d):
        x, h_prev, r, z, m, n = saved
        dh = d["h"]
        da_n = dh * (1 - z) * (1 - n**2)
        dm = da_n * r
        self.grads["b_hn"] += dm
        self.add("b", 2, da_n)
        dx_n, dh_n = self.times_back(da_n, x, "W_x", 2), self.times_back(dm, h_prev, "W_h", 2)
        dx_r, dh_r = self.affine_back(0, da_n * m * r * (1 - r), x, h_prev)
        dx_z, dh_z = self.affine_back(1, dh * (h_prev - n) * z * (1 - z), x, h_prev)
        return dx_n + dx_r + dx_z, {"h": dh * z + dh_n + dh_r + dh_z}


class ResetBeforeGRU(Cell):
    def step(self, x, state):
        h_prev = state["h"]
        r, z = sigmoid(self.affine(0, x, h_prev)), sigmoid(self.affine(1, x, h_prev))
        n = np.tanh(self.affine(2, x, r * h_prev))
        return {"h": (1 - z) * n + z * h_prev}, (x, h_prev, r, z, n)

    def back(self, saved, d):
        x, h_prev, r, z, n = saved
        dh = d["h"]
        dx_n, d_rh = self.affine_back(2, dh * (1 - z) * (1 - n**2), x, r * h_prev)
        dx_r, dh_r = self.affine_back(0, d_rh * h_prev * r * (1 - r), x, h_prev)
        dx_z, dh_z = self.affine_back(1, dh * (h_prev - n) * z * (1 - z), x, h_prev)
        return dx_n + dx_r + dx_z, {"h": dh * z + d_rh * r + dh_r + dh_z}


CELLS = {"rnn_tanh": TanhRNN, "rnn_relu": ReluRNN, "lstm": LSTM, "gru_after": GRU, "gru_before": ResetBeforeGRU}


def run(kind, parameters, layers, hidden, inputs, targets, state, rounded=exact):
    """Mean loss, all gradients, state gradients and final state of one chunk.

    Args:
        kind: a key of CELLS.
        parameters: name -> float64 array, under the project's names.
        inputs, targets: (T, B) symbols.
        state: {"h": (L, B, H), "c": ...}.
        rounded: what products do to their operands; the first layer's input is looked up.
    Returns:
        loss, {name: gradient}, {"h": (L, B, H) gradient, ...}, {"h": (L, B, H) final state, ...}
    """
    T, B = inputs.shape
    grads = {name: np.zeros_like(value) for name, value in parameters.items()}
    d_state = {name: np.zeros_like(value) for name, value in state.items()}
    final = {name: np.zeros_like(value) for name, value in state.items()}
    W_y, b_y = parameters["W_y"], parameters["b_y"]
    total = 0.0
    for b in range(B):
        cells = [
            CELLS[kind](
                {k.split(".")[1]: v for k, v in parameters.items() if k.startswith(f"layer{layer}.")},
                hidden,
                rounded,
                rounded if layer else exact,
            )
            for layer in range(layers)
        ]
        now = [{name: state[name][layer, b] for name in state} for layer in range(layers)]
        tape, d_logits = [], []
        for t in range(T):
            x = parameters["embed"][inputs[t, b]] if "embed" in parameters else np.eye(len(b_y))[inputs[t, b]]
            saved = []
            for layer in range(layers):
                now[layer], keep = cells[layer].step(x, now[layer])
                saved.append(keep)
                x = now[layer]["h"]
            logits = rounded(x) @ rounded(W_y) + b_y
            p = np.exp(logits - logits.max())
            p /= p.sum()
            total -= np.log(p[targets[t, b]])
            p[targets[t, b]] -= 1
            d_logits.append(p / (T * B))
            tape.append((saved, x))
        for layer in range(layers):
            for name in state:
                final[name][layer, b] = now[layer][name]
        d_now = [{name: np.zeros(hidden) for name in state} for _ in range(layers)]
        for t in reversed(range(T)):
            saved, top = tape[t]
            grads["W_y"] += np.outer(rounded(top), rounded(d_logits[t]))
            grads["b_y"] += d_logits[t]
            dx = rounded(W_y) @ rounded(d_logits[t])
            for layer in reversed(range(layers)):
                d_now[layer]["h"] = d_now[layer]["h"] + dx
                dx, d_now[layer] = cells[layer].back(saved[layer], d_now[layer])
            if "embed" in parameters:
                grads["embed"][inputs[t, b]] += dx
        for layer in range(layers):
            for name, value in cells[layer].grads.items():
                grads[f"layer{layer}.{name}"] += value
            for name in state:
                d_state[name][layer, b] = d_now[layer][name]
    return total / (T * B), grads, d_state, final
