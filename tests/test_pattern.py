"""Regular expressions as automata, against Python's own; texts drawn and searched with them."""

import re
from itertools import product

import numpy as np
import pytest
from networks import make
from oracle import log_softmax
from test_texts import symbols_of, texts_of

from charrnn.errors import ConfigError
from charrnn.sampling.beam import Beam
from charrnn.sampling.constraints import ENDS, FORBIDDEN
from charrnn.sampling.pattern import matching
from charrnn.sampling.texts import Ending, wanted_texts

CHARACTERS = "ab1 -^"
NONE = np.zeros(len(CHARACTERS), np.bool_)
PATTERNS = [
    "a",
    "a*",
    "(ab|b1)+",
    r"\d{2,3}",
    r"\w\s\w?",
    "[^a]b",
    "a.b",
    "(a|b)*1(a|b)",
    "",
    r"[a^]\^",
    r"[-a]\-?[b-]",
    r"[]1]\u0031[\u0031^]",
    r"\x31\ [^]^a]",
    "(?:ab)?a{2}",
    r"[b\]^]+",
]
LONGEST = 4


def walk(table, text):
    """The state after a text, or None when it is not possible."""
    state = 0
    for character in text:
        state = int(table[state, CHARACTERS.index(character)])
        if state < 0:
            return None
    return state


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_automaton_allows_what_can_still_match(pattern):
    """A text is possible if one that begins so matches; after one that matches, what leads nowhere ends it."""
    expression = re.compile(pattern, re.DOTALL | re.ASCII)
    texts = ["".join(letters) for n in range(LONGEST + 1) for letters in product(CHARACTERS, repeat=n)]
    whole = {text for text in texts if expression.fullmatch(text)}
    begun = {text[:n] for text in whole for n in range(len(text) + 1)}
    table = matching(pattern, CHARACTERS, NONE).follows
    for text in texts:
        state = walk(table, text)
        if len(text) <= LONGEST - 2:  # every continuation that a pattern here can need is among the texts
            assert (state is not None) == (text in begun), text
        if state is not None:
            for symbol, character in enumerate(CHARACTERS):
                if table[state, symbol] < 0:
                    assert (table[state, symbol] == ENDS) == (text in whole), (text, character)


def test_what_may_not_come_neither_continues_nor_ends_a_text():
    banned = np.array([c == "b" for c in CHARACTERS])
    table = matching("(ab|a1)+", CHARACTERS, banned).follows
    assert walk(table, "a1a") is not None
    assert (table[:, CHARACTERS.index("b")] == FORBIDDEN).all()


def test_a_table_that_would_be_too_large_is_not_made(monkeypatch):
    monkeypatch.setattr("charrnn.sampling.pattern.MOST_ENTRIES", 4 * len(CHARACTERS))
    matching("ab", CHARACTERS, NONE)
    monkeypatch.setattr(np, "full", None)
    with pytest.raises(ConfigError, match="expected a smaller --pattern, got one of 5 states"):
        matching("abc", CHARACTERS, NONE)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "unterminated subpattern"),
        ("a{3,1}", "min repeat greater than max repeat"),
        ("^a", "^ is not needed"),
        ("a$", "$ is not needed"),
        (r"(a)\1", "expected a --pattern of"),
        ("(?=a)b", "expected a --pattern of"),
        (r"\bfoo", "expected a --pattern of"),
        ("a{251}", "251 characters with its repetitions written out"),
        ("((a|b){2}b[^a]){51,60}", "360 characters"),
        ("a{4294967296}", "expected a --pattern of"),
        ("xyz", "some text can match"),
        ("[^ab1 ^-]", "some text can match"),
    ],
)
def test_patterns_that_are_none_or_can_never_match(pattern, reason):
    with pytest.raises(ConfigError, match=re.escape(reason)):
        matching(pattern, CHARACTERS, NONE)


def test_texts_match_and_end_where_the_model_would_go_elsewhere():
    m = make("lstm", np.float32, hidden=20, symbols=len(CHARACTERS))
    constraint = matching("[ab-]+1*", CHARACTERS, NONE)
    texts = texts_of(m, 200, Ending(4), 16, constraint=constraint)
    strings = ["".join(CHARACTERS[s] for s in symbols) for symbols in symbols_of(texts)]
    for text, string in zip(texts, strings, strict=True):
        assert re.fullmatch("[ab-]+1*", string)
        assert text.stopped == ("pattern" if len(string) < 4 else text.stopped)
    assert {text.stopped for text in texts} == {"pattern", "length"}
    assert len(set(strings)) > 20
    assert symbols_of(texts_of(m, 200, Ending(4), 3, constraint=constraint)) == symbols_of(texts)


def test_the_end_of_a_match_counts_when_texts_are_compared():
    m = make("lstm", np.float32, hidden=20, symbols=len(CHARACTERS))
    constraint = matching("[ab-]+1*", CHARACTERS, NONE)
    texts = texts_of(m, 60, Ending(9), 16, prompts=((2,),), constraint=constraint)
    ended = [text for text in texts if text.stopped == "pattern"]
    assert len({len(text.drawn) for text in ended}) > 2
    for text in ended:
        assert text.mean == pytest.approx(mean_log_prob(m, text.drawn, constraint.follows), abs=1e-5)


def test_a_beam_finds_the_likeliest_whole_match():
    """Against all texts that match: the log-probability of the text and of ending there, for each symbol."""
    m = make("lstm", np.float32, hidden=20, symbols=len(CHARACTERS))
    constraint = matching("[ab]{1,3}", CHARACTERS, NONE)
    (wanted,) = wanted_texts(m.network, [(np.array([2]), np.array([2]))], 1, 1)
    found = Beam(m.network, 30, Ending(9), constraint).search(wanted)
    best = max(
        (mean_log_prob(m, [CHARACTERS.index(c) for c in letters], constraint.follows), letters)
        for n in (1, 2, 3)
        for letters in product("ab", repeat=n)
    )
    assert "".join(CHARACTERS[s] for s in found.drawn) == "".join(best[1])
    assert found.mean == pytest.approx(best[0], abs=1e-5)
    assert found.stopped == "pattern"


def mean_log_prob(m, symbols, table):
    """Log-probability for each symbol of a text after the symbol 2; the end (any symbol that ends it) is one more."""
    from charrnn.engine.panels import rows_of
    from charrnn.model.unrolled import Unrolled

    unrolled = Unrolled(m.network, 1, len(symbols) + 1)
    unrolled.forward(np.array([2, *symbols], np.int32)[:, None])
    logs = log_softmax(rows_of(unrolled.logits, len(CHARACTERS))[: len(symbols) + 1])
    state = walk(table, "".join(CHARACTERS[s] for s in symbols))
    ends = np.log(np.exp(logs[-1, table[state] == ENDS]).sum())
    return (sum(logs[k, symbol] for k, symbol in enumerate(symbols)) + ends) / (len(symbols) + 1)
