"""Text: vocabularies, prepared folders and the streams that training reads, against plain Python strings and bytes."""

import hashlib
import json
import pickle
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CharRNNError, DataError, OutputError
from charrnn.text.data import open_data
from charrnn.text.prepare import PrepareOptions, prepare
from charrnn.text.streams import Streams
from charrnn.text.vocabulary import Vocabulary

TRICKY = "a\0b\r\nc\rd\n\n\te\u0301\u00e9 \U0001f469\u200d\U0001f4bb\ufeff \u2028\x85 \u05d0\u202e \U0010ffff\ud800"
ENGLISH = "It was the best of times, it was the worst of times.\n" * 4


def check_message(error, *parts):
    """One line: what was expected, what came, what to try; and the parts that make it helpful."""
    message = str(error.value)
    assert "\n" not in message
    for part in ("expected ", "got ", "try ", *parts):
        assert part in message
    assert message.index("expected ") == 0


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def folder(tmp_path):
    """A DATA folder of ENGLISH, of 190 characters to train on and 22 for validation."""
    prepare([write(tmp_path / "text.txt", ENGLISH)], tmp_path / "data", PrepareOptions(val=22.5 / 212))
    return tmp_path / "data"


def whole(data):
    """The text of all splits, in order."""
    return b"".join(
        data.vocabulary.decode(data.splits[name]) for name in ("train", "val", "test") if name in data.splits
    )


# ---------------------------------------------------------------------------------------------- vocabulary


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


# ------------------------------------------------------------------------------------------------- prepare


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=20, max_size=80), st.sampled_from(["char", "byte"]), st.sampled_from([(0, 0), (0.2, 0.25)]))
def test_the_splits_of_any_text_join_to_the_text(text, level, held_out):
    with tempfile.TemporaryDirectory() as name:
        source, out = write(Path(name, "text"), text), Path(name, "data")
        prepare([source], out, PrepareOptions(level, val=held_out[0], test=held_out[1]))
        data = open_data(out)
        assert whole(data) == text.encode()
        assert len(data.vocabulary) == len(set(text if level == "char" else text.encode()))


def test_line_endings_joiners_marks_and_nul_are_kept_as_they_are(tmp_path):
    text = TRICKY.replace("\ud800", "") * 2
    prepare([write(tmp_path / "t", text)], tmp_path / "data", PrepareOptions())
    assert whole(open_data(tmp_path / "data")) == text.encode()


def test_splits_are_contiguous_with_validation_and_test_at_the_end(tmp_path):
    text = "".join(chr(0x100 + k) for k in range(200))
    prepare([write(tmp_path / "t", text)], tmp_path / "data", PrepareOptions(val=0.25, test=0.125))
    splits = open_data(tmp_path / "data").splits
    assert {name: array.tolist() for name, array in splits.items()} == {
        "train": list(range(125)),
        "val": list(range(125, 175)),
        "test": list(range(175, 200)),
    }


def test_without_validation_all_is_for_training(tmp_path):
    meta = prepare([write(tmp_path / "t", ENGLISH)], tmp_path / "data", PrepareOptions(val=0))
    assert meta["splits"] == {"train": 212, "val": 0, "test": 0}
    assert list(open_data(tmp_path / "data").splits) == ["train"]
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["meta.json", "train.npy", "vocab.json"]


def test_meta_names_sizes_and_hashes_of_every_input_in_order(tmp_path):
    contents = {"b.txt": b"zwei\n" * 9, "a.txt": "eins é\n".encode() * 5}
    inputs = [write(tmp_path / name, content) for name, content in contents.items()]
    returned = prepare(inputs, tmp_path / "data", PrepareOptions(val=0.2))
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    assert returned == meta
    assert meta == {
        "format": "charrnn-data",
        "format_version": 1,
        "level": "char",
        "encoding": "utf-8",
        "symbols": len(set("zwei\neins é")),
        "characters": 80,
        "splits": {"train": 64, "val": 16, "test": 0},
        "inputs": [
            {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        ],
    }
    assert whole(open_data(tmp_path / "data")) == contents["b.txt"] + contents["a.txt"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "latin-1", "cp1252", "utf-8-sig"])
def test_other_encodings_give_the_same_symbols_as_utf8(tmp_path, encoding):
    text = "déjà vu – naïve\r\n".replace("–", "-" if encoding == "latin-1" else "–") * 4
    prepare([write(tmp_path / "t", text.encode(encoding))], tmp_path / "data", PrepareOptions(encoding=encoding))
    assert whole(open_data(tmp_path / "data")) == text.encode()


def test_level_byte_ignores_the_encoding(tmp_path):
    content = bytes(range(256)) + b"\xff\xfe\x00\r\n"
    meta = prepare([write(tmp_path / "t", content)], tmp_path / "data", PrepareOptions("byte", val=0))
    data = open_data(tmp_path / "data")
    assert (meta["encoding"], data.splits["train"].dtype, whole(data)) == (None, np.dtype("u1"), content)


@pytest.mark.parametrize(
    "content, encoding, found",
    [
        (b"abc\xff\xfedef", "utf-8", "bytes ff at offset 3"),
        (b"abcdefgh\xe2\x82", "utf-8", "bytes e2 82 at offset 8"),
        (b"\xef\xbb\xbfab\xff" + b"c" * 20, "utf-8-sig", "bytes ff at offset 5"),
        (b"abc\x80", "ascii", "bytes 80 at offset 3"),
        (b"a\0b\0c", "utf-16-le", "bytes 63 at offset 4"),
    ],
)
def test_bytes_that_are_no_text_are_named_with_their_offset(tmp_path, content, encoding, found):
    with pytest.raises(DataError) as error:
        prepare([write(tmp_path / "t.txt", content)], tmp_path / "data", PrepareOptions(encoding=encoding))
    check_message(error, found, "t.txt", encoding, "--level byte")
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize("name, reason", [("none.txt", "No such file"), ("empty.txt", "empty"), ("folder", "folder")])
def test_an_input_without_text_is_named(tmp_path, name, reason):
    write(tmp_path / "empty.txt", "")
    (tmp_path / "folder").mkdir()
    good = write(tmp_path / "good.txt", ENGLISH)
    with pytest.raises(DataError) as error:
        prepare([good, tmp_path / name], tmp_path / "data", PrepareOptions())
    check_message(error, name, reason)
    assert not (tmp_path / "data").exists()


def test_a_file_of_nothing_but_a_byte_order_mark_is_called_empty(tmp_path):
    with pytest.raises(DataError) as error:
        prepare([write(tmp_path / "t.txt", b"\xff\xfe")], tmp_path / "data", PrepareOptions(encoding="utf-16"))
    check_message(error, "t.txt", "empty")


@pytest.mark.parametrize("val, test", [(-0.1, 0), (0, -0.1), (1, 0), (0.5, 0.5), (0, 1.5), (float("nan"), 0)])
def test_fractions_out_of_range_are_refused(val, test):
    with pytest.raises(DataError) as error:
        PrepareOptions(val=val, test=test)
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
        prepare([write(tmp_path / "t", "x" * characters)], tmp_path / "data", PrepareOptions(val=val, test=test))
    check_message(error, found)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("settings", [{"level": "word"}, {"encoding": "klingon"}, {"encoding": "hex"}])
def test_an_unknown_level_or_encoding_is_refused_with_a_next_step(settings):
    with pytest.raises(DataError) as error:
        PrepareOptions(**settings)
    check_message(error, repr(next(iter(settings.values()))))


def test_an_older_data_folder_is_replaced_only_when_forced(tmp_path, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = write(tmp_path / "other.txt", "another text " * 20)
    with pytest.raises(OutputError) as error:
        prepare([other], folder, PrepareOptions())
    check_message(error, "--force")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    prepare([other], folder, PrepareOptions(), force=True)
    assert whole(open_data(folder)) == other.read_bytes()


def test_an_input_inside_the_older_data_folder_is_not_deleted(folder):
    source = write(folder / "text.txt", ENGLISH)
    try:
        prepare([source], folder, PrepareOptions(), force=True)
    except OutputError as error:
        assert "try " in str(error)
    assert source.read_text() == ENGLISH


# --------------------------------------------------------------------------------------------- DATA folders


def test_splits_are_memory_mapped_and_read_only(folder):
    for array in open_data(folder).splits.values():
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable


def test_a_split_that_is_not_there_is_answered_with_those_that_are(folder):
    with pytest.raises(DataError) as error:
        open_data(folder).split("test")
    check_message(error, "train, val", "'test'")


def test_the_fingerprint_tells_texts_splits_and_levels_apart_but_not_file_names(tmp_path):
    def fingerprint(text, name="t", **options):
        out = tmp_path / "data"
        prepare([write(tmp_path / name, text)], out, PrepareOptions(**options), force=True)
        return open_data(out).fingerprint

    first = fingerprint(ENGLISH)
    assert fingerprint(ENGLISH, "renamed") == first
    others = [fingerprint(ENGLISH[::-1]), fingerprint(ENGLISH, val=0.2), fingerprint(ENGLISH, level="byte")]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    "name, found", [("none", "nothing there"), ("text.txt", "a file"), ("hollow", "without meta.json")]
)
def test_what_is_no_data_folder_is_said(tmp_path, folder, name, found):
    (tmp_path / "hollow").mkdir()
    with pytest.raises(DataError) as error:
        open_data(tmp_path / name)
    check_message(error, name, found, "charrnn prepare")


def test_data_of_a_newer_format_asks_for_a_newer_charrnn(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format_version": 2, "splits": "something new"}))
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "got 2", "newer charrnn")


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
        '{"symbols": ["ab", "c"]}',
        '{"symbols": [1]}',
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
    prepare([write(tmp_path / "t", "ab" * 20)], tmp_path / "data", PrepareOptions("byte"))
    for symbols in ([97, 256], [97, -1], [97, 97.5], [97, "b"]):
        (tmp_path / "data" / "vocab.json").write_text(json.dumps({"level": "byte", "symbols": symbols}))
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


@pytest.mark.parametrize(
    "array", [np.zeros(191, np.uint8), np.zeros(190, np.uint16), np.zeros((95, 2), np.uint8), np.zeros(190)]
)
def test_an_array_of_another_shape_or_type_is_a_data_error(folder, array):
    np.save(folder / "train.npy", array)
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "190 symbols of uint8")


class Touch:
    """Something whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_in_an_array_is_not_executed(tmp_path, folder):
    pickle.loads(pickle.dumps(Touch(tmp_path / "shown"))).close()
    assert (tmp_path / "shown").exists()
    np.save(folder / "train.npy", np.array([Touch(tmp_path / "executed")] * 190, object), allow_pickle=True)
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "damaged")
    assert not (tmp_path / "executed").exists()


# ------------------------------------------------------------------------------------------------- streams


@st.composite
def readings(draw):
    """Length of a text, batch and seq_len, such that the text is long enough."""
    batch, seq_len = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    return batch * seq_len + 1 + draw(st.integers(0, 60)), batch, seq_len


@settings(max_examples=150, deadline=None)
@given(readings(), st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_chunks_are_plain_slices_and_predict_each_character_once(reading, dtype):
    length, batch, seq_len = reading
    text = list(range(length))  # every character another, so that equal means the same place
    streams = Streams(np.array(text, dtype), batch, seq_len)
    piece = (length - 1) // batch
    assert streams.steps == piece
    predicted = [[] for _ in range(batch)]
    lengths = []
    for position in range(0, piece, seq_len):
        inputs, targets = streams.chunk(position)
        lengths.append(len(inputs))
        for b in range(batch):
            start = b * piece + position
            end = min(start + seq_len, (b + 1) * piece)
            assert inputs[:, b].tolist() == text[start:end]
            assert targets[:, b].tolist() == text[start + 1 : end + 1]
            predicted[b] += targets[:, b].tolist()
    assert predicted == [text[b * piece + 1 : (b + 1) * piece + 1] for b in range(batch)]
    assert [symbol for stream in predicted for symbol in stream] == text[1 : batch * piece + 1]
    assert len(lengths) == streams.chunks
    assert lengths[:-1] == [seq_len] * (len(lengths) - 1)
    assert lengths[-1] == piece - seq_len * (len(lengths) - 1)


def test_streams_read_a_memory_mapped_split(folder):
    train = open_data(folder).split("train")
    inputs, targets = Streams(train, 3, 10).chunk(60)
    assert inputs.shape == targets.shape == (3, 3)  # (190 - 1) // 3 = 63 steps
    assert inputs.T.tolist() == [train[start : start + 3].tolist() for start in (60, 123, 186)]
    assert targets.T.tolist() == [train[start : start + 3].tolist() for start in (61, 124, 187)]


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 300), st.integers(1, 100), st.integers(1, 100))
def test_a_text_is_refused_only_if_too_short_and_the_sizes_proposed_then_fit(length, batch, seq_len):
    text = np.zeros(length, np.uint8)
    if length > batch * seq_len:
        assert Streams(text, batch, seq_len).steps >= seq_len
        return
    with pytest.raises(DataError) as error:
        Streams(text, batch, seq_len)
    check_message(error, f"{batch * seq_len} characters", f"got {length};")
    proposed = re.search(r"--batch (\d+) --seq-len (\d+)$", str(error.value))
    fitting = Streams(text, int(proposed[1]), int(proposed[2]))
    assert fitting.batch <= batch
    assert fitting.seq_len <= seq_len


def test_every_text_error_is_one_that_the_command_line_reports():
    assert issubclass(DataError, CharRNNError)
    assert issubclass(OutputError, CharRNNError)
