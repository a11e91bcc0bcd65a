"""Networks, symbols and states for tests, filled from seeded generators."""

from types import SimpleNamespace

import numpy as np

from charrnn import gradcheck
from charrnn.model.config import ModelConfig
from charrnn.model.layer import programs_of
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled

KINDS = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "gru-before": {"cell": "gru", "reset": "before"},
}
FURTHER = {  # cells for which there is no oracle with gradients written by hand
    "sigmoid": {"cell": "rnn", "nonlinearity": "sigmoid"},
    "peepholes": {"cell": "lstm", "peepholes": True},
    "coupled": {"cell": "lstm", "coupled": True},
    "no output gate": {"cell": "lstm", "output_gate": False},
    "peepholes, coupled": {"cell": "lstm", "peepholes": True, "coupled": True},
    "peepholes, no output gate": {"cell": "lstm", "peepholes": True, "output_gate": False},
    "coupled, no output gate": {"cell": "lstm", "coupled": True, "output_gate": False},
    "peepholes, coupled, no output gate": {"cell": "lstm", "peepholes": True, "coupled": True, "output_gate": False},
    **{name: {"cell": name} for name in ("mlstm", "ugrnn", "minlstm", "mingru")},
}


def make(
    kind,
    dtype,
    layers=2,
    hidden=33,
    embed=0,
    symbols=40,
    batch=3,
    steps=4,
    seed=0,
    line_break=-1,
    precision="float32",
    **further,
):
    """A network with random parameters, one chunk's buffers, symbols, and a random state; `further` of its settings."""
    rng = np.random.default_rng(seed)
    config = ModelConfig(symbols, layers=layers, hidden=hidden, embed=embed, **(KINDS | FURTHER)[kind], **further)
    network = Network(config, dtype, line_break, precision)
    for _, view in network.parameters.items():
        view[:] = rng.uniform(-0.3, 0.3, view.shape)
    network.pack()
    text = rng.integers(0, symbols, (steps + 1, batch))
    cell = programs_of(config).step.cell
    state = {name: rng.uniform(-0.5, 0.5, (layers, batch, hidden)).astype(dtype) for name in cell.states}
    return SimpleNamespace(
        config=config,
        network=network,
        unrolled=Unrolled(network, batch, steps),
        inputs=text[:-1],
        targets=text[1:],
        state=state,
        oracle=cell.name,
    )


def pass_through(m):
    """Forward and backward from the state; returns loss, gradients, gradients of the state, final state."""
    m.unrolled.carried.set(m.state)
    m.unrolled.forward(m.inputs)
    loss = m.unrolled.loss(m.targets)
    m.unrolled.backward()
    gradients = {name: view.copy() for name, view in m.network.gradients.items()}
    layers = m.unrolled.state_gradient()
    d_state = {name: np.stack([d[name] for d in layers]) for name in m.state}
    return loss, gradients, d_state, m.unrolled.carried.state()


def failures(check):
    """The blocks of a gradient check with an error above 1e-6, after seeing that every block was checked."""
    results = check.run()
    shapes = {name: view.shape for name, view in check.network.parameters.items()}
    shapes |= {f"state {name}": values.shape for name, values in check.state.items()}
    found = {result.name: result for result in results if result.name != "clipped gradient"}
    assert found.keys() == shapes.keys()
    assert all(found[name].checked == min(gradcheck.MOST, int(np.prod(shape))) for name, shape in shapes.items())
    return [result for result in results if not result.error <= 1e-6]
