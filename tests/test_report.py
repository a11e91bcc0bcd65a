"""The report on a text, against counts and definitions in plain Python."""

import lzma
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import options, prepare, write

from charrnn.text.report import entropies, script


def conditional_entropy(text, order):
    """H(next | the `order` symbols before), by the definition."""
    pairs = Counter((text[k - order : k], text[k]) for k in range(order, len(text)))
    contexts = Counter(text[k - order : k] for k in range(order, len(text)))
    return -sum(n * math.log2(n / contexts[context]) for (context, _), n in pairs.items()) / (len(text) - order)


@settings(max_examples=80, deadline=None)
@given(st.text("abcd", min_size=1, max_size=60))
def test_entropies_follow_their_definition(text):
    found = entropies(np.array([ord(c) - 97 for c in text]), 4)
    for order, value in enumerate(found):
        if len(text) <= order:
            assert value is None
        else:
            assert value == pytest.approx(conditional_entropy(text, order), abs=1e-12)


def test_the_report_counts_characters_and_scripts(tmp_path):
    text = "абв где ab! 中文中 שלום \U0001f600\n" * 7
    report = prepare([write(tmp_path / "t", text)], tmp_path / "data", options(val=0))["report"]
    counts = sorted(Counter(text).items(), key=lambda pair: (-pair[1], pair[0]))
    assert report["commonest"] == [[ord(c), n] for c, n in counts[:10]]
    assert report["rarest"] == [[ord(c), n] for c, n in counts[10:][-10:]]
    assert report["scripts"] == {"Cyrillic": 42, "Hebrew": 28, "Han": 21, "Latin": 14}
    assert report["xz"] == 8 * len(lzma.compress(text.encode())) / len(text)
    assert report["sample"] == len(text)


@pytest.mark.parametrize(
    "character, want", [("字", "Han"), ("ß", "Latin"), ("ﬁ", "Latin"), ("अ", "Devanagari"), ("7", None)]
)
def test_scripts_are_those_of_letters(character, want):
    assert script(ord(character)) == want


def test_bytes_have_no_script(tmp_path):
    report = prepare([write(tmp_path / "t", b"\xff\0ab" * 9)], tmp_path / "data", options(level="byte"))["report"]
    assert report["scripts"] == {}
    assert report["commonest"][0] == [0, 9]
