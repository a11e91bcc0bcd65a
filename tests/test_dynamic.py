"""Dynamic evaluation against gradient descent with the oracle's gradients."""

import numpy as np
import oracle
import pytest
from networks import KINDS, make

from charrnn.training.evaluate import DYNAMIC_STEPS, Evaluator


def dynamic_loss(m, text, rate, layers, hidden):
    """Each piece is counted first; then the parameters take one step, with the gradient clipped at a norm of 1."""
    parameters = {name: view.copy() for name, view in m.network.parameters.items()}
    state = {name: np.zeros((layers, 1, hidden)) for name in m.state}
    total, clipped = 0.0, 0
    for start in range(0, len(text) - 1, DYNAMIC_STEPS):
        piece = text[start : start + DYNAMIC_STEPS + 1, None]
        loss, gradients, _, state = oracle.run(m.oracle, parameters, layers, hidden, piece[:-1], piece[1:], state)
        total += loss * (len(piece) - 1)
        norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values()))
        clipped += norm > 1.0
        for name, gradient in gradients.items():
            parameters[name] -= rate * gradient / max(norm, 1.0)
    return total / (len(text) - 1), clipped


@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("embed", [0, 5])
def test_each_piece_is_counted_before_a_step_of_gradient_descent_on_it(kind, embed, scale):
    m = make(kind, np.float64, hidden=9, embed=embed, symbols=12, batch=1)
    m.network.parameters["W_y"][:] *= scale
    m.network.pack()
    text = np.random.default_rng(3).integers(0, 12, 3 * DYNAMIC_STEPS + 8)
    want, clipped = dynamic_loss(m, text, 0.3, layers=2, hidden=9)
    assert (clipped > 0) == (scale > 1)
    assert abs(want - Evaluator(m.network, text).loss()) > 1e-4
    assert Evaluator(m.network, text, dynamic=0.3).loss() == pytest.approx(want, rel=1e-11)
