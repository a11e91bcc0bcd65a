"""Beam search against a search of all texts."""

from itertools import product

import numpy as np
import pytest
from networks import make

from charrnn.model.unrolled import Unrolled
from charrnn.sampling.beam import Beam
from charrnn.sampling.constraints import ENDS, Constraint, forbidding
from charrnn.sampling.sampler import beginnings
from charrnn.sampling.texts import Ending, Wanted

SYMBOLS = 4


@pytest.fixture(scope="module", params=["lstm", "gru"])
def network(request):
    return make(request.param, np.float64, hidden=12, symbols=SYMBOLS, seed=3).network


def wanted(network, prompt=(1, 2)):
    (beginning,) = beginnings(network, [np.array(prompt)])
    return Wanted(0, np.array(prompt), beginning)


def nats(network, prompt, text):
    """ln of the probability of a text after a prompt, by one forward pass."""
    whole = np.array([*prompt, *text])
    unrolled = Unrolled(network, 1, len(whole) - 1)
    unrolled.forward(whole[:-1, None])
    unrolled.loss(whole[1:, None])
    return -unrolled.losses[len(prompt) - 1 : len(whole) - 1].sum()


@pytest.mark.parametrize("length", [1, 3, 5])
def test_a_wide_beam_finds_the_likeliest_of_all_texts(network, length):
    found = Beam(network, SYMBOLS**length, Ending(length)).search(wanted(network))
    best = max(product(range(SYMBOLS), repeat=length), key=lambda text: nats(network, (1, 2), text))
    assert (tuple(found.drawn), found.stopped) == (best, "length")
    assert found.nats == pytest.approx(nats(network, (1, 2), best), rel=1e-9)


def test_a_wide_beam_finds_the_likeliest_of_all_texts_that_end_at_a_stop(network):
    """By the log-probability for each symbol, the stop's included."""
    stop, length = 3, 4
    found = Beam(network, SYMBOLS**length, Ending(length, (np.array([stop]),), keep_stop=True)).search(wanted(network))
    texts = [t for n in range(1, length + 1) for t in product(range(SYMBOLS), repeat=n)
             if stop not in t[:-1] and (t[-1] == stop or n == length)]  # fmt: skip
    best = max(texts, key=lambda text: nats(network, (1, 2), text) / len(text))
    assert tuple(found.drawn) == best


def test_the_likelihood_is_that_of_the_text_that_is_shown(network):
    """A stop that is removed does not count, as in texts that are drawn."""
    endings = [Ending(4, (np.array([stop]),)) for stop in range(SYMBOLS)]
    found = [Beam(network, SYMBOLS**4, ending).search(wanted(network)) for ending in endings]
    assert "stop" in {text.stopped for text in found}
    for text in found:
        assert text.nats == pytest.approx(nats(network, (1, 2), text.drawn), rel=1e-9)


def test_a_beam_of_one_is_greedy(network):
    found = Beam(network, 1, Ending(20)).search(wanted(network))
    text = []
    for _ in range(20):
        text.append(max(range(SYMBOLS), key=lambda v: nats(network, (1, 2), [*text, v])))
    assert found.drawn.tolist() == text


def test_an_end_competes_with_the_other_continuations(network):
    """Symbol 3 ends the text anywhere. A beam of one ends it where that is likelier than any other symbol."""
    table = np.array([[0, 0, 0, ENDS]], np.int32)
    found = Beam(network, 1, Ending(40), Constraint(table)).search(wanted(network))
    text = []
    while len(text) < 40:
        p = [np.exp(nats(network, (1, 2), [*text, v]) - nats(network, (1, 2), text)) for v in range(SYMBOLS)]
        if p[3] > max(p[:3]):
            break
        text.append(int(np.argmax(p[:3])))
    assert text
    assert found.drawn.tolist() == text


def test_a_constraint_holds_and_may_end_the_text(network):
    found = Beam(network, 5, Ending(9), forbidding(np.array([True, False, True, False]))).search(wanted(network))
    assert set(found.drawn.tolist()) <= {1, 3}
    table = np.full((3, SYMBOLS), -1, np.int32)
    table[0, 2], table[1, 1] = 1, 2
    found = Beam(network, 5, Ending(9), Constraint(table)).search(wanted(network))
    assert (found.drawn.tolist(), found.stopped) == ([2, 1], "constraint")
