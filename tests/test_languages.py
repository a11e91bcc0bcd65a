"""Texts of many scripts and habits come through exactly: what was prepared decodes to its source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import TRICKY, options, prepare, round_trip, whole, write

from charrnn.text.data import open_data

TEXTS = {
    "chinese": "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n𠮷野家𠀀\n",
    "russian": "Ёлка, съешь ещё этих мягких французских булок.\n",
    "arabic": "قِفا نَبكِ مِن ذِكرى حَبيبٍ وَمَنزِلِ\u200f\n",
    "hindi": "\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f \u0928\u093f\u0930\u094d\u092e\u0932 \u095b\n",
    "emoji": "👩\u200d👩\u200d👧\u200d👦 👍🏽 🏳️\u200d🌈 🇩🇪\n",
    "line ends": "one\ntwo\r\nthree\rfour\n\r\n\r\x0b\x0c\x85\u2028\u2029",
    "nul": "a\0b\0\0c\n",
    "tricky": TRICKY.replace("\ud800", ""),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("level", ["char", "byte"])
def test_every_script_comes_through(tmp_path, name, level):
    content = (TEXTS[name] * 3).encode()
    assert round_trip(content, tmp_path / "data", level=level, val=0.25, test=0.1) == content


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=20, max_size=200).map(lambda text: text.removeprefix("\ufeff") + "x" * 20))
def test_any_text_comes_through(tmp_path_factory, text):
    assert round_trip(text.encode(), tmp_path_factory.mktemp("any") / "data") == text.encode()


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=20, max_size=200))
def test_any_bytes_come_through_as_surrogate_escapes(tmp_path_factory, content):
    content = b"x" * 20 + content
    assert round_trip(content, tmp_path_factory.mktemp("any") / "data", errors="surrogateescape") == content


def test_ten_megabytes_in_one_line_come_through(tmp_path):
    rng = np.random.default_rng(0)
    content = "".join(map(chr, rng.choice([0x61, 0x416, 0x4E2D, 0x1F600], 4_000_000))).encode()
    assert len(content) > 10_000_000
    assert round_trip(content, tmp_path / "data") == content


@pytest.mark.parametrize(
    "chosen, text, want",
    [
        ({"newlines": "lf"}, "a\r\nb\rc\nd\r\r\n" * 4, "a\nb\nc\nd\n\n" * 4),
        ({"normalize": "nfc"}, "e\u0301 \u0928\u093c\n" * 9, "\u00e9 \u0929\n" * 9),
        ({"normalize": "nfkc"}, "ﬁ ① ｶﾞ\n" * 9, "fi 1 ガ\n" * 9),
        ({"lowercase": True}, "ΟΔΟΣ Ünd ЁЛКА\n" * 9, "οδος ünd ёлка\n" * 9),
        ({"errors": "replace"}, b"ab\xffc\n" * 9, "ab\ufffdc\n" * 9),
        ({"errors": "skip"}, b"ab\xffc\n" * 9, "abc\n" * 9),
    ],
)
def test_forms_are_changed_only_when_asked(tmp_path, chosen, text, want):
    content = text if isinstance(text, bytes) else text.encode()
    assert round_trip(content, tmp_path / "data", **chosen) == want.encode()
    if isinstance(text, str):
        assert round_trip(content, tmp_path / "data") == content


def test_one_byte_order_mark_of_each_file_is_dropped_and_counted(tmp_path):
    first, second = write(tmp_path / "a", "\ufeffone " * 9), write(tmp_path / "b", b"\xef\xbb\xbftwo")
    meta = prepare([first, second], tmp_path / "data", options(val=0))
    assert meta["repairs"]["byte_order_marks"] == 2
    assert whole(open_data(tmp_path / "data")).decode() == ("\ufeffone " * 9)[1:] + "two"
