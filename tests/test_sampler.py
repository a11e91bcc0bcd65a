"""Sampling against the network's own forward pass."""

import numpy as np
import pytest
from networks import KINDS, make
from thorough import first_of_all

from charrnn.engine.random import PURPOSES, uniform
from charrnn.sampling.rule import Rule
from charrnn.sampling.sampler import PIECE, Sampler, beginnings


def sampled(network, length, count=1, temperature=1.0, seed=3, prompt=(0, 2, 1)):
    sampler = Sampler(network, count, Rule(temperature), seed)
    sampler.feed(np.array(prompt))
    pieces = [sampler.take(min(PIECE, length - start)) for start in range(0, length, PIECE)]
    return np.concatenate(pieces)


@pytest.mark.parametrize("kind", first_of_all(KINDS, "lstm", "gru-before"))
@pytest.mark.parametrize("embed", [0, 6])
def test_every_symbol_is_drawn_from_the_softmax_of_the_forward_pass(kind, embed):
    """The text is read again as one chunk; each symbol is the inverse of the cumulative softmax at its number."""
    length, prompt = 70, (0, 2, 1, 5)
    m = make(kind, np.float64, embed=embed, batch=1, steps=length + len(prompt))
    drawn = sampled(m.network, length, prompt=prompt)[:, 0]
    text = np.concatenate([prompt, drawn])
    m.unrolled.reset_state()
    m.unrolled.forward(text[:-1, None])
    logits = m.unrolled.logits.transpose(1, 0, 2).reshape(m.unrolled.logits.shape[1], -1)[
        : len(text) - 1, : m.config.symbols
    ]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    edges = (p / p.sum(axis=1, keepdims=True)).cumsum(axis=1)[len(prompt) - 1 :]
    counters = (np.uint64(3), PURPOSES["sample"])
    numbers = [uniform(*counters, np.uint64(t), np.uint64(0)) for t in range(length)]
    want = [int(np.searchsorted(row, u, side="right")) for row, u in zip(edges, numbers, strict=True)]
    assert drawn.tolist() == want


@pytest.mark.parametrize("kind", first_of_all(KINDS, "lstm", "gru-before"))
@pytest.mark.parametrize(("hidden", "count"), [(40, 1), (520, 1), (40, 5), (520, 5)])
def test_threads_and_count_change_no_symbol(kind, hidden, count, threads):
    """520 hidden units are enough that two threads share each step, and then the draws of five streams."""
    network = make(kind, np.float32, layers=2, hidden=hidden).network
    threads(1)
    alone, together = sampled(network, 40), sampled(network, 40, count)
    threads(2)
    shared = sampled(network, 40, count)
    assert np.array_equal(shared[:, :1], alone)
    assert np.array_equal(shared, together)


def test_streams_of_one_seed_differ():
    texts = sampled(make("lstm", np.float32).network, 40, count=4)
    assert len({tuple(text) for text in texts.T}) == 4


@pytest.mark.parametrize("further", [{}, {"input_skips": True}])
def test_a_text_is_the_same_alone_and_beside_others_whose_lines_end_elsewhere(further):
    network = make("lstm", np.float32, layers=2, symbols=6, line_break=1, **further).network
    together = sampled(network, 60, count=4)
    (beginning,) = beginnings(network, [np.array([0, 2, 1])])
    for number in range(4):
        alone = Sampler(network, 1, Rule(), 3)
        alone.begin(0, number, beginning)
        assert np.array_equal(alone.take(60)[:, 0], together[:, number])
    assert 4 < np.count_nonzero(together == 1) < 120
