"""Lines of a text: lists recognised, lines shuffled, line ends told apart."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import ENGLISH, check_message, options, prepare, whole, write

from charrnn.cli.report import describe
from charrnn.errors import DataError, OutputError
from charrnn.text import lines as module
from charrnn.text.data import open_data
from charrnn.text.lines import describe_lines, shuffled_lines
from charrnn.text.vocabulary import Vocabulary

WORDS = [f"{'ab' * (k % 7)}{k}" for k in range(100)]


def shuffled(text, seed=0):
    symbols = np.frombuffer(text.encode(), np.uint8)
    return b"".join(piece.tobytes() for piece in shuffled_lines(symbols, ord("\n"), seed)).decode()


@settings(max_examples=100, deadline=None)
@given(st.text("ab\n", min_size=1, max_size=40).filter(lambda text: "\n" in text), st.integers(0, 2**63 - 1))
def test_shuffled_lines_are_the_same_lines(text, seed):
    """A text without a line break at its end is still without one, and has the same lines."""
    found = shuffled(text, seed)
    is_ended = text.endswith("\n")
    assert found.endswith("\n") or not is_ended
    old, new = (t.removesuffix("\n") if is_ended else t for t in (text, found))
    assert sorted(old.split("\n")) == sorted(new.split("\n"))
    assert shuffled(text, seed) == found


def test_shuffled_lines_come_in_pieces_of_any_size(monkeypatch):
    text = "\n".join(WORDS)
    want = shuffled(text)
    for size in (1, 7, 100):
        monkeypatch.setattr(module, "BLOCK", size)
        assert shuffled(text) == want


def test_every_place_is_as_likely_for_every_line():
    """Of 3 lines, each of the 6 orders comes about as often as the others."""
    seen = Counter(shuffled("a\nb\nc\n", seed) for seed in range(6000))
    assert len(seen) == 6
    assert 880 < min(seen.values()) < max(seen.values()) < 1120


def test_the_order_is_the_same_for_ever():
    """What others have published with a seed must stay the same data."""
    assert shuffled("a\nb\nc\nd\ne\nf\ng\nh", 0).split() == list("cegfbhad")
    assert shuffled("a\nb\nc\nd\ne\nf\ng\nh", 1).split() == list("hebcgfad")


@pytest.mark.parametrize("level", ["char", "byte"])
def test_what_is_held_out_of_shuffled_lines_is_like_the_rest(tmp_path, level):
    """Of sorted lines, the last tenth begins with every letter."""
    source = write(tmp_path / "t", "".join(f"{c}{k}é\n" for c in "abcdefghij" for k in range(100)))
    prepare([source], tmp_path / "data", options(level, shuffle_lines=3))
    data = open_data(tmp_path / "data")
    held_out = data.vocabulary.decode(np.asarray(data.split("val"))).decode().splitlines()
    assert {line[0] for line in held_out[1:]} == set("abcdefghij")
    assert sorted(whole(data).splitlines()) == sorted(source.read_bytes().splitlines())


def test_another_seed_is_another_text_and_none_keeps_the_fingerprint(tmp_path):
    source = write(tmp_path / "t", ENGLISH)
    found = []
    for seed in (None, 0, 1):
        prepare([source], tmp_path / "data", options(shuffle_lines=seed), force=True)
        found.append(open_data(tmp_path / "data").fingerprint)
        assert ("shuffle_lines" in open_data(tmp_path / "data").meta["options"]) == (seed is not None)
    assert len(set(found)) == 3
    for seed in (None, 0):
        with pytest.raises(OutputError) as error:
            prepare([source], tmp_path / "data", options(shuffle_lines=seed))
        check_message(error, "--shuffle-lines")


def test_texts_for_validation_keep_their_order(tmp_path):
    val = write(tmp_path / "v", "\n".join(WORDS))
    source = write(tmp_path / "t", "\n".join(WORDS))
    prepare([source], tmp_path / "data", options(val=0, shuffle_lines=1), val=[val])
    data = open_data(tmp_path / "data")
    train, held_out = (data.vocabulary.decode(np.asarray(data.split(name))) for name in ("train", "val"))
    assert train != held_out == val.read_bytes()


def test_lines_cannot_be_shuffled_where_there_are_none(tmp_path):
    with pytest.raises(DataError) as error:
        prepare([write(tmp_path / "t", "one line " * 9)], tmp_path / "data", options(shuffle_lines=0))
    check_message(error, "--shuffle-lines", "without a line break")
    assert not (tmp_path / "data").exists()


def test_a_vocabulary_without_line_breaks_is_named_as_the_reason(tmp_path):
    text = write(tmp_path / "t", "aaaa\nbbbb\ncccc\n" * 9)
    with pytest.raises(DataError) as error:
        prepare([text], tmp_path / "data", options(shuffle_lines=0, max_vocab=3))
    check_message(error, "without a line break in its vocabulary", "try a larger one")


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(DataError) as error:
        options(shuffle_lines=-1)
    check_message(error, "--seed", "-1")


def lines_of(text):
    vocabulary = Vocabulary("char", {ord(c) for c in text})
    return describe_lines(vocabulary.encode(vocabulary.codes_of(text), "text"), vocabulary)


def test_lines_are_counted_as_they_end():
    assert lines_of("\r\n\nab\r\ncd\n" + "e" * 32 + "\r\n" + "f" * 33 + "\nrest") == {
        **{"count": 6, "short": 3, "empty": 2, "cr_lf": 3, "list": False}
    }
    assert lines_of("no line")["count"] == 0


@pytest.mark.parametrize(
    "text, want",
    [
        ("\n".join(WORDS), True),
        ("\r\n".join(WORDS), True),
        ("\n".join(WORDS[:19]), False),
        ("\n" * 3 + "\n".join(WORDS), False),
        ("".join(f"{word}\n{'long ' * 9}\n" if k % 8 == 0 else f"{word}\n" for k, word in enumerate(WORDS)), False),
        ("\n\n".join("Speaker:\nwhat he says" for _ in WORDS), False),
        (ENGLISH * 9, False),
    ],
)
def test_a_list_is_known_by_its_lines(tmp_path, text, want):
    meta = prepare([write(tmp_path / "t", text)], tmp_path / "data")
    assert meta["report"]["lines"]["list"] is want
    assert any("--stateless" in line for line in describe(meta)) == want


@pytest.mark.parametrize(
    "chosen, want",
    [({}, "1 of 2 are CR LF; --newlines lf makes"), ({"newlines": "lf"}, None), ({"level": "byte"}, None)],
)
def test_line_ends_of_windows_are_mentioned_with_what_to_do(tmp_path, chosen, want):
    meta = prepare([write(tmp_path / "t", "one\r\ntwo\n and more")], tmp_path / "data", options(val=0, **chosen))
    assert (
        [line for line in describe(meta) if "CR LF" in line and want in line]
        if want
        else "CR LF" not in str(describe(meta))
    )
