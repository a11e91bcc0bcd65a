"""What a text has in common with another one, against a search of all substrings."""

import numpy as np
import pytest

from charrnn.sampling.novelty import Overlap


def longest_by_search(text, other):
    """For each place the longest passage up to there that stands in the other text."""
    found = []
    for i in range(len(text)):
        length = i + 1
        while length and text[i + 1 - length : i + 1] not in other:
            length -= 1
        found.append(length)
    return found


def overlap(text, *parts):
    return Overlap(np.array(list(map(ord, text))), [np.array(list(map(ord, part)), np.uint32) for part in parts])


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("symbols", [1, 2, 4, 26])
def test_each_place_has_its_longest_passage(seed, symbols):
    rng = np.random.default_rng(seed)
    text, other = ("".join(map(chr, rng.integers(97, 97 + symbols, rng.integers(1, 90)))) for _ in range(2))
    cut = int(rng.integers(0, len(other) + 1))
    found = overlap(text, other[:cut], other[cut:])
    assert found.found.tolist() == longest_by_search(text, other)
    for i, (length, end) in enumerate(zip(found.found, found.ends, strict=True)):
        if length:
            assert other[end + 1 - length : end + 1] == text[i + 1 - length : i + 1]
    for n in (1, 2, 4, 8):
        grams = [text[i : i + n] for i in range(len(text) - n + 1)]
        share = sum(gram not in other for gram in grams) / len(grams) if grams else None
        assert found.new_share(n) == pytest.approx(share)


def test_the_longest_passages_come_first_with_their_places():
    other = "the cat sat on the mat. a dog ran off."
    text = "xx cat sat on yy dog ran zz the mat."
    passages = overlap(text, other).passages(3, least=4)
    assert [text[p.start : p.start + p.length] for p in passages] == [" cat sat on ", " dog ran ", " the mat."]
    assert [other[p.there : p.there + p.length] for p in passages] == [" cat sat on ", " dog ran ", " the mat."]


def test_nothing_in_common_is_all_new():
    found = overlap("aaaa", "bbbb")
    assert (found.found.tolist(), found.new_share(2), found.passages(5)) == ([0] * 4, 1.0, [])


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="1 to"):
        Overlap(np.zeros(0, np.int32), [])
