"""Variants of the network: against plain NumPy, finite differences, and the laws that the plain network keeps."""

from itertools import pairwise

import numpy as np
import oracle_variants
import pytest
from networks import KINDS, failures, make, pass_through
from oracle import log_softmax
from thorough import first_of_all
from variants import VARIANTS, variant

from charrnn.engine.panels import rows_of
from charrnn.gradcheck import GradientCheck, random_network, random_state
from charrnn.model.config import ModelConfig
from charrnn.model.noise import Noise
from charrnn.model.unrolled import Unrolled
from charrnn.sampling.sampler import PIECE, Sampler
from charrnn.training.config import TrainConfig

LINE_BREAK = 0
TWO_KINDS = ["lstm", "gru-before"]  # with two states, and with two stages of a step
PAIRS = [(name, kind) for name in VARIANTS for kind in ("lstm", "gru", "gru-before")]
PAIRS += [("everything", "rnn"), ("everything", "relu")]
FIRST = [(name, "lstm") for name in VARIANTS] + [("everything", "gru-before"), ("skips", "gru"), ("everything", "rnn")]
CELLS = {kind: settings["cell"] for kind, settings in KINDS.items()}


def make_variant(kind, name, dtype=np.float64, symbols=7, **sizes):
    return make(kind, dtype, symbols=symbols, line_break=LINE_BREAK, **sizes, **variant(name, CELLS[kind]))


def logits_of(m):
    m.unrolled.carried.set(m.state)
    m.unrolled.forward(m.inputs)
    return rows_of(m.unrolled.logits, m.config.symbols)[: m.inputs.size].reshape(*m.inputs.shape, -1)


@pytest.mark.parametrize(("name", "kind"), first_of_all(PAIRS, *FIRST))
def test_the_forward_pass_is_that_of_plain_numpy(name, kind):
    m = make_variant(kind, name, layers=3, hidden=35, steps=9, batch=4)
    parameters = dict(m.network.parameters.items())
    want = oracle_variants.logits(m.config, parameters, m.inputs, m.state, LINE_BREAK)
    assert np.abs(logits_of(m) - want).max() < 1e-12


CHECKED = [("everything", kind, 4) for kind in ("relu", "lstm", "gru", "gru-before")] + [
    ("everything", "lstm", 35),
    ("everything", "gru-before", 35),
    ("layer norm", "gru", 4),
    ("zoneout", "lstm", 4),
    ("skips", "lstm", 4),
    ("skips, embedded", "gru", 4),
]


@pytest.mark.parametrize(("name", "kind", "hidden"), first_of_all(CHECKED, *CHECKED[1::2]))
def test_gradients_agree_with_finite_differences(name, kind, hidden, monkeypatch):
    """With masks, and for "zoneout" without too, as dynamic evaluation learns."""
    monkeypatch.setattr("charrnn.gradcheck.MOST", 400 if hidden < 32 else 50)
    model = ModelConfig(6, layers=2, hidden=hidden, **KINDS[kind], **variant(name, CELLS[kind]))
    symbols = np.random.default_rng(0).integers(0, 6, (7, 3))
    symbols[[0, 3], [1, 2]] = LINE_BREAK
    network = random_network(model, seed=1)
    check = GradientCheck(network, symbols[:-1], symbols[1:], random_state(network, 3, 2), TrainConfig(clip_norm=0))
    assert failures(check) == []
    if name == "zoneout":
        check.draw = None
        assert failures(check) == []


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gradients_with_every_noise_and_penalty_agree_with_finite_differences(cell):
    model = ModelConfig(6, cell, layers=2, hidden=4, **variant("everything", cell))
    training = TrainConfig(
        clip_norm=0,
        bptt="4:6",
        dropout=0.3,
        dropout_input=0.1,
        dropout_output=0.2,
        weight_drop=0.4,
        label_smoothing=0.1,
        activation_penalty=2.0,
        temporal_penalty=1.0,
        seed=3,
    )
    symbols = np.random.default_rng(0).integers(0, 6, (7, 3))
    network = random_network(model, seed=1)
    check = GradientCheck(network, symbols[:-1], symbols[1:], random_state(network, 3, 2), training)
    assert failures(check) == []
    losses = {check.loss()}
    for name in ("label_smoothing", "activation_penalty", "temporal_penalty", "weight_drop"):
        without = TrainConfig(**(training.as_dict() | {name: 0.0}))
        losses.add(GradientCheck(network, symbols[:-1], symbols[1:], check.state, without).loss())
    assert len(losses) == 5  # each of them counts


@pytest.mark.parametrize("kind", first_of_all(TWO_KINDS, "lstm"))
def test_any_number_of_threads_and_any_sharing_give_the_same_bits(kind, threads, monkeypatch):
    batch = 20
    noise = Noise(between=0.2, weights=0.3, seed=5)
    answers = []
    for count, way in ((1, (True, 1)), (2, (True, 2)), (2, (False, 2))):
        threads(count)
        monkeypatch.setattr("charrnn.engine.recurrence._share_of_threads", lambda *_, way=way: way)
        m = make_variant(kind, "everything", np.float32, hidden=70, batch=batch, steps=5)
        m.unrolled = Unrolled(m.network, batch, 5, noise)
        forward = m.unrolled.forward
        m.unrolled.forward = lambda inputs, forward=forward: forward(inputs, draw=1)
        loss, gradients, d_state, final = pass_through(m)
        answers.append([np.float64(loss), *gradients.values(), *d_state.values(), *final.values()])
    for other in answers[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(answers[0], other, strict=True))


@pytest.mark.parametrize("kind", first_of_all(TWO_KINDS, "lstm"))
def test_chunks_with_carried_state_are_one_long_chunk(kind):
    whole = make_variant(kind, "everything", np.float32, batch=4, steps=12)
    logits, end = logits_of(whole), whole.unrolled.carried.state()
    parts = make_variant(kind, "everything", np.float32, batch=4, steps=12)
    parts.unrolled.carried.set(parts.state)
    for start, stop in ((0, 5), (5, 6), (6, 12)):
        parts.unrolled.forward(parts.inputs[start:stop])
        got = rows_of(parts.unrolled.logits, 7)[: (stop - start) * 4].reshape(stop - start, 4, 7)
        assert np.array_equal(got, logits[start:stop])
    for name, value in parts.unrolled.carried.state().items():
        assert np.array_equal(value, end[name])


SAMPLED = [(name, "lstm") for name in VARIANTS] + [("everything", "gru-before")]


@pytest.mark.parametrize(("name", "kind"), first_of_all(SAMPLED, ("everything", "lstm")))
def test_text_is_sampled_from_the_forward_pass(name, kind):
    """Text, read again as one chunk, has the probabilities with which it was drawn."""
    m = make_variant(kind, name, batch=1, steps=60)
    m.network.parameters["b_y"][LINE_BREAK] += 0.3  # so that lines end now and then
    m.network.pack()
    sampler = Sampler(m.network, 1, seed=3, wants_log_probs=True)
    prompt = [2, LINE_BREAK, 1, LINE_BREAK, 3, 1]
    sampler.feed(np.array(prompt))
    parts = [(sampler.take(length)[:, 0], sampler.log_probs[:, 0].copy()) for length in (32, 20)]
    drawn, log_p = (np.concatenate(part) for part in zip(*parts, strict=True))
    text = np.concatenate([prompt, drawn])
    assert LINE_BREAK in drawn
    m.inputs, m.state = text[:-1, None], {name: np.zeros_like(value) for name, value in m.state.items()}
    wanted = log_softmax(logits_of(m)[len(prompt) - 1 :, 0])
    np.testing.assert_allclose(log_p, wanted[np.arange(len(drawn)), drawn], atol=1e-10)


@pytest.mark.parametrize("kind", first_of_all(TWO_KINDS, "lstm"))
@pytest.mark.parametrize("hidden", [40, 520])
def test_sampled_lines_are_the_same_alone_and_beside_others(kind, hidden, threads):
    """With 520 hidden units two threads share each step. The lines of each stream end at other times."""
    m = make_variant(kind, "everything", np.float32, hidden=hidden)
    texts = []
    for count in (1, 5):
        threads(min(count, 2))
        sampler = Sampler(m.network, count, seed=3)
        sampler.feed(np.array([LINE_BREAK, 2]))
        texts.append(np.concatenate([sampler.take(PIECE), sampler.take(PIECE)]))
    assert np.array_equal(texts[0][:, 0], texts[1][:, 0])
    breaks = texts[1] == LINE_BREAK
    assert (breaks.any(axis=0) & ~breaks.all(axis=0)).all()
    assert not np.array_equal(breaks[:, 0], breaks[:, 1])


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_a_line_is_read_as_if_it_stood_alone(kind):
    m = make_variant(kind, "stateless", batch=1, steps=12)
    lines = [[0, 3, 4], [0, 5], [0, 1, 2, 6, 5], [0, 4]]
    m.inputs = np.concatenate(lines)[:, None]
    logits = logits_of(m)[:, 0]
    start = 0
    for line in lines:
        m.inputs = np.array(line)[:, None]
        assert np.array_equal(logits_of(m)[:, 0], logits[start : start + len(line)])
        start += len(line)


@pytest.mark.parametrize("rate", [0.1, 0.7])
def test_zoneout_keeps_that_share_of_the_units(rate):
    m = make("lstm", np.float64, layers=1, hidden=64, batch=30, steps=40, zoneout=rate, zoneout_cell=0.5)
    m.unrolled.forward(m.inputs[:1], draw=0)
    h = [m.state["h"][0]]
    m.unrolled.carried.set(m.state)
    for t in range(len(m.inputs)):
        m.unrolled.forward(m.inputs[t : t + 1], draw=t)
        h.append(m.unrolled.carried.state()["h"][0])
    kept = np.array([(now == before).mean() for before, now in pairwise(h)])
    assert abs(kept.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / (40 * 30 * 64))


def test_dropped_recurrent_weights_are_those_of_a_mask_and_do_not_stay():
    m = make("gru", np.float32, layers=2, hidden=40, batch=2, steps=3)
    plain = [layer.recurrent[0].forwards.copy() for layer in m.network.layers]
    unrolled = Unrolled(m.network, 2, 3, Noise(weights=0.25))
    unrolled.forward(m.inputs[:3], draw=0)
    for layer, before in zip(m.network.layers, plain, strict=True):
        used = before != 0
        zero = layer.recurrent[0].forwards[used] == 0
        assert abs(zero.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / zero.size)
        np.testing.assert_allclose(layer.recurrent[0].forwards[used][~zero], before[used][~zero] / 0.75, rtol=1e-4)
    assert not np.array_equal(*(layer.recurrent[0].forwards == 0 for layer in m.network.layers))
    m.network.pack()
    assert all(
        np.array_equal(layer.recurrent[0].forwards, before)
        for layer, before in zip(m.network.layers, plain, strict=True)
    )


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_smoothed_labels_share_their_weight_with_all_symbols(smoothing):
    from charrnn.engine.softmax import cross_entropy

    z = np.random.default_rng(1).normal(size=(5, 40))
    targets = np.array([0, 39, 7, 7, 31], np.int32)
    packed = np.full((2, 5, 32), -np.inf)
    packed[0], packed[1, :, :8] = z[:, :32], z[:, 32:]
    losses = np.zeros(5)
    cross_entropy(packed, targets, losses, 2, 0.5, smoothing, 40, 2)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    wanted = np.full((5, 40), smoothing / 40)
    wanted[np.arange(5), targets] += 1 - smoothing
    np.testing.assert_allclose(rows_of(packed, 40)[2:], 0.5 * (p - wanted)[2:], atol=1e-15)
    assert not rows_of(packed, 64)[:2].any()
    assert not rows_of(packed, 64)[:, 40:].any()
    np.testing.assert_allclose(losses[2:], -np.log(p[np.arange(5), targets])[2:])
