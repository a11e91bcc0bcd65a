"""Decoding in pieces: equal to decoding at once, whatever the pieces; undecodable bytes; forms of text."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from texts import TRICKY, check_message

from charrnn.errors import DataError, UndecodableError
from charrnn.text.reading import Reading, Repairs, TextForm, read_blocks
from charrnn.text.vocabulary import code_points

FORMS = [TextForm(n, lines, low) for n in ("none", "nfc", "nfkc") for lines in ("keep", "lf") for low in (False, True)]
# Characters that join, reorder or fold with their neighbours, beside plain ones.
DELICATE = (
    "a\u0301\u0323\u0327e\u0345\r\n \u1100\u1161\u11a8\u09c7\u09be\uff76\uff9e"
    "\u03a3\u03c3A.\u00ad\u0130\ufb01\u2126\u4e2d\U0001f469\u200d"
)


def read(content, pieces, reading, repairs=None):
    blocks = [content[low:high] for low, high in zip([0, *pieces], [*pieces, len(content)], strict=True)]
    found = list(read_blocks(blocks, "the file", reading, repairs or Repairs()))
    return [int(code) for piece in found for code in piece]


def expected(text, form):
    return code_points(form.apply(text)).tolist()


@st.composite
def cut_texts(draw):
    text = draw(st.one_of(st.text(st.sampled_from(DELICATE), max_size=40), st.text(max_size=40)))
    text = text.removeprefix("\ufeff")
    size = len(text.encode())
    return text, sorted(draw(st.lists(st.integers(0, size), max_size=6)))


@settings(max_examples=400, deadline=None)
@given(cut_texts(), st.sampled_from([f for f in FORMS if not f.lowercase]))
@example(("e\r\n\u0301", [2, 3]), TextForm("nfc", "lf"))
@example(("\uff76\uff9e", [3]), TextForm("nfkc"))
@example(("\u1100\u1161\u11a8", [3, 6]), TextForm("nfc"))
def test_pieces_give_what_the_whole_gives(cut, form):
    text, pieces = cut
    whole = unicodedata.normalize(form.normalize.upper(), text) if form.normalize != "none" else text
    if form.newlines == "lf":
        whole = whole.replace("\r\n", "\n").replace("\r", "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.reading.LONG_WORD", 0)
        assert read(text.encode(), pieces, Reading(form=form)) == code_points(whole).tolist()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from(DELICATE.replace("\r", "")), min_size=1, max_size=9), max_size=8), st.data())
def test_lower_case_in_pieces_is_that_of_the_whole(words, data):
    """Cut anywhere: between words and in them, where a Greek sigma takes another form, and in characters."""
    text = " ".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text.encode())), max_size=4)))
    form = TextForm(lowercase=True)
    assert read(text.encode(), cuts, Reading(form=form)) == code_points(text.lower()).tolist()


def test_a_sigma_at_the_end_of_a_piece_keeps_the_form_its_word_gives_it():
    text = "ΟΔΟΣ ΟΔΟΣΑ"
    for cut in range(len(text.encode()) + 1):
        assert read(text.encode(), [cut], Reading(form=TextForm(lowercase=True))) == code_points("οδος οδοσα").tolist()


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-be", "utf-32", "gb18030", "shift_jis", "koi8-r", "utf-7", "big5"]
)
def test_other_encodings_in_pieces_of_one_byte(encoding):
    text = {"shift_jis": "日本語 abc\r\n", "big5": "中文 abc\n", "koi8-r": "Привет\n"}.get(
        encoding, "Grüße, 中文, пока\n"
    )
    content = text.encode(encoding)
    found = read(content, range(1, len(content)), Reading(encoding=encoding))
    assert found == code_points(text).tolist()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_surrogate_escapes_keep_every_byte(content, cuts):
    pieces = sorted(min(cut, len(content)) for cut in cuts)
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    assert read(content, pieces, Reading(errors="surrogateescape")) == code_points(text).tolist()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30), st.lists(st.integers(0, 30), max_size=5), st.sampled_from(["replace", "skip"]))
def test_undecodable_bytes_are_replaced_or_skipped_as_python_does(content, cuts, errors):
    pieces = sorted(min(cut, len(content)) for cut in cuts)
    text = content.decode("utf-8", {"replace": "replace", "skip": "ignore"}[errors]).removeprefix("\ufeff")
    assert read(content, pieces, Reading(errors=errors)) == code_points(text).tolist()


def test_repairs_are_counted():
    repairs = Repairs()
    read(b"\xef\xbb\xbfab\xff\xfe c\xe2\x82 d", [6, 9], Reading(errors="replace"), repairs)
    assert vars(repairs) == {"places": 3, "bytes": 4, "byte_order_marks": 1}


@pytest.mark.parametrize(
    "content, encoding, found",
    [
        (b"ab\xff" + b"c" * 9, "utf-8", "byte 0xFF at offset 2"),
        (b"abcd\xe2\x82", "utf-8", "bytes 0xE2 0x82 at offset 4"),
        ("aé".encode("utf-16"), "utf-8", "try --encoding utf-16"),
        (b"ab\x81\xff", "shift_jis", "at offset 2"),
    ],
)
def test_an_undecodable_byte_is_placed_right_whatever_the_pieces(content, encoding, found):
    for pieces in ([], range(1, len(content)), [2], [3]):
        with pytest.raises(DataError) as error:
            read(content, list(pieces), Reading(encoding=encoding))
        check_message(error, found, "the file")


def test_one_byte_order_mark_at_the_beginning_is_dropped():
    assert read("\ufeff\ufeffa\ufeff".encode(), [1, 2], Reading()) == [0xFEFF, 0x61, 0xFEFF]
    assert read(b"\xef\xbb\xbfa", [], Reading("byte")) == [0xEF, 0xBB, 0xBF, 0x61]


def test_the_form_of_a_prompt_is_that_of_the_text():
    text = TRICKY.replace("\ud800", "")
    for form in FORMS:
        assert read(text.encode(), [], Reading(form=form)) == expected(text, form)


@pytest.mark.parametrize("form", [TextForm("nfc"), TextForm("nfkc"), TextForm("nfc", lowercase=True)])
def test_long_texts_without_white_space_are_folded_in_pieces(form):
    text = "中文e\u0301가\u1100\u1161\u11a8" * 30_000
    pieces = range(50_001, len(text.encode()), 50_001)
    assert read(text.encode(), pieces, Reading(form=form)) == expected(text, form)


@pytest.mark.parametrize(
    "content, encoding, found",
    [
        ("abc".encode("utf-16-le"), "utf-16", "try --encoding utf-16-le"),
        ("abc".encode("utf-32-le"), "utf-32", "try --encoding utf-32-le"),
        ("aé".encode("utf-32"), "utf-8", "try --encoding utf-32"),
        (b"\x1f\x8b\x08rest", "utf-8", ".gz"),
        (b"xn--a-ecp.ru", "idna", "another --encoding"),
    ],
)
def test_what_codecs_cannot_read_is_said_with_a_next_step(content, encoding, found):
    with pytest.raises(DataError) as error:
        read(content, [], Reading(encoding=encoding))
    check_message(error, found, "the file")


def test_a_very_long_run_of_marks_is_cut_in_the_end():
    text = "a" + "\u0301" * 200_000
    pieces = range(10_000, len(text.encode()), 10_000)
    assert len(read(text.encode(), pieces, Reading(form=TextForm("nfc")))) == len(text) - 1


@pytest.mark.parametrize(
    ("form", "folds"), [(TextForm(), False), (TextForm(newlines="lf"), False), (TextForm(lowercase=True), True)]
)
def test_a_form_says_whether_more_than_line_ends_may_change(form, folds):
    assert form.folds is folds


PACKED = [(b"BZh91AY&SY\xff", ".bz2"), (b"\xfd7zXZ\0", ".xz"), (b"PK\x03\x04\x14\0\xff", "zip"), (b"\x1f\x8b", ".gz")]


@pytest.mark.parametrize(("begin", "hint"), PACKED)
def test_what_is_compressed_is_recognised_by_its_first_bytes(begin, hint):
    with pytest.raises(UndecodableError, match=hint):
        read(begin, [], Reading())
