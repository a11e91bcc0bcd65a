"""Whole texts: where they end, many at once, their log-probabilities, constraints."""

import re

import numpy as np
import pytest
from networks import make
from oracle import log_softmax

from charrnn.engine.panels import rows_of
from charrnn.model.unrolled import Unrolled
from charrnn.sampling.beam import Beam
from charrnn.sampling.constraints import ENDS, FORBIDDEN, Constraint, forbidding, only_words
from charrnn.sampling.conversation import Conversation
from charrnn.sampling.rule import Rule
from charrnn.sampling.sampler import Sampler, beginnings
from charrnn.sampling.texts import Ending, Text, draw_texts, likeliest_of, wanted_texts

LINE_BREAK = 0
NONE_OF_NINE = np.zeros(9, np.bool_)


@pytest.fixture(scope="module")
def m():
    return make("lstm", np.float32, hidden=20, symbols=9)


def texts_of(m, count, ending, batch, prompts=((1,),), rule=Rule(), seed=5, **more):
    given = [(np.array(prompt), np.array(prompt)) for prompt in prompts]
    streams = min(batch, count * len(given))
    sampler = Sampler(m.network, streams, rule, seed, wants_log_probs=True, **more)
    drawn = draw_texts(sampler, wanted_texts(m.network, given, count, streams), ending)
    return sorted(drawn, key=lambda text: text.index)


def symbols_of(texts):
    return [text.drawn.tolist() for text in texts]


@pytest.mark.parametrize("window", [1, 3, 7, 20])
def test_the_repetition_penalty_is_for_the_symbols_within_the_window(window):
    """Each symbol is the likeliest one after the penalty, by a forward pass over all of the text before it."""
    m = make("lstm", np.float64, hidden=20, symbols=9)
    for _, values in m.network.parameters.items():
        values[:] = values * 3
    m.network.pack()
    text = [2, 3, 4, 5, 6, 7, 8, 0, 3]
    sampler = Sampler(m.network, 1, Rule(0.0, repetition_penalty=1.8), window=window)
    sampler.feed(np.array(text))
    drawn = sampler.take(40)[:, 0].tolist()
    assert len(set(drawn)) > 1
    for symbol in drawn:
        unrolled = Unrolled(m.network, 1, len(text))
        unrolled.forward(np.array(text)[:, None])
        logits = rows_of(unrolled.logits, 9)[len(text) - 1].copy()
        seen = sorted(set(text[-window:]))
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / 1.8, logits[seen] * 1.8)
        assert symbol == logits.argmax()
        text.append(symbol)


@pytest.mark.parametrize("batch", [1, 3, 8, 64])
def test_texts_are_the_same_in_any_batch(m, batch):
    """They end at other places, so that streams take over texts at other times."""
    ending = Ending(90, (np.array([3, 4]),))
    alone = [texts_of(m, 1, ending, 1)[0]]
    many = texts_of(m, 20, ending, batch)
    assert symbols_of(many)[:1] == symbols_of(alone)
    assert symbols_of(many) == symbols_of(texts_of(m, 20, ending, 5))
    assert len({len(text) for text in symbols_of(many)}) > 5
    assert [text.nats for text in many] == [text.nats for text in texts_of(m, 20, ending, 5)]


def test_each_prompt_is_continued_as_if_it_were_alone(m):
    prompts = [(1,), (2, 3, 4, 5, 6, 7, 8) * 30, (5, 5), (8, 1, 2)]
    together_ = texts_of(m, 2, Ending(30), 3, prompts, Rule(repetition_penalty=1.5), window=5)
    for index, prompt in enumerate(prompts):
        sampler = Sampler(m.network, 1, Rule(repetition_penalty=1.5), 5, window=5)
        (beginning,) = beginnings(m.network, [np.array(prompt)])
        for k in range(2):
            sampler.begin(0, 2 * index + k, beginning)
            assert sampler.take(30)[:, 0].tolist() == together_[2 * index + k].drawn.tolist()


def test_log_probabilities_are_those_of_the_forward_pass(m):
    (text,) = texts_of(m, 1, Ending(40), 1, prompts=((1, 2, 3),), rule=Rule(0.7, top_k=5))
    whole = np.concatenate([[1, 2, 3], text.drawn])
    other = make("lstm", np.float32, hidden=20, symbols=9, batch=1, steps=len(whole))
    other.unrolled.carried.reset()
    other.unrolled.forward(whole[:-1, None])
    logs = log_softmax(rows_of(other.unrolled.logits, 9)[2 : len(whole) - 1])
    assert text.nats == pytest.approx(logs[np.arange(40), whole[3:]].sum(), rel=1e-5)


def pieces(text, symbols, size):
    """Give a text symbols piece by piece; what it hands over."""
    shown = []
    for at in range(0, len(symbols), size):
        text.add(np.array(symbols[at : at + size]), np.zeros(0))
        shown.append(text.hand_over())
        if text.stopped:
            break
    return np.concatenate(shown).tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("keep", [False, True])
def test_a_text_ends_before_the_first_stop_however_it_comes(size, keep):
    """Against the search of Python's own strings."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        symbols = rng.integers(1, 3, 30).tolist()
        stops = [tuple(rng.integers(1, 3, rng.integers(1, 6)).tolist()) for _ in range(2)]
        string, ends = "".join(map(str, symbols)), []
        for stop in stops:
            if found := re.search("".join(map(str, stop)), string):
                ends.append((found.end(), found.end() if keep else found.start()))
        text = Text(0, np.array([]), Ending(30, tuple(map(np.array, stops)), keep))
        got = pieces(text, symbols, size)
        first = min(end for end, _ in ends) if ends else 0
        assert text.stopped == ("stop" if ends else "length")
        assert got in ([symbols[:cut] for end, cut in ends if end == first] if ends else [symbols])


def test_lines_are_counted_and_the_length_holds_too():
    text = Text(0, np.array([]), Ending(100, lines=2, line_break=LINE_BREAK))
    assert pieces(text, [3, 0, 4, 5, 0, 6, 7], 3) == [3, 0, 4, 5, 0]
    assert text.stopped == "lines"
    text = Text(0, np.array([]), Ending(4, lines=2, line_break=LINE_BREAK))
    assert (pieces(text, [3, 0, 4, 5, 0, 6, 7], 3), text.stopped) == ([3, 0, 4, 5], "length")


def test_what_may_belong_to_a_stop_is_held_back():
    text = Text(0, np.array([]), Ending(100, (np.array([1, 2, 1, 3]),)))
    text.add(np.array([5, 1, 2, 1]), np.zeros(0))
    assert text.hand_over().tolist() == [5]
    text.add(np.array([2]), np.zeros(0))
    assert text.hand_over().tolist() == [1, 2]
    text.add(np.array([1, 3, 4]), np.zeros(0))
    assert (text.hand_over().tolist(), text.stopped) == ([], "stop")


def test_the_likeliest_of_each_group_is_taken(m):
    every = texts_of(m, 12, Ending(20), 4)
    best = sorted(likeliest_of(texts_of(m, 12, Ending(20), 4), 3), key=lambda text: text.index)
    for group, text in enumerate(best):
        assert text.nats == max(other.nats for other in every[3 * group : 3 * group + 3])
        assert text.index == group


def drawn(index, symbols, log_probs, ending=Ending(3, (np.array([9]),))):
    text = Text(index, np.array([]), ending)
    text.add(np.array(symbols), np.array(log_probs))
    return text


def test_a_text_that_ends_at_once_is_the_likeliest_only_if_its_end_is_likely():
    for end in ([9], [ENDS]):
        for log_prob, best in ((-13.8, [1, 2, 3]), (-0.01, [])):
            (text,) = likeliest_of([drawn(0, end, [log_prob]), drawn(1, [1, 2, 3], [-0.1, -0.2, -0.3])], 2)
            assert text.drawn.tolist() == best
            assert text.nats == pytest.approx(-0.6 if best else 0.0)


def test_a_text_that_a_constraint_cuts_off_is_not_the_likeliest():
    (text,) = likeliest_of([drawn(0, [FORBIDDEN], [-0.01]), drawn(1, [1, 2, 3], [-0.1, -0.2, -0.3])], 2)
    assert text.drawn.tolist() == [1, 2, 3]


def test_the_log_probability_does_not_depend_on_pieces():
    symbols, log_probs = np.full(200, 1), -np.random.default_rng(0).exponential(2.0, 200)
    sums = set()
    for size in (4, 32, 200):
        text = Text(0, np.array([]), Ending(200))
        for low in range(0, 200, size):
            text.add(symbols[low : low + size], log_probs[low : low + size])
        sums.add(text.nats)
    assert len(sums) == 1


def test_a_ban_is_kept_and_an_automaton_too(m):
    ban = forbidding(np.isin(np.arange(9), [2, 5, 7]))
    (text,) = texts_of(m, 1, Ending(300), 1, constraint=ban)
    assert set(text.drawn.tolist()) == {0, 1, 3, 4, 6, 8}
    words = [(1, 2), (1, 2, 3), (4,), (3, 3, 1)]
    texts = texts_of(m, 4, Ending(200), 3, ((0,),), constraint=only_words(words, NONE_OF_NINE))
    for text in texts:
        runs = re.split("[05678]", "".join(map(str, text.drawn)))[:-1]
        assert set(runs) <= {"", "12", "123", "4", "331"}
        assert set(runs) & {"12", "123", "4", "331"}
    assert len({len(text.drawn) for text in texts}) == 1


WORDS = only_words([(1, 2, 1), (1, 2, 3), (4,), (3, 3, 1)], NONE_OF_NINE)
BETWEEN_WORDS = {0, 5, 6, 7, 8} | {1, 3, 4}  # what may come there: no letter, or the first letter of a word


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1,), {2}),
        ((0, 1, 2), {1, 3}),
        ((4, 0, 3), {3}),
        ((1, 5), BETWEEN_WORDS),
        ((0, 3, 1), BETWEEN_WORDS),  # these letters begin no word
        ((1, 2, 1, 1), BETWEEN_WORDS),
    ],
)
def test_a_text_goes_on_with_the_word_that_its_prompt_begins(m, before, after):
    texts = texts_of(m, 200, Ending(1), 7, prompts=(before,), constraint=WORDS)
    assert {int(text.drawn[0]) for text in texts} == after
    (wanted,) = wanted_texts(m.network, [(np.array(before), np.array(before))], 1, 1)
    assert Beam(m.network, 8, Ending(1), WORDS).search(wanted).drawn[0] in after


def test_a_word_goes_on_in_the_next_turn(m):
    """Turns of one symbol write only whole words."""
    talk = Conversation(m.network, Sampler(m.network, constraint=WORDS), np.array([0]))
    shown = []
    for _ in range(120):
        talk.turn(np.array([], np.int32), Ending(1), lambda piece: shown.extend(piece.tolist()))
    runs = set(re.split("[05678]", "".join(map(str, shown)))[:-1])
    assert {"121", "123"} & runs
    assert runs <= {"", "121", "123", "4", "331"}


def test_a_text_ends_where_a_constraint_leaves_nothing(m):
    table = np.full((3, 9), FORBIDDEN, np.int32)
    table[0, 4], table[1, 6] = 1, 2  # 4, then 6, then nothing
    texts = texts_of(m, 3, Ending(50), 2, constraint=Constraint(table))
    assert [(text.drawn.tolist(), text.stopped) for text in texts] == [([4, 6], "constraint")] * 3


def test_too_many_words_are_refused(monkeypatch):
    monkeypatch.setattr("charrnn.sampling.constraints.MOST_ENTRIES", 36)
    assert only_words([(1, 2), (3,)], NONE_OF_NINE).follows.shape == (4, 9)
    with pytest.raises(ValueError, match="more than 4 beginnings of words"):
        only_words([(1, 2), (3, 4)], NONE_OF_NINE)


def test_words_are_the_paths_of_a_tree():
    table = only_words([(1, 2), (1, 2, 3), (4,)], np.zeros(6, np.bool_)).follows
    between, one, two, three, four = 0, table[0, 1], table[table[0, 1], 2], table[table[table[0, 1], 2], 3], table[0, 4]
    assert sorted((between, one, two, three, four)) == [0, 1, 2, 3, 4]
    never = FORBIDDEN
    assert table[between].tolist() == [0, one, never, never, four, 0]
    assert table[one].tolist() == [never, never, two, never, never, never]
    assert table[two].tolist() == [0, never, never, three, never, 0]
    assert table[three].tolist() == table[four].tolist() == [0, never, never, never, never, 0]


def test_words_with_a_banned_symbol_never_begin():
    """Its other symbols are letters all the same."""
    banned = np.arange(6) == 3
    table = only_words([(1, 3), (2, 1)], banned).follows
    assert table[0].tolist() == [0, FORBIDDEN, 1, FORBIDDEN, 0, 0]
    assert (table >= 0).any(axis=1).all()


def test_a_banned_symbol_separates_words_but_does_not_come():
    words, banned = [(1, 2), (3,)], np.arange(5) == 0
    constraint = only_words(words, banned)
    assert (constraint.follows[:, 0] == FORBIDDEN).all()
    assert np.array_equal(constraint.follows[:, 1:], only_words(words, np.zeros(5, np.bool_)).follows[:, 1:])
    inside = constraint.follows[0, 1]
    assert constraint.state_after([0, 1]) == constraint.state_after([3, 0, 1]) == inside
    assert constraint.state_after([1, 0]) == constraint.state_after([2, 1]) == 0
