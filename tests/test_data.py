"""DATA folders: what is in them, and what is said of damaged ones."""

import errno
import json
import os
import pickle

import numpy as np
import pytest
from test_files import failing
from texts import ENGLISH, Touch, check_message, options, prepare, write

from charrnn.errors import DataError
from charrnn.text.data import open_data


def test_splits_are_read_as_slices(folder):
    for name, symbols in open_data(folder).splits.items():
        whole = np.load(folder / f"{name}.npy")
        assert (len(symbols), symbols.dtype) == (len(whole), whole.dtype)
        for part in (slice(None), slice(3, 17), slice(15, 9), slice(5, 10**6), slice(1, None), slice(2, 20, 3)):
            assert symbols[part].tolist() == whole[part].tolist()


@pytest.mark.parametrize(("text", "common"), [("e" * 99 + "x", 1), ("e" * 98 + "xy", 2), ("abcdefgh", 8)])
def test_common_symbols_make_up_99_percent_of_the_text(tmp_path, text, common):
    prepare([write(tmp_path / "text", text)], tmp_path / "data", options(val=0.0))
    assert open_data(tmp_path / "data").common == common


def test_a_file_that_is_cut_short_while_it_is_read_is_a_data_error(folder):
    train = open_data(folder).split("train")
    os.truncate(folder / "train.npy", 128 + 100)
    assert len(train[:100]) == 100
    with pytest.raises(DataError) as error:
        train[50:101]
    check_message(error, "train.npy", "cut short")


def test_a_split_that_is_not_there_is_answered_with_those_that_are(folder):
    with pytest.raises(DataError) as error:
        open_data(folder).split("test")
    check_message(error, "train, val", "'test'")


def test_the_fingerprint_tells_texts_splits_and_levels_apart_but_not_file_names(tmp_path):
    def fingerprint(text, name="t", **chosen):
        out = tmp_path / "data"
        prepare([write(tmp_path / name, text)], out, options(**chosen), force=True)
        return open_data(out).fingerprint

    first = fingerprint(ENGLISH)
    assert fingerprint(ENGLISH, "renamed") == first
    others = [fingerprint(ENGLISH[::-1]), fingerprint(ENGLISH, val=0.2), fingerprint(ENGLISH, level="byte")]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    "name, found", [("none", "does not exist"), ("text.txt", "a file"), ("hollow", "an empty folder")]
)
def test_what_is_no_data_folder_is_said(tmp_path, folder, name, found):
    (tmp_path / "hollow").mkdir()
    with pytest.raises(DataError) as error:
        open_data(tmp_path / name)
    check_message(error, name, found, "charrnn prepare")


def test_data_of_a_newer_format_asks_for_a_newer_charrnn(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format_version": 3, "splits": "something new"}))
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "got 3", "newer charrnn")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"format": "another"}', '{"format": "charrnn-data"}', b"\xff\xfe\x00"]
)
def test_a_damaged_or_foreign_meta_is_a_data_error(folder, content):
    write(folder / "meta.json", content)
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "prepare")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"symbols": []}',
        '{"symbols": ["a"]}',
        '{"level": "char", "symbols": ["ab", "c"], "unknown": null}',
        '{"level": "char", "symbols": [1], "unknown": null}',
        None,
    ],
)
def test_a_damaged_or_missing_vocabulary_is_a_data_error(folder, content):
    (folder / "vocab.json").unlink()
    if content is not None:
        write(folder / "vocab.json", content)
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "prepare")


def test_a_vocabulary_of_impossible_bytes_is_a_data_error(tmp_path):
    prepare([write(tmp_path / "t", "ab" * 20)], tmp_path / "data", options("byte"))
    for symbols in ([97, 256], [97, -1], [97, 97.5], [97, "b"]):
        content = json.loads((tmp_path / "data" / "vocab.json").read_text()) | {"symbols": [97, 98]}
        (tmp_path / "data" / "vocab.json").write_text(json.dumps(content))
        open_data(tmp_path / "data")  # these are possible
        (tmp_path / "data" / "vocab.json").write_text(json.dumps(content | {"symbols": symbols}))
        with pytest.raises(DataError) as error:
            open_data(tmp_path / "data")
        check_message(error, "prepare")


def test_an_array_cut_off_anywhere_is_a_data_error(folder):
    content = (folder / "train.npy").read_bytes()
    assert len(content) == 128 + 190
    for length in (0, 5, 6, 10, 64, 127, 128, 129, 200, 317):
        write(folder / "train.npy", content[:length])
        with pytest.raises(DataError) as error:
            open_data(folder)
        check_message(error, "damaged", "prepare")


def test_a_folder_without_permission_is_not_called_damaged(folder, monkeypatch):
    monkeypatch.setattr("charrnn.text.data.open_splits", failing(errno.EACCES))
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, os.strerror(errno.EACCES), "chmod")
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize(
    "array", [np.zeros(191, np.uint8), np.zeros(190, np.uint16), np.zeros((95, 2), np.uint8), np.zeros(190)]
)
def test_an_array_of_another_shape_or_type_is_a_data_error(folder, array):
    np.save(folder / "train.npy", array)
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "190 symbols of uint8")


def test_a_pickle_in_an_array_is_not_executed(tmp_path, folder):
    pickle.loads(pickle.dumps(Touch(tmp_path / "shown"))).close()
    assert (tmp_path / "shown").exists()
    np.save(folder / "train.npy", np.array([Touch(tmp_path / "executed")] * 190, object), allow_pickle=True)
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "damaged")
    assert not (tmp_path / "executed").exists()
