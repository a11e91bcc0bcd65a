"""The report on a text, against counts and definitions in plain Python."""

import itertools
import json
import lzma
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import check_message, options, prepare, write

from charrnn.cli.report import describe
from charrnn.errors import DataError
from charrnn.text import report
from charrnn.text.data import open_data, read_meta
from charrnn.text.ngrams import WittenBell, held_out_bits
from charrnn.text.report import script


def witten_bell(text, history, symbol, size):
    """p(symbol | history), by the definition."""
    below = witten_bell(text, history[1:], symbol, size) if history else 1 / size
    order = len(history)
    following = [text[k] for k in range(order, len(text)) if text[k - order : k] == history]
    kinds = len(set(following))
    return (following.count(symbol) + kinds * below) / (len(following) + kinds) if following else below


def bits_added(rest, part):
    """Bits of xz's stream for each character that a part adds to the rest."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
    one, both = (len(lzma.compress(t.encode(), lzma.FORMAT_RAW, filters=filters)) for t in (rest, rest + part))
    return 8 * (both - one) / len(part)


def numbers(text):
    return np.array([ord(c) - ord("a") for c in text], np.uint8)


@settings(max_examples=50, deadline=None)
@given(st.text("abcd", min_size=3, max_size=30), st.text("abcde", min_size=1, max_size=8))
def test_simple_models_follow_the_definition_of_witten_and_bell(rest, part):
    for order, found in enumerate(held_out_bits(numbers(rest), numbers(part), 5)):
        text = rest + part
        places = range(len(rest), len(text))
        want = [-math.log2(witten_bell(rest, text[k - order : k], text[k], 5)) for k in places]
        assert found == pytest.approx(sum(want) / len(want), abs=1e-12)


def test_the_probabilities_after_each_history_sum_to_one():
    grams = np.array(list(itertools.product(range(5), repeat=3)))
    for p in WittenBell(numbers("abracadabra"), 5).probabilities(grams):
        assert p.min() > 0
        assert p.reshape(25, 5).sum(1) == pytest.approx(np.ones(25), abs=1e-14)


def test_the_largest_vocabulary_has_no_overflow():
    """The last symbols of all Unicode, three in a row, are known from those before them."""
    rest = np.full(1000, 0x10FFFF, np.uint32)
    assert max(held_out_bits(rest, rest, 0x110000)[1:]) < 0.1


def test_validation_text_is_what_simple_models_are_measured_on(tmp_path):
    text = "".join(f"{k * k} apples and {k} pears\n" for k in range(60))
    rest, part = text[: -(len(text) // 5)], text[-(len(text) // 5) :]
    found = prepare([write(tmp_path / "t", text)], tmp_path / "data", options(val=0.2))["report"]["to_beat"]
    symbols = {c: k for k, c in enumerate(sorted(set(text)))}
    coded = [np.array([symbols[c] for c in piece]) for piece in (rest, part)]
    assert found == {
        "split": "val",
        "learned": len(rest),
        "measured": len(part),
        "orders": held_out_bits(*coded, len(symbols)),
        "xz": bits_added(rest, part),
    }


def test_without_validation_a_tenth_of_the_text_is_held_out_and_no_test_text_is_read(tmp_path):
    text = "the cat sat on the mat. " * 40
    found = prepare([write(tmp_path / "t", text)], tmp_path / "data", options(val=0, test=0.25))["report"]["to_beat"]
    assert (found["split"], found["learned"], found["measured"]) == ("train", 648, 72)
    assert found["xz"] == bits_added(text[:648], text[648:720])


def test_a_text_that_repeats_itself_is_not_known_before_it_was_read(tmp_path):
    """Of new symbols, a model of a text that lacks them knows nothing."""
    found = prepare([write(tmp_path / "t", "ab" * 90 + "cd" * 10)], tmp_path / "data")["report"]["to_beat"]
    assert min(found["orders"]) > 4


@pytest.mark.parametrize("text, enough", [("abc", False), ("abcd", True)])
def test_a_text_too_short_to_learn_from_is_said(tmp_path, text, enough):
    meta = prepare([write(tmp_path / "t", text)], tmp_path / "data", options(val=0))
    assert (meta["report"]["to_beat"]["orders"] != [None] * 3) == enough
    assert ("too short" in describe(meta)[-1]) != enough


def test_a_long_text_is_measured_at_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SAMPLE", 100)
    found = prepare([write(tmp_path / "t", "abcde" * 200)], tmp_path / "data")["report"]["to_beat"]
    assert (found["learned"], found["measured"]) == (90, 10)


def test_xz_reads_one_byte_of_the_rest_when_the_part_is_long(monkeypatch):
    rest, part = "the cat sat on a mat. " * 20, "the cat sat on a mat. " * 3
    assert report.xz_bits(rest.encode(), part.encode(), len(part)) != bits_added(rest[-1:], part)
    monkeypatch.setattr(report, "XZ_SAMPLE", 20)
    assert report.xz_bits(rest.encode(), part.encode(), len(part)) == bits_added(rest[-1:], part)


def test_xz_reads_the_end_of_a_long_rest(monkeypatch):
    monkeypatch.setattr(report, "XZ_SAMPLE", 60)
    rest, part = "".join(f"{k * k} " for k in range(80)), "and 9 more"
    assert report.xz_bits(rest.encode(), part.encode(), 10) == bits_added(rest[-50:], part)


@pytest.mark.parametrize("name", ["to_beat", "lines"])
@pytest.mark.parametrize("part", [{}, [], 3, None])
def test_a_damaged_part_of_the_report_is_a_data_error(folder, name, part):
    meta = read_meta(folder)
    (folder / "meta.json").write_text(json.dumps(meta | {"report": meta["report"] | {name: part}}))
    with pytest.raises(DataError) as error:
        read_meta(folder)
    check_message(error, "damaged", "prepare")


def test_a_report_of_an_older_version_is_said_to_lack_what_is_new(folder):
    meta = read_meta(folder)
    for name in ("to_beat", "lines"):
        meta["report"].pop(name)
    (folder / "meta.json").write_text(
        json.dumps(meta | {"report": meta["report"] | {"sample": 1, "entropy": [], "xz": 2}})
    )
    assert open_data(folder).meta["report"]["xz"] == 2
    assert "older charrnn" in describe(read_meta(folder))[-1]


def test_the_report_counts_characters_and_scripts(tmp_path):
    text = "абв где ab! 中文中 שלום \U0001f600\n" * 7
    found = prepare([write(tmp_path / "t", text)], tmp_path / "data", options(val=0))["report"]
    counts = sorted(Counter(text).items(), key=lambda pair: (-pair[1], pair[0]))
    assert found["commonest"] == [[ord(c), n] for c, n in counts[:10]]
    assert found["rarest"] == [[ord(c), n] for c, n in counts[10:][-10:]]
    assert found["scripts"] == {"Cyrillic": 42, "Hebrew": 28, "Han": 21, "Latin": 14}


def test_a_text_of_two_bytes_a_character_gets_advice(tmp_path):
    prepare([write(tmp_path / "t", "the cat sat\n".encode("utf-16-le") * 9)], tmp_path / "data", options(val=0))
    assert any("try --encoding utf-16-le" in line for line in describe(read_meta(tmp_path / "data")))


def test_a_rare_script_is_shown_by_the_number_of_its_letters(tmp_path):
    prepare([write(tmp_path / "t", "abcd efgh\n" * 3000 + "да\n")], tmp_path / "data", options(val=0))
    assert [line.split(maxsplit=1)[1] for line in describe(read_meta(tmp_path / "data")) if "letters" in line] == [
        "Latin 100.0%, Cyrillic 2"
    ]


@pytest.mark.parametrize(
    "character, want",
    [
        ("字", "Han"),
        ("ß", "Latin"),
        ("ﬁ", "Latin"),
        ("ー", "Katakana"),
        ("ｱ", "Katakana"),
        ("µ", "Greek"),
        ("अ", "Devanagari"),
        ("7", None),
    ],
)
def test_scripts_are_those_of_letters(character, want):
    assert script(ord(character)) == want


def test_bytes_have_no_script(tmp_path):
    found = prepare([write(tmp_path / "t", b"\xff\0ab" * 9)], tmp_path / "data", options(level="byte"))["report"]
    assert found["scripts"] == {}
    assert found["commonest"][0] == [0, 9]


def test_texts_that_are_read_twice_are_named(tmp_path):
    texts = [write(tmp_path / name, b"once upon a time " * 20) for name in ("a.txt", "b.txt")]
    other = write(tmp_path / "c.txt", b"quite another tale " * 20)
    prepare([*texts, other], tmp_path / "data", options(val=0.0), val=[texts[0]])
    lines = "\n".join(describe(read_meta(tmp_path / "data")))
    assert "2 of these files have the text of another one, as b.txt that of a.txt" in lines
    assert "a.txt is in train and in val" in lines
    prepare([texts[0], other], tmp_path / "apart", options(val=0.0))
    assert "copies" not in "\n".join(describe(read_meta(tmp_path / "apart")))
