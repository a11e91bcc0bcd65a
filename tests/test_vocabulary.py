"""Vocabularies against plain Python strings and bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import check_message

from charrnn.errors import DataError
from charrnn.text.vocabulary import Vocabulary


def test_symbols_are_numbered_in_order_of_code_point():
    vocabulary = Vocabulary("char", [ord(c) for c in "zaé€b\n"])
    assert [chr(code) for code in vocabulary.codes] == sorted("zaé€b\n")
    assert vocabulary.encode(vocabulary.codes_of("ab€"), "here").tolist() == [1, 2, 5]


@pytest.mark.parametrize("count, dtype", [(1, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")])
def test_symbols_have_the_smallest_type_that_holds_them(count, dtype):
    vocabulary = Vocabulary("char", range(count))
    assert vocabulary.dtype == np.dtype(dtype)
    last = vocabulary.encode(np.array([count - 1], np.uint32), "here")
    assert (last.dtype, last.tolist()) == (np.dtype(dtype), [count - 1])


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), min_size=1))
def test_decode_undoes_encode_for_any_characters_and_lone_surrogates(text):
    vocabulary = Vocabulary("char", {ord(c) for c in text})
    symbols = vocabulary.encode(vocabulary.codes_of(text), "here")
    assert symbols.tolist() == [sorted(set(text)).index(c) for c in text]
    assert vocabulary.decode(symbols) == text.encode("utf-8", "surrogatepass")


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1))
def test_decode_undoes_encode_for_any_bytes(content):
    vocabulary = Vocabulary("byte", set(content))
    symbols = vocabulary.encode(vocabulary.codes_of(content), "here")
    assert symbols.tolist() == [sorted(set(content)).index(b) for b in content]
    assert vocabulary.decode(symbols) == content


def test_text_at_level_byte_is_taken_as_utf8():
    assert Vocabulary("byte", range(256)).codes_of("é€").tolist() == list("é€".encode())


@pytest.mark.parametrize(
    "level, known, text, found",
    [
        ("char", "ab", "abaжb", "'ж' (U+0436) at position 3 of the prompt"),
        ("char", "ab", "\U0001f600", "'\U0001f600' (U+1F600) at position 0 of the prompt"),
        ("char", "ab", "a\nb\n", "'\\n' (U+000A) at position 1 of the prompt"),
        ("byte", "ab", b"ab\xff", "byte 0xFF at position 2 of the prompt"),
    ],
)
def test_an_unknown_symbol_is_named_with_its_code_and_place(level, known, text, found):
    vocabulary = Vocabulary(level, [ord(c) for c in known])
    with pytest.raises(DataError) as error:
        vocabulary.encode(vocabulary.codes_of(text), "the prompt")
    check_message(error, found)


@pytest.mark.parametrize(
    "level, codes", [("char", []), ("char", [0x110000]), ("byte", [256]), ("word", [1]), ("char", [65, 65])]
)
def test_an_impossible_vocabulary_is_refused(level, codes):
    with pytest.raises(DataError) as error:
        Vocabulary(level, codes)
    check_message(error)


def test_vocabularies_are_equal_when_level_and_symbols_are():
    assert Vocabulary("char", [2, 1]) == Vocabulary("char", [1, 2])
    assert Vocabulary("char", [1, 2]) != Vocabulary("byte", [1, 2])
    assert Vocabulary("char", [1, 2]) != Vocabulary("char", [1, 3])
