"""The cells: only the equations of their papers. cell.py explains the notation, and step.py derives the rest.

a.i is x W_x + s.h W_h + b with the columns of gate i. The term s.h W_h is missing where the equations have a product
`@ w.i`, or where the cell declares no recurrent weights.
"""

from __future__ import annotations

from functools import cache

from charrnn.engine.expressions import relu, sigmoid, tanh
from charrnn.model.cell import Cell, State, cell
from charrnn.model.config import ModelConfig
from charrnn.model.own import own_cell

LIMIT = 50.0  # of the cell state of an LSTM with peepholes
LEAST = 1e-30  # keeps a sum of gates above 0; it changes no sum above 1e-22 in float32


@cell(gates="h")
def rnn_tanh(a):  # type: ignore[no-untyped-def]
    """The plain recurrent network (Elman 1990, "Finding Structure in Time")."""
    return State(h=tanh(a.h))


@cell(gates="h")
def rnn_relu(a):  # type: ignore[no-untyped-def]
    """The same with rectified linear units (Le, Jaitly & Hinton 2015)."""
    return State(h=relu(a.h))


@cell(gates="h")
def rnn_sigmoid(a):  # type: ignore[no-untyped-def]
    """The same with logistic units, which Elman used."""
    return State(h=sigmoid(a.h))


@cell(gates="i f g o", states="h c", forget="f i")
def lstm(a, s):  # type: ignore[no-untyped-def]
    """The LSTM (Hochreiter & Schmidhuber 1997) with the forget gate of Gers, Schmidhuber & Cummins (2000)."""
    i, f, g, o = sigmoid(a.i), sigmoid(a.f), tanh(a.g), sigmoid(a.o)
    c = f * s.c + i * g
    return State(h=o * tanh(c), c=c)


@cache
def lstm_variant(peepholes: bool, coupled: bool, output_gate: bool) -> Cell:
    """The LSTM with other gates.

    Peepholes (Gers, Schraudolph & Schmidhuber 2002; Graves 2013): f and i see the old cell state, o sees the new one.
    Gates that open when c is large would let it grow forever, so c stays within LIMIT (Sak, Senior & Beaufays 2014).
    Coupled (Greff et al. 2017, "LSTM: A Search Space Odyssey"): the input gate is i = 1 - f. Then |c| is at most 1.
    Without an output gate (Greff et al. 2017), h = tanh(c).
    """
    gates = " ".join(gate for gate in "ifgo" if not (coupled and gate == "i") and (output_gate or gate != "o"))

    def equations(a, s, p):  # type: ignore[no-untyped-def]
        f = sigmoid(a.f + p.f * s.c if peepholes else a.f)
        i = 1.0 - f if coupled else sigmoid(a.i + p.i * s.c if peepholes else a.i)
        c = f * s.c + i * tanh(a.g)
        if peepholes and not coupled:
            c = c - relu(c - LIMIT) + relu(-LIMIT - c)
        o = sigmoid(a.o + p.o * c if peepholes else a.o) if output_gate else 1.0
        return State(h=tanh(c) * o if output_gate else tanh(c), c=c)

    units = gates.replace("g", "") if peepholes else ""
    equations.__name__ = (
        "lstm" + "_peepholes" * peepholes + "_coupled" * coupled + "_no_output_gate" * (not output_gate)
    )
    return cell(gates, states="h c", units=units, forget="f" if coupled else "f i")(equations)


@cell(gates="m i f g o", states="h c", forget="f i")
def mlstm(a, s, w):  # type: ignore[no-untyped-def]
    """The multiplicative LSTM (Krause, Lu, Murray & Renals 2016): each character has its own transition."""
    m = a.m * (s.h @ w.m)
    i, f, o = sigmoid(a.i + m @ w.i), sigmoid(a.f + m @ w.f), sigmoid(a.o + m @ w.o)
    c = f * s.c + i * tanh(a.g + m @ w.g)
    return State(h=o * tanh(c), c=c)


@cell(gates="r z n")
def gru_after(a, s, w):  # type: ignore[no-untyped-def]
    """The GRU (Cho et al. 2014) with the reset gate after the recurrent product, as PyTorch and cuDNN compute it.

    One product serves all three gates.
    """
    r, z = sigmoid(a.r), sigmoid(a.z)
    n = tanh(a.n + r * (s.h @ w.n))
    return State(h=(1.0 - z) * n + z * s.h)


@cell(gates="r z n")
def gru_before(a, s, w):  # type: ignore[no-untyped-def]
    """The GRU with the reset gate before the recurrent product, as in the paper: the product waits for the gate."""
    r, z = sigmoid(a.r), sigmoid(a.z)
    n = tanh(a.n + (r * s.h) @ w.n)
    return State(h=(1.0 - z) * n + z * s.h)


@cell(gates="n z")
def ugrnn(a, s):  # type: ignore[no-untyped-def]
    """The update gate RNN (Collins, Sohl-Dickstein & Sussillo 2017): one gate, which keeps the state."""
    z = sigmoid(a.z)
    return State(h=z * s.h + (1.0 - z) * tanh(a.n))


@cell(gates="f i n", recurrent="", forget="f i")
def minlstm(a, s):  # type: ignore[no-untyped-def]
    """The minimal LSTM (Feng et al. 2024, "Were RNNs All We Needed?"): its gates see the input only.

    If both gates are 0 in float32, so is h.
    """
    f, i = sigmoid(a.f), sigmoid(a.i)
    return State(h=(f * s.h + i * a.n) / (f + i + LEAST))


@cell(gates="z n", recurrent="")
def mingru(a, s):  # type: ignore[no-untyped-def]
    """The minimal GRU (the same): its gate sees the input only. Its z is the share of n, unlike that of `gru`."""
    z = sigmoid(a.z)
    return State(h=(1.0 - z) * s.h + z * a.n)


CELLS: dict[str, Cell] = {"mlstm": mlstm, "ugrnn": ugrnn, "minlstm": minlstm, "mingru": mingru}
RNNS = {"tanh": rnn_tanh, "relu": rnn_relu, "sigmoid": rnn_sigmoid}
GRUS = {"after": gru_after, "before": gru_before}


def cell_of(config: ModelConfig) -> Cell:
    """The cell that a configuration asks for."""
    if config.cell == "rnn":
        return RNNS[config.nonlinearity]
    if config.cell == "gru":
        return GRUS[config.reset]
    if config.cell == "lstm":
        if config.peepholes or config.coupled or not config.output_gate:
            return lstm_variant(config.peepholes, config.coupled, config.output_gate)
        return lstm
    return CELLS[config.cell] if config.cell in CELLS else own_cell(config.cell)
