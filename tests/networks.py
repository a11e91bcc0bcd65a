"""Networks, symbols and states for tests, filled from seeded generators."""

from types import SimpleNamespace

import numpy as np

from charrnn.model.chunk import Chunk
from charrnn.model.config import ModelConfig
from charrnn.model.network import Network, layer_type

KINDS = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "gru-before": {"cell": "gru", "reset": "before"},
}


def make(kind, dtype, layers=2, hidden=33, embed=0, symbols=40, batch=3, steps=4, seed=0, line_break=-1, **further):
    """A network with random parameters, one chunk's buffers, symbols, and a random state; `further` of its settings."""
    rng = np.random.default_rng(seed)
    config = ModelConfig(symbols, layers=layers, hidden=hidden, embed=embed, **KINDS[kind], **further)
    network = Network(config, dtype, line_break)
    for _, view in network.parameters.items():
        view[:] = rng.uniform(-0.3, 0.3, view.shape)
    network.pack()
    text = rng.integers(0, symbols, (steps + 1, batch))
    states = layer_type(config).states
    state = {name: rng.uniform(-0.5, 0.5, (layers, batch, hidden)).astype(dtype) for name in states}
    return SimpleNamespace(
        config=config,
        network=network,
        chunk=Chunk(network, batch, steps),
        inputs=text[:-1],
        targets=text[1:],
        state=state,
        oracle=layer_type(config).__name__,
    )


def pass_through(m):
    """Forward and backward from the state; returns loss, gradients, gradients of the state, final state."""
    m.chunk.set_state(m.state)
    m.chunk.forward(m.inputs)
    loss = m.chunk.loss(m.targets)
    m.chunk.backward()
    gradients = {name: view.copy() for name, view in m.network.gradients.items()}
    layers = m.chunk.state_gradient()
    d_state = {name: np.stack([d[name] for d in layers]) for name in m.state}
    return loss, gradients, d_state, m.chunk.state()
