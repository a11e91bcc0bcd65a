"""A text in shuffled pieces: all of it, in whole pieces, in an order that depends only on the seed and the epoch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training import prepared, start, train

from charrnn.model.config import ModelConfig
from charrnn.model.network import Network
from charrnn.text.stored import BLOCK
from charrnn.training.checkpoint import load_checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.learner import Learner
from charrnn.training.shuffle import ShuffledText, line_starts_from


def pieces_of(order):
    """Cut a permutation of places where it does not go on with the next place."""
    return np.split(order, np.flatnonzero(np.diff(order) != 1) + 1)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_an_order_has_every_place_once_in_pieces_of_the_length_asked(n, length, seed, epoch):
    text = ShuffledText(np.arange(n), length, seed)
    text.turn_to(epoch)
    order = text[0:n]
    assert sorted(order) == list(range(n))
    assert order[-1] == n - 1
    for piece in pieces_of(order):  # by chance, pieces that follow each other in the text may do so here
        if piece[0] != 0 and piece[-1] != n - 1:
            assert len(piece) % length == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.integers(1, 50), st.data())
def test_a_slice_is_that_of_the_whole_order(n, length, data):
    text = ShuffledText(np.arange(n), length, seed=5)
    text.turn_to(2)
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    np.testing.assert_array_equal(text[start:stop], text[0:n][start:stop])


def test_orders_differ_by_seed_and_by_epoch_alone():
    def order(seed, epoch, *before):
        text = ShuffledText(np.arange(5000), 30, seed)
        for other in (*before, epoch):
            text.turn_to(other)
        return text[0:5000]

    np.testing.assert_array_equal(order(1, 7), order(1, 7, 3, 9))
    for other in (order(1, 8), order(2, 7), np.arange(5000)):
        assert (order(1, 7) == other).mean() < 0.1


def test_all_orders_are_about_equally_frequent():
    """The cuts are 1, 3, 5 or 2, 4, 6, each half of the time. The three pieces before the last cut have six orders.

    The order of the text is one of these in both cases.
    """
    seen = {}
    for epoch in range(1200):
        text = ShuffledText(np.arange(7), 2, seed=0)
        text.turn_to(epoch)
        order = tuple(text[0:7])
        seen[order] = seen.get(order, 0) + 1
    assert 140 < seen.pop(tuple(range(7))) < 260
    assert len(seen) == 10
    assert all(60 < count < 145 for count in seen.values())


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("ab", max_size=6), min_size=1, max_size=40), st.booleans(), st.integers(1, 20), st.integers(0, 9)
)
def test_lines_stay_whole(lines, ends, length, epoch):
    content = "\n".join(lines) + "\n" * ends
    if not content:
        return
    symbols = np.frombuffer(content.encode(), np.uint8)
    text = ShuffledText(symbols, length, seed=3, line_break=ord("\n"), whole_lines=True)
    text.turn_to(epoch)
    read = bytes(text[0 : len(symbols)]).decode()
    assert sorted(read.split("\n")) == sorted(content.split("\n"))
    assert read.endswith("\n") == content.endswith("\n")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 20), st.integers(0, 9))
def test_a_piece_begins_inside_a_line_only_if_no_other_line_is_near(lengths, length, epoch):
    text = np.arange(
        1, sum(lengths) + len(lengths) + 1
    )  # every symbol tells its place, but for line breaks, which are 0
    text[np.cumsum(np.array(lengths) + 1) - 1] = 0
    shuffled = ShuffledText(text, length, seed=3, line_break=0)
    shuffled.turn_to(epoch)
    order = shuffled[0 : len(text)]
    np.testing.assert_array_equal(np.sort(order), np.sort(text))
    for before, symbol in itertools.pairwise(order):
        place = symbol - 1
        if symbol and symbol not in (1, before + 1) and text[place - 1]:
            assert text[place : min(place + length, len(text)) - 1].all()


def test_line_starts_are_found_across_the_blocks_of_a_large_text():
    symbols = np.ones(2 * BLOCK + 100, np.uint8)
    starts = np.array([3, BLOCK - 5, BLOCK, BLOCK + 1, 2 * BLOCK + 60])
    symbols[starts - 1] = 0
    symbols[-1] = 0
    places = np.arange(1, len(symbols), 7000)
    starts = np.append(starts, len(symbols))
    want = [starts[starts >= place][0] for place in places]
    np.testing.assert_array_equal(line_starts_from(symbols, places, 0), want)
    np.testing.assert_array_equal(line_starts_from(np.ones(50, np.uint8), np.arange(1, 50), 0), [50] * 49)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_learns_from_the_order_of_its_epoch(accumulate):
    config = TrainConfig(batch=3, accumulate=accumulate, seq_len=5, reset_every=0, steps=1, seed=4, shuffle=20)
    symbols = np.random.default_rng(1).integers(0, 9, 1000).astype(np.uint8)

    def learner(text, shuffle):
        network = Network(ModelConfig(9, "gru", 1, 8))
        network.parameters.flat[:] = np.random.default_rng(0).normal(size=network.parameters.flat.size) * 0.3
        network.pack()
        return Learner(network, text, TrainConfig(**config.as_dict() | {"shuffle": shuffle}))

    shuffled = learner(symbols, 20)
    for epoch in (0, 2, 1):
        text = ShuffledText(symbols, 20, seed=4)
        text.turn_to(epoch)
        by_hand = learner(text[0:1000], 0)
        for one in (shuffled, by_hand):
            one.reset_state()
        for step in range(3):
            want = by_hand.learn(5 * step, step)
            assert shuffled.learn(5 * step, step, epoch) == want
            np.testing.assert_array_equal(shuffled.network.gradients.flat, by_hand.network.gradients.flat)
            shuffled.accept()
            by_hand.accept()


def test_an_interrupted_run_goes_on_in_the_order_of_its_epoch(tmp_path):
    data = prepared(tmp_path, "".join(f"{k} is {k * k}.\n" for k in range(400)))
    config = {"batch": 4, "seq_len": 16, "shuffle": 100, "lr": 0.01, "steps": 150}
    ends = []
    for name, stops in (("whole", []), ("interrupted", [70, 110])):
        start(tmp_path, data, {}, config, name)
        for stop in (*stops, None):
            train(tmp_path / name, data, load_checkpoint(tmp_path / name / "last.npz"), stop)
        ends.append(load_checkpoint(tmp_path / name / "last.npz"))
    assert ends[0].progress.epoch >= 1
    assert ends[0].progress.step == ends[1].progress.step == 150
    for key, values in ends[0].parameters.items():
        np.testing.assert_array_equal(values, ends[1].parameters[key])
