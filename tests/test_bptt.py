"""Truncated back-propagation over K1:K2, and chunks of random lengths, against chunks that are cut by hand."""

from dataclasses import replace

import numpy as np
import pytest
from networks import KINDS

from charrnn.errors import ConfigError, DataError
from charrnn.gradcheck import random_network
from charrnn.model.config import ModelConfig
from charrnn.model.unrolled import Unrolled
from charrnn.training.config import TrainConfig, longest
from charrnn.training.learner import Learner, streams_of
from charrnn.training.lengths import random_length

TEXT = np.random.default_rng(0).integers(0, 7, 131).astype(np.uint8)


def learnt(learner, epochs=1):
    """Position, loss and gradient of one update after the other, the parameters staying as they are."""
    answers, step = [], 0
    for _ in range(epochs):
        position = 0
        learner.reset_state()
        while position < learner.streams.steps:
            loss, steps, chars = learner.learn(position, step)
            assert chars == steps * learner.streams.batch
            answers.append((position, steps, loss, learner.network.gradients.flat.copy()))
            learner.accept()
            position, step = position + steps, step + 1
    return answers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bptt", "batch", "accumulate"), [("4:4", 3, 1), ("4:10", 3, 1), ("5:7", 1, 3), ("1:9", 3, 1)])
def test_each_update_is_that_of_a_window_with_the_state_before_it(kind, bptt, batch, accumulate):
    """Losses count the K1 new steps, gradients flow over K2, and each character counts once."""
    moved, back = map(int, bptt.split(":"))
    network = random_network(ModelConfig(7, layers=2, hidden=5, **KINDS[kind]), seed=1)
    learner = Learner(network, TEXT, TrainConfig(batch=batch, accumulate=accumulate, bptt=bptt, reset_every=0))
    answers = learnt(learner)
    piece = 130 // 3
    assert [position for position, *_ in answers] == list(range(0, piece, moved))
    streams = np.stack([TEXT[b * piece : (b + 1) * piece + 1] for b in range(3)], axis=1).astype(np.int32)
    for position, steps, loss, gradient in answers:
        first = max(0, position - (back - moved))
        unrolled = Unrolled(network, 3, piece)
        if first:
            unrolled.forward(streams[:first])
        unrolled.forward(streams[first : position + steps])
        assert loss == pytest.approx(
            unrolled.loss(streams[first + 1 : position + steps + 1], position - first), rel=1e-12
        )
        unrolled.backward()
        np.testing.assert_allclose(gradient, network.gradients.flat, atol=1e-13)


def test_history_does_not_count_but_carries_gradients_back():
    network = random_network(ModelConfig(7, "gru", layers=1, hidden=5), seed=1)
    text = TEXT.astype(np.int32)[:, None]
    gradients, losses = [], []
    for past in (0, 4):
        unrolled = Unrolled(network, 1, 10)
        unrolled.forward(text[:6])
        state = unrolled.carried.state()
        if past:
            unrolled.carried.reset()
            unrolled.forward(text[:2])
            unrolled.forward(text[2:10])
        else:
            unrolled.carried.set(state)
            unrolled.forward(text[6:10])
        losses.append(unrolled.loss(text[7 - past : 11], past))
        unrolled.backward()
        gradients.append(network.gradients.flat.copy())
    assert losses[0] == pytest.approx(losses[1], rel=1e-14)
    assert np.abs(gradients[0] - gradients[1]).max() > 1e-4


def test_chunks_of_random_lengths_read_each_character_once():
    network = random_network(ModelConfig(7, "rnn", layers=1, hidden=3), seed=1)
    learner = Learner(network, TEXT, TrainConfig(batch=1, seq_len=9, random_lengths=True))
    answers = learnt(learner, epochs=3)
    assert sum(steps for _, steps, *_ in answers) == 3 * 130
    starts = [{position for position, *_ in answers[i:j]} for i, j in parts(answers)]
    assert len(starts) == 3
    assert starts[0] != starts[1] != starts[2]


def parts(answers):
    """The range of updates of each epoch."""
    begins = [k for k, (position, *_) in enumerate(answers) if position == 0]
    return zip(begins, [*begins[1:], len(answers)], strict=True)


def test_lengths_follow_their_law():
    lengths = np.array([random_length(70, 3, step) for step in range(20_000)])
    halved = lengths < 52
    assert abs(halved.mean() - 0.05) < 5 * np.sqrt(0.05 * 0.95 / 20_000)
    assert abs(lengths[~halved].mean() - 70) < 0.2
    assert abs(lengths[~halved].std() - 5) < 0.2
    assert abs(lengths[halved].mean() - 35) < 1
    assert lengths.max() <= longest(70) == 90
    assert {random_length(2, 0, step) for step in range(1000)} <= {2, 3}
    assert [random_length(70, 4, step) for step in range(9)] != lengths[:9].tolist()


@pytest.mark.parametrize("bptt", ["8", "8:4", "0:4", "a:b", "1:2:3", "-1:4", "²:4", ":"])
def test_a_bad_bptt_is_one_clear_error(bptt):
    with pytest.raises(ConfigError, match=r"expected --bptt K1:K2 .* got .*; try "):
        TrainConfig(bptt=bptt)


def test_bptt_sets_the_length_of_a_chunk():
    assert TrainConfig(bptt="8:20").seq_len == 8
    same = TrainConfig(bptt="9:9")
    assert (same, same.history) == (TrainConfig(seq_len=9), 0)
    assert TrainConfig(bptt="8:20").history == 12
    assert replace(TrainConfig(), seq_len=30).seq_len == 30
    with pytest.raises(ConfigError, match="got both"):
        TrainConfig(bptt="8:20", random_lengths=True)


def test_a_text_too_short_for_bptt_is_one_clear_error():
    config, text = TrainConfig(bptt="8:20", batch=4), np.zeros(33, np.uint8)
    assert streams_of(text, config).batch == 4
    with pytest.raises(DataError, match="more than batch x accumulate x K1 of --bptt = 32 characters, got 32; try "):
        streams_of(text[:32], config)
