"""The network against the NumPy oracle, and the laws it keeps."""

import numpy as np
import oracle
import pytest
from networks import KINDS, make, pass_through

from charrnn.engine.simd import W

SIZES = {  # layers, hidden, embed, batch, steps, symbols
    "one of each": (1, 1, 0, 1, 1, 2),
    "below a panel": (1, 7, 3, 2, 6, 5),
    "just over a panel": (2, 33, 0, 3, 4, 40),
    "three layers, embedded": (3, 40, 9, 17, 3, 11),
    "whole panels, many streams": (2, 64, 0, 20, 3, 65),
    "batch 1": (2, 48, 0, 1, 9, 33),
    "very many symbols": (1, 5, 3, 2, 3, 100_000),
}
TOLERANCE = {np.float64: 1e-12, np.float32: 3e-5}


def relative(got, want):
    return np.abs(got - want).max() / (np.abs(want).max() + 1e-30)


def close(got, want, dtype):
    """Whether the largest difference is small beside the largest value."""
    return got.shape == want.shape and relative(got, want) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_loss_gradients_and_state_agree_with_the_oracle(kind, size, dtype):
    layers, hidden, embed, batch, steps, symbols = SIZES[size]
    m = make(kind, dtype, layers, hidden, embed, symbols, batch, steps)
    loss, gradients, d_state, final = pass_through(m)
    parameters = {name: view.astype(np.float64) for name, view in m.network.parameters.items()}
    state = {name: value.astype(np.float64) for name, value in m.state.items()}
    expected = oracle.run(m.oracle, parameters, layers, hidden, m.inputs, m.targets, state)
    assert abs(loss - expected[0]) < TOLERANCE[dtype] * expected[0]
    assert gradients.keys() == expected[1].keys()
    wrong = [name for name, value in gradients.items() if not close(value, expected[1][name], dtype)]
    wrong += [f"state {name}" for name in d_state if not close(d_state[name], expected[2][name], dtype)]
    wrong += [f"final {name}" for name in final if not close(final[name], expected[3][name], dtype)]
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 5, 33])
def test_one_and_two_threads_give_the_same_bits(kind, batch, threads):
    answers = []
    for count in (1, 2):
        threads(count)
        m = make(kind, np.float32, hidden=200, batch=batch, steps=5)
        loss, gradients, d_state, final = pass_through(m)
        answers.append([np.float64(loss), *gradients.values(), *d_state.values(), *final.values()])
    assert all(np.array_equal(one, two) for one, two in zip(*answers, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 20])
def test_sharing_streams_or_panels_gives_the_same_bits(kind, batch, threads, monkeypatch):
    """Both ways to divide a layer among threads, whichever the sizes would choose."""
    threads(2)
    answers = []
    for by_rows, tasks in ((True, 1), (True, 2), (False, 2)):
        monkeypatch.setattr("charrnn.engine.recurrence._share_of_threads", lambda *_, way=(by_rows, tasks): way)
        m = make(kind, np.float32, hidden=70, batch=batch, steps=5)
        answers.append(pass_through(m))
    for loss, gradients, _, _ in answers[1:]:
        assert loss == answers[0][0]
        assert all(np.array_equal(gradients[name], value) for name, value in answers[0][1].items())


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_with_carried_state_give_the_bits_of_one_long_chunk(kind):
    whole = make(kind, np.float32, batch=4, steps=12)
    whole.unrolled.carried.set(whole.state)
    whole.unrolled.forward(whole.inputs)
    logits, end = whole.unrolled.logits.copy(), whole.unrolled.carried.state()
    parts = make(kind, np.float32, batch=4, steps=12)
    parts.unrolled.carried.set(parts.state)
    for start, stop in ((0, 5), (5, 6), (6, 12)):
        parts.unrolled.forward(parts.inputs[start:stop])
        rows = (stop - start) * 4
        assert np.array_equal(parts.unrolled.logits[:, :rows], logits[:, start * 4 : stop * 4])
    for name, value in parts.unrolled.carried.state().items():
        assert np.array_equal(value, end[name])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stop_exactly_at_the_chunk_edge(kind):
    """The second chunk's gradients are those of a chunk that begins in the carried state, a constant."""
    m = make(kind, np.float64, batch=2, steps=8)
    m.unrolled.carried.set(m.state)
    m.unrolled.forward(m.inputs[:4])
    m.unrolled.loss(m.targets[:4])
    m.unrolled.backward()
    carried = m.unrolled.carried.state()
    m.unrolled.forward(m.inputs[4:])
    loss = m.unrolled.loss(m.targets[4:])
    m.unrolled.backward()
    parameters = {name: view.copy() for name, view in m.network.parameters.items()}
    expected = oracle.run(m.oracle, parameters, 2, 33, m.inputs[4:], m.targets[4:], carried)
    assert loss == pytest.approx(expected[0], rel=1e-13)
    for name, view in m.network.gradients.items():
        assert close(view, expected[1][name], np.float64), name


@pytest.mark.parametrize("kind", KINDS)
def test_padding_stays_zero(kind):
    m = make(kind, np.float32, hidden=33, batch=3, steps=6)
    pass_through(m)
    for layer in m.unrolled.layers:
        for name in ("state0", "dh"):
            assert not getattr(layer.arrays, name)[-1, :, 33 % W :].any(), name
    for layer in m.network.layers:
        for weights in [packed for dense in layer.recurrent for packed in (dense.forwards, dense.d)]:
            assert not weights[:, 33:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_shorter_chunk_is_a_chunk_of_that_length(kind):
    long, short = (make(kind, np.float32, steps=steps) for steps in (8, 3))
    long.inputs, long.targets, long.state = short.inputs, short.targets, short.state
    for one, two in zip(pass_through(long)[1].values(), pass_through(short)[1].values(), strict=True):
        assert np.array_equal(one, two)


def test_a_nan_in_the_weights_reaches_the_loss():
    m = make("lstm", np.float32)
    m.network.parameters["layer0.W_h"][3, 5] = np.nan
    m.network.pack()
    m.unrolled.carried.set(m.state)
    m.unrolled.forward(m.inputs)
    assert np.isnan(m.unrolled.loss(m.targets))


@pytest.mark.parametrize("kind", KINDS)
def test_state_round_trip(kind):
    m = make(kind, np.float32, batch=5)
    m.unrolled.carried.set(m.state)
    assert all(np.array_equal(m.unrolled.carried.state()[name], value) for name, value in m.state.items())
    m.unrolled.carried.reset()
    assert not any(value.any() for value in m.unrolled.carried.state().values())
