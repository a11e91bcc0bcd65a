"""A network with products in bfloat16: against the oracle that rounds the same operands, and the laws it keeps."""

import os

import numpy as np
import oracle
import oracle_variants
import pytest
import tape
from networks import FURTHER, KINDS, make, pass_through
from processes import run_tests
from rounding import rounded, widened
from test_bfloat16 import INSIDE
from test_network import SIZES, relative
from thorough import first_of_all, thorough

from charrnn.engine.simd import W
from charrnn.model.config import ModelConfig
from charrnn.model.initialise import Initialiser
from charrnn.model.network import Network
from charrnn.model.noise import Noise, Objective
from charrnn.model.unrolled import Unrolled
from charrnn.sampling.sampler import Sampler

# A number that lies half-way between two of bfloat16 may become the one here and the other one in the oracle, when the
# sums before differ in their last bits. Most of these tests have none such, and agree to 3e-7.
TOLERANCE = 3e-4
LINE_BREAK = 0
FEW = ("just over a panel", "three layers, embedded")


def distance(got, want):
    """Length of the difference beside that of what is wanted."""
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def everything(answer):
    """Gradients, those of the state, and the new state, by names of their own."""
    _, gradients, d_state, final = answer
    return gradients | {f"d {name}": d for name, d in d_state.items()} | {f"new {n}": new for n, new in final.items()}


def nearest(x):
    """The nearest bfloat16 numbers, in float64."""
    return widened(rounded(np.asarray(x, np.float32))).astype(np.float64)


@pytest.mark.parametrize("size", first_of_all(SIZES, *FEW))
@pytest.mark.parametrize("kind", first_of_all(KINDS, "lstm", "gru-before"))
def test_loss_gradients_and_state_agree_with_the_oracle(kind, size):
    layers, hidden, embed, batch, steps, symbols = SIZES[size]
    m = make(kind, np.float32, layers, hidden, embed, symbols, batch, steps, precision="bfloat16")
    got = pass_through(m)
    parameters = {name: view.astype(np.float64) for name, view in m.network.parameters.items()}
    state = {name: value.astype(np.float64) for name, value in m.state.items()}
    chunk = (m.oracle, parameters, layers, hidden, m.inputs, m.targets, state)
    want, exact = oracle.run(*chunk, nearest), oracle.run(*chunk)
    assert abs(got[0] - want[0]) < 1e-6 * want[0]
    ours, theirs, unrounded = map(everything, (got, want, exact))
    assert max(distance(ours[name], theirs[name]) for name in ours) < TOLERANCE
    assert max(distance(ours[name], unrounded[name]) for name in ours) > 5 * TOLERANCE  # the rounding shows


@pytest.mark.parametrize("kind", first_of_all(KINDS | FURTHER, "lstm"))
@pytest.mark.parametrize("batch", [1, 33])
def test_one_and_two_threads_give_the_same_bits(kind, batch, threads):
    answers = []
    for count in (1, 2):
        threads(count)
        m = make(kind, np.float32, hidden=200, batch=batch, steps=5, precision="bfloat16")
        loss, gradients, d_state, final = pass_through(m)
        answers.append([np.float64(loss), *gradients.values(), *d_state.values(), *final.values()])
    assert all(np.array_equal(one, two) for one, two in zip(*answers, strict=True))


SETTINGS = {
    "normalised": {"layer_norm": True},
    "residual": {"residual": True},
    "skips": {"input_skips": True, "output_skips": True},
    "lines, zoneout": {"stateless": True, "zoneout": 0.2},
    "tied": {"tied": True},
}


@pytest.mark.parametrize("kind", first_of_all(KINDS | FURTHER, "lstm"))
@pytest.mark.parametrize("setting", first_of_all(["plain", *SETTINGS, "everything"], "everything"))
def test_every_cell_agrees_with_an_oracle_that_rounds_the_same_operands(kind, setting):
    every = {name: value for one in SETTINGS.values() for name, value in one.items()}
    chosen = {"plain": {}, "everything": every, **SETTINGS}[setting]

    def far(seed):
        m = make(kind, np.float32, seed=seed, precision="bfloat16", line_break=LINE_BREAK, **chosen)
        m.inputs[2, 1] = LINE_BREAK
        products = (tape.rounded_product(nearest), np.matmul)
        answers = (pass_through(m), *(oracle_variants.run(m, LINE_BREAK, product) for product in products))
        ours, theirs, unrounded = ({"loss": answer[0]} | everything(answer) for answer in answers)
        assert max(distance(ours[name], unrounded[name]) for name in ours) > 5 * TOLERANCE  # the rounding shows
        return max(distance(ours[name], theirs[name]) for name in ours)

    assert any(far(seed) < TOLERANCE for seed in range(3))  # few have a number that lies half-way; not all three do


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_with_every_noise_and_penalty_lie_near_those_of_float32(residual):
    answers = []
    for precision in ("float32", "bfloat16"):
        m = make("lstm", np.float32, hidden=40, batch=5, steps=6, precision=precision, residual=residual)
        m.unrolled = Unrolled(m.network, 5, 6, Noise(0.3, 0.2, 0.1, 0.3, seed=3), Objective(0.1, 1.0, 1.0))
        m.unrolled.carried.set(m.state)
        m.unrolled.forward(m.inputs, 1)
        loss = m.unrolled.loss(m.targets)
        m.unrolled.backward()
        gradients = {name: view.copy() for name, view in m.network.gradients.items()}
        answers.append(gradients | {"loss": np.array(loss)})
    exact, got = answers
    assert all(relative(got[name], exact[name]) < 0.06 for name in exact)
    assert any(not np.array_equal(got[name], exact[name]) for name in exact)


def test_chunks_with_carried_state_give_the_bits_of_one_long_chunk():
    whole, parts = (make("lstm", np.float32, batch=4, steps=steps, precision="bfloat16") for steps in (12, 5))
    parts.inputs = whole.inputs
    whole.unrolled.carried.set(whole.state)
    parts.unrolled.carried.set(whole.state)
    whole.unrolled.forward(whole.inputs)
    logits = []
    for start in (0, 5, 10):
        part = whole.inputs[start : start + 5]
        parts.unrolled.forward(part)
        logits.append(parts.unrolled.logits[:, : part.size].copy())
    np.testing.assert_array_equal(np.concatenate(logits, axis=1), whole.unrolled.logits[:, : whole.inputs.size])


def test_padding_stays_zero():
    m = make("lstm", np.float32, hidden=33, batch=3, steps=6, precision="bfloat16")
    pass_through(m)
    for layer in m.unrolled.layers:
        for name in ("state0", "rounded_operand0", "rounded_gates"):
            assert not getattr(layer.arrays, name)[-1, :, 33 % W :].any(), name


@thorough
@pytest.mark.skipif(INSIDE in os.environ, reason="this is one of the processes")
@pytest.mark.parametrize("way", ["amx-emulated", "emulated"])
def test_other_ways_pass_these_tests(way):
    run_tests(__file__, **{"CHARRNN_BFLOAT16": way, INSIDE: "1"})


def test_a_line_break_clears_what_is_multiplied_in_every_stream_of_a_sampler():
    config = ModelConfig(5, layers=1, hidden=8, stateless=True)
    network = Network(config, line_break=1, precision="bfloat16")
    Initialiser(config, 0).fill(network.parameters)
    network.pack()
    log_probs = []
    for prompt in ([1], [3, 2, 4, 1]):
        sampler = Sampler(network, 3, seed=4, wants_log_probs=True)
        sampler.feed(np.array(prompt))
        sampler.take(30)
        log_probs.append(sampler.log_probs.copy())
    np.testing.assert_array_equal(*log_probs)
