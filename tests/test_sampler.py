"""Sampling against the network's own forward pass."""

import numpy as np
import pytest
from networks import KINDS, make
from thorough import first_of_all

from charrnn.engine.panels import CACHE_LINE, rows_of
from charrnn.engine.random import PURPOSES, fill_uniform
from charrnn.sampling.draws import draws_for, memory_of_draws
from charrnn.sampling.rule import Rule
from charrnn.sampling.sampler import PIECE, Sampler, weights_of


def sampled(network, length, count=1, temperature=1.0, seed=3, prompt=(0, 2, 1)):
    sampler = Sampler(network, count, Rule(temperature), seed)
    sampler.feed(np.array(prompt))
    pieces = [sampler.take(min(PIECE, length - start)) for start in range(0, length, PIECE)]
    return np.concatenate(pieces)


def check_draws(m, prompt, length):
    """The texts are read again as one chunk; each symbol is the inverse of the cumulative softmax at its number."""
    count = m.unrolled.batch
    drawn = sampled(m.network, length, count, prompt=prompt)
    texts = np.concatenate([np.repeat(np.array(prompt)[:, None], count, axis=1), drawn])
    m.unrolled.carried.reset()
    m.unrolled.forward(texts[:-1])
    logits = rows_of(m.unrolled.logits, m.config.symbols)[: texts[:-1].size].reshape(*texts[:-1].shape, -1)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    edges = (p / p.sum(axis=-1, keepdims=True)).cumsum(axis=-1)[len(prompt) - 1 :]
    numbers = np.empty(count)
    for t in range(length):
        fill_uniform(numbers, 0.0, 1.0, np.uint64(3), PURPOSES["sample"], np.uint64(t))
        for b in range(count):
            assert drawn[t, b] == np.searchsorted(edges[t, b], numbers[b], side="right")
    return drawn


@pytest.mark.parametrize("kind", first_of_all(KINDS, "lstm", "gru-before"))
@pytest.mark.parametrize("embed", [0, 6])
def test_every_symbol_is_drawn_from_the_softmax_of_the_forward_pass(kind, embed):
    length, prompt = 70, (0, 2, 1, 5)
    m = make(kind, np.float64, embed=embed, batch=1, steps=length + len(prompt))
    check_draws(m, prompt, length)


def test_so_are_those_of_streams_whose_lines_end_at_different_places_with_skips():
    further = {"stateless": True, "input_skips": True, "output_skips": True}
    m = make("lstm", np.float64, layers=3, symbols=6, batch=3, steps=70, line_break=1, **further)
    ends = check_draws(m, (0, 2, 1, 5), 60) == 1
    assert ends.any(axis=0).all()
    assert (ends.sum(axis=1) == 1).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_begin_on_cache_lines(precision):
    """Otherwise a vector load can read from two cache lines."""
    network = make("lstm", np.float32, layers=4, output_skips=True, input_skips=True, precision=precision).network
    weights = [array for array in weights_of(network) if array.size]
    assert len(weights) == 7
    assert [array.ctypes.data % CACHE_LINE for array in weights] == [0] * 7


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


@pytest.mark.parametrize("window", [0, 9])
def test_the_memory_of_draws_is_that_of_their_buffers(window):
    draws = draws_for(3, 70, np.float32, window, np.empty((0, 0), np.int32), 0)
    assert memory_of_draws(3, 70, window) == draws.scratch.nbytes + draws.recent.nbytes + draws.counts.nbytes
