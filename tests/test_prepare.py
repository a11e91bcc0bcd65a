"""Texts prepared, against plain Python strings and bytes."""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import ENGLISH, TRICKY, check_message, options, prepare, whole, write

from charrnn.errors import DataError, OutputError
from charrnn.text.data import open_data


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=20, max_size=80), st.sampled_from(["char", "byte"]), st.sampled_from([(0, 0), (0.2, 0.25)]))
def test_the_splits_of_any_text_join_to_the_text(text, level, held_out):
    with tempfile.TemporaryDirectory() as name:
        source, out = write(Path(name, "text"), text), Path(name, "data")
        prepare([source], out, options(level, val=held_out[0], test=held_out[1]))
        data = open_data(out)
        assert whole(data) == text.encode()
        assert len(data.vocabulary) == len(set(text if level == "char" else text.encode()))


def test_line_endings_joiners_marks_and_nul_are_kept_as_they_are(tmp_path):
    text = TRICKY.replace("\ud800", "") * 2
    prepare([write(tmp_path / "t", text)], tmp_path / "data", options())
    assert whole(open_data(tmp_path / "data")) == text.encode()


def test_splits_are_contiguous_with_validation_and_test_at_the_end(tmp_path):
    text = "".join(chr(0x100 + k) for k in range(200))
    prepare([write(tmp_path / "t", text)], tmp_path / "data", options(val=0.25, test=0.125))
    splits = open_data(tmp_path / "data").splits
    assert {name: array[:].tolist() for name, array in splits.items()} == {
        "train": list(range(125)),
        "val": list(range(125, 175)),
        "test": list(range(175, 200)),
    }


def test_without_validation_all_is_for_training(tmp_path):
    meta = prepare([write(tmp_path / "t", ENGLISH)], tmp_path / "data", options(val=0))
    assert meta["splits"] == {"train": 212, "val": 0, "test": 0}
    assert list(open_data(tmp_path / "data").splits) == ["train"]
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["meta.json", "train.npy", "vocab.json"]


def test_meta_names_sizes_and_hashes_of_every_input_in_order(tmp_path):
    contents = {"b.txt": b"zwei\n" * 9, "a.txt": "eins é\n".encode() * 5}
    inputs = [write(tmp_path / name, content) for name, content in contents.items()]
    returned = prepare(inputs, tmp_path / "data", options(val=0.2))
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    assert returned == meta
    assert meta["options"] == {
        "level": "char",
        "encoding": "utf-8",
        "errors": "error",
        "normalize": "none",
        "newlines": "keep",
        "lowercase": False,
        "val": 0.2,
        "test": 0.0,
        "min_count": 0,
        "max_vocab": 0,
        "vocab_from": None,
    }
    others = {"options", "report", "repairs", "left_out"}
    assert {name: value for name, value in meta.items() if name not in others} == {
        "format": "charrnn-data",
        "format_version": 2,
        "level": "char",
        "encoding": "utf-8",
        "symbols": len(set("zwei\neins é")),
        "characters": 80,
        "splits": {"train": 64, "val": 16, "test": 0},
        "inputs": [
            {"name": name, "split": "train", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        ],
        "skipped": [],
    }
    assert whole(open_data(tmp_path / "data")) == contents["b.txt"] + contents["a.txt"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "latin-1", "cp1252", "utf-8-sig"])
def test_other_encodings_give_the_same_symbols_as_utf8(tmp_path, encoding):
    text = "déjà vu – naïve\r\n".replace("–", "-" if encoding == "latin-1" else "–") * 4
    prepare([write(tmp_path / "t", text.encode(encoding))], tmp_path / "data", options(encoding=encoding))
    assert whole(open_data(tmp_path / "data")) == text.encode()


def test_level_byte_ignores_the_encoding(tmp_path):
    content = bytes(range(256)) + b"\xff\xfe\x00\r\n"
    meta = prepare([write(tmp_path / "t", content)], tmp_path / "data", options("byte", val=0))
    data = open_data(tmp_path / "data")
    assert (meta["encoding"], data.splits["train"].dtype, whole(data)) == (None, np.dtype("u1"), content)


@pytest.mark.parametrize(
    "content, encoding, found",
    [
        (b"abc\xff\xfedef", "utf-8", "byte 0xFF at offset 3"),
        (b"abcdefgh\xe2\x82", "utf-8", "bytes 0xE2 0x82 at offset 8"),
        (b"\xef\xbb\xbfab\xff" + b"c" * 20, "utf-8-sig", "byte 0xFF at offset 5"),
        (b"abc\x80", "ascii", "byte 0x80 at offset 3"),
        (b"a\0b\0c", "utf-16-le", "byte 0x63 at offset 4"),
    ],
)
def test_bytes_that_are_no_text_are_named_with_their_offset(tmp_path, content, encoding, found):
    with pytest.raises(DataError) as error:
        prepare([write(tmp_path / "t.txt", content)], tmp_path / "data", options(encoding=encoding))
    check_message(error, found, "t.txt", encoding, "--level byte")
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize("name, reason", [("none.txt", "No such file"), ("empty.txt", "empty"), ("folder", "folder")])
def test_an_input_without_text_is_named(tmp_path, name, reason):
    write(tmp_path / "empty.txt", "")
    (tmp_path / "folder").mkdir()
    good = write(tmp_path / "good.txt", ENGLISH)
    with pytest.raises(DataError) as error:
        prepare([good, tmp_path / name], tmp_path / "data", options())
    check_message(error, name, reason)
    assert not (tmp_path / "data").exists()


def test_a_file_of_nothing_but_a_byte_order_mark_is_called_empty(tmp_path):
    with pytest.raises(DataError) as error:
        prepare([write(tmp_path / "t.txt", b"\xff\xfe")], tmp_path / "data", options(encoding="utf-16"))
    check_message(error, "t.txt", "empty")


@pytest.mark.parametrize("val, test", [(-0.1, 0), (0, -0.1), (1, 0), (0.5, 0.5), (0, 1.5), (float("nan"), 0)])
def test_fractions_out_of_range_are_refused(val, test):
    with pytest.raises(DataError) as error:
        options(val=val, test=test)
    check_message(error, "--val", "--test", f"got {val} and {test}")


@pytest.mark.parametrize(
    "characters, val, test, found",
    [
        (19, 0.1, 0, "got 1 in val of a text of 19; try a longer text, or --val 0"),
        (100, 0.1, 0.01, "got 1 in test of a text of 100; try a longer text, or --test 0"),
        (4, 0.5, 0.25, "got 1 in train of a text of 4; try a longer text"),
        (1, 0, 0, "got 1 in train of a text of 1; try a longer text"),
    ],
)
def test_a_split_that_would_be_left_with_nothing_is_named(tmp_path, characters, val, test, found):
    with pytest.raises(DataError) as error:
        prepare([write(tmp_path / "t", "x" * characters)], tmp_path / "data", options(val=val, test=test))
    check_message(error, found)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"level": "word"},
        {"encoding": "klingon"},
        {"encoding": "hex"},
        {"errors": "ignore"},
        {"normalize": "nfd"},
        {"newlines": "crlf"},
    ],
)
def test_an_unknown_choice_is_refused_with_a_next_step(settings):
    with pytest.raises(DataError) as error:
        options(**settings)
    check_message(error, repr(next(iter(settings.values()))))


@pytest.mark.parametrize(
    "settings",
    [
        {"errors": "skip"},
        {"normalize": "nfc"},
        {"newlines": "lf"},
        {"lowercase": True},
        {"min_count": 2},
        {"max_vocab": 9},
    ],
)
def test_what_is_for_characters_is_refused_for_bytes(settings):
    with pytest.raises(DataError) as error:
        options(level="byte", **settings)
    check_message(error, "level byte")


@pytest.mark.parametrize("settings", [{"min_count": -1}, {"max_vocab": -1}, {"max_vocab": 1}])
def test_impossible_limits_of_the_vocabulary_are_refused(settings):
    with pytest.raises(DataError) as error:
        options(**settings)
    check_message(error, "--min-count", "--max-vocab")


def test_an_older_data_folder_is_replaced_only_when_forced(tmp_path, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = write(tmp_path / "other.txt", "another text " * 20)
    with pytest.raises(OutputError) as error:
        prepare([other], folder, options())
    check_message(error, "--force")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    prepare([other], folder, options(), force=True)
    assert whole(open_data(folder)) == other.read_bytes()


def test_an_input_inside_the_older_data_folder_is_not_deleted(folder):
    source = write(folder / "text.txt", ENGLISH)
    try:
        prepare([source], folder, options(), force=True)
    except OutputError as error:
        assert "try " in str(error)
    assert source.read_text() == ENGLISH
