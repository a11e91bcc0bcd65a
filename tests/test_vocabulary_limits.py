"""Vocabularies that leave characters out, or are taken from elsewhere; splits with texts of their own."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from texts import ENGLISH, check_message, options, prepare, whole, write

from charrnn.errors import DataError, OutputError
from charrnn.text.data import open_data
from charrnn.text.vocabulary import Vocabulary

ZOO = "the quick brown fox jumps over the lazy dog\n" * 9 + "ÀÁÂÂ"


@settings(max_examples=60, deadline=None)
@example("aaaaa\n\n\n\n\nbbbbbccccc", 6, 0)
@given(st.text(st.sampled_from("aaaabbbcce\ufffd\n"), min_size=20, max_size=60), st.integers(0, 6), st.integers(0, 6))
def test_rare_characters_become_the_unknown_symbol(tmp_path_factory, text, min_count, max_vocab):
    """Against a count in plain Python: at least min_count times, and the commonest, ties by code point."""
    if max_vocab == 1:
        return
    tmp_path = tmp_path_factory.mktemp("limits")
    arguments = [write(tmp_path / "t", text)], tmp_path / "data"
    counts = Counter(text)
    kept = {c for c in counts if counts[c] >= min_count}
    limited = len(kept) < len(counts) or (max_vocab and len(kept) > max_vocab)
    if limited and not kept - {"\ufffd"}:
        with pytest.raises(DataError, match="try a smaller --min-count"):
            prepare(*arguments, options(val=0, min_count=min_count, max_vocab=max_vocab))
        return
    meta = prepare(*arguments, options(val=0, min_count=min_count, max_vocab=max_vocab))
    if limited:
        ranked = sorted(kept - {"\ufffd"}, key=lambda c: (-counts[c], c))
        kept = set(ranked[: max_vocab - 1] if max_vocab else ranked) | {"\ufffd"}
    data = open_data(tmp_path / "data")
    assert [chr(c) for c in data.vocabulary.codes] == sorted(kept)
    assert data.vocabulary.has_unknown == bool(limited)
    assert whole(data).decode() == "".join(c if c in kept else "\ufffd" for c in text)
    gone = [c for c in text if c not in kept]
    assert meta["left_out"] == {"symbols": len(set(gone)), "characters": len(gone)}


def test_a_frozen_vocabulary_gives_the_same_numbers(tmp_path):
    first = prepare([write(tmp_path / "a", ZOO)], tmp_path / "first")
    frozen = open_data(tmp_path / "first").vocabulary
    prepare([write(tmp_path / "b", "good frozen fox" * 3)], tmp_path / "second", options(vocabulary=frozen))
    second = open_data(tmp_path / "second")
    assert second.vocabulary == frozen
    assert second.meta["symbols"] == first["symbols"]
    assert whole(second) == b"good frozen fox" * 3


def test_characters_outside_a_frozen_vocabulary_are_named_or_unknown(tmp_path):
    text = write(tmp_path / "t", "abcabd€€ab" * 4)
    with pytest.raises(DataError) as error:
        prepare([text], tmp_path / "data", options(vocabulary=Vocabulary("char", [97, 98, 99])))
    check_message(error, "12 others (2 different)", "'€' (U+20AC)", "--vocab-from", "--init-from")
    assert not (tmp_path / "data").exists()
    frozen = Vocabulary("char", [97, 98, 99, 0xFFFD], has_unknown=True)
    meta = prepare([text], tmp_path / "data", options(vocabulary=frozen))
    assert meta["left_out"] == {"symbols": 2, "characters": 12}
    assert whole(open_data(tmp_path / "data")).decode() == "abcab\ufffd\ufffd\ufffdab" * 4


def test_a_frozen_vocabulary_of_the_other_level_is_refused():
    with pytest.raises(DataError) as error:
        options(level="byte", vocabulary=Vocabulary("char", [97]))
    check_message(error, "--level char")


def test_a_frozen_vocabulary_and_limits_exclude_each_other():
    with pytest.raises(DataError) as error:
        options(min_count=2, vocabulary=Vocabulary("char", [97]))
    check_message(error, "--vocab-from")


@pytest.mark.parametrize("policy, want", [("skip", "abba"), ("replace", "a\ufffdbba\ufffd")])
def test_unknown_characters_are_skipped_or_replaced(policy, want):
    vocabulary = Vocabulary("char", [97, 98, 0xFFFD], has_unknown=True)
    symbols = vocabulary.encode(vocabulary.codes_of("aжbba€"), "the prompt", policy)
    assert vocabulary.decode(symbols).decode() == want


def test_replacing_without_an_unknown_symbol_is_refused():
    vocabulary = Vocabulary("char", [97, 98])
    with pytest.raises(DataError) as error:
        vocabulary.encode(vocabulary.codes_of("abж"), "the prompt", "replace")
    check_message(error, "'ж' (U+0436) at position 2", "--unknown skip")


def test_a_hundred_thousand_symbols_are_numbered(tmp_path):
    codes = [c for c in range(0x20, 0x30000) if not 0xD800 <= c < 0xE000][:100_000]
    text = "".join(map(chr, np.random.default_rng(0).permutation(codes)))
    prepare([write(tmp_path / "t", text)], tmp_path / "data", options(val=0.5))
    data = open_data(tmp_path / "data")
    assert (len(data.vocabulary), data.splits["train"].dtype) == (100_000, np.dtype("u4"))
    assert whole(data).decode() == text


# ----------------------------------------------------------------------------------------------------- splits


def test_validation_and_test_may_have_texts_of_their_own(tmp_path):
    names = {name: write(tmp_path / name, f"{name} text " * 5) for name in ("train", "val", "test")}
    meta = prepare(
        [names["train"]], tmp_path / "data", options(val=0), val=[names["val"]], test=[names["test"], names["val"]]
    )
    data = open_data(tmp_path / "data")
    texts = {name: data.vocabulary.decode(np.asarray(array)).decode() for name, array in data.splits.items()}
    assert texts == {"train": "train text " * 5, "val": "val text " * 5, "test": "test text " * 5 + "val text " * 5}
    assert [(i["name"], i["split"]) for i in meta["inputs"]] == [
        ("train", "train"),
        ("val", "val"),
        ("test", "test"),
        ("val", "test"),
    ]


def test_a_fraction_and_a_text_of_its_own_go_together(tmp_path):
    text, own = write(tmp_path / "t", "x" * 90 + "y" * 10), write(tmp_path / "v", "zz")
    prepare([text], tmp_path / "data", options(val=0, test=0.1), val=[own])
    splits = open_data(tmp_path / "data").splits
    assert {name: len(array) for name, array in splits.items()} == {"train": 90, "val": 2, "test": 10}
    assert splits["test"][:].tolist() == [1] * 10


# ------------------------------------------------------------------------------------------------ never stale


def test_the_same_command_again_finds_the_folder_up_to_date(tmp_path):
    from texts import prepare_inputs

    from charrnn.text.job import Inputs

    def state(path):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    text = write(tmp_path / "t", ENGLISH)
    made, was_there = prepare_inputs(Inputs([text]), tmp_path / "data", options())
    before = {path.name: state(path) for path in (tmp_path / "data").iterdir()}
    found, is_there = prepare_inputs(Inputs([text]), tmp_path / "data", options())
    assert (was_there, is_there) == (False, True)
    assert found == made
    assert {path.name: state(path) for path in (tmp_path / "data").iterdir()} == before


@pytest.mark.parametrize(
    "chosen, names, content, found",
    [
        ({"val": 0.2}, ["t", "u"], ENGLISH, "--val"),
        ({"lowercase": True, "min_count": 2}, ["t", "u"], ENGLISH, "--lowercase, --min-count"),
        ({}, ["t", "u"], ENGLISH + "!", "t (changed)"),
        ({}, ["t"], ENGLISH, "u (gone)"),
        ({}, ["t", "u", "w"], ENGLISH, "w (new)"),
        ({}, ["u", "t"], ENGLISH, "the order of the inputs"),
    ],
)
def test_what_changed_is_said_and_nothing_rebuilt_without_force(tmp_path, chosen, names, content, found):
    files = {name: write(tmp_path / name, ENGLISH if name == "t" else f"another text {name}\n" * 4) for name in "tuw"}
    prepare([files["t"], files["u"]], tmp_path / "data")
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    write(tmp_path / "t", content)
    with pytest.raises(OutputError) as error:
        prepare([files[name] for name in names], tmp_path / "data", options(**chosen))
    check_message(error, found, "--force")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before
    prepare([files[name] for name in names], tmp_path / "data", options(**chosen), force=True)
    assert open_data(tmp_path / "data").meta["inputs"][0]["name"] == names[0]


def test_files_of_one_name_are_told_apart(tmp_path):
    texts = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        texts.append(write(tmp_path / name / "t", f"text number {name}\n" * 5))
    prepare(texts, tmp_path / "data")
    for inputs, found in ((texts[:1], "t (gone)"), (texts[::-1], "the order of the inputs"), (texts * 2, "t (new)")):
        with pytest.raises(OutputError) as error:
            prepare(inputs, tmp_path / "data")
        check_message(error, found)
    write(texts[0], "something else\n" * 9)
    with pytest.raises(OutputError) as error:
        prepare(texts, tmp_path / "data")
    check_message(error, "t (changed)")


@pytest.mark.parametrize("name", ["train.npy", "val.npy", "vocab.json", "meta.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_damaged_folder_is_not_up_to_date_and_can_be_made_anew(tmp_path, name, damage):
    text = write(tmp_path / "t", ENGLISH)
    prepare([text], tmp_path / "data")
    file = tmp_path / "data" / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20] if damage == "cut" else b"{}")
    with pytest.raises((DataError, OutputError)) as error:
        prepare([text], tmp_path / "data")
    check_message(error)
    if (name, damage) != ("meta.json", "gone"):  # without it nothing says that the folder is ours
        assert "--force" in str(error.value)
        prepare([text], tmp_path / "data", force=True)
        assert whole(open_data(tmp_path / "data")) == ENGLISH.encode()


@pytest.mark.parametrize("part", ["inputs", "options", "report", "splits", "characters", "repairs", "left_out"])
def test_a_meta_with_parts_missing_is_damaged(folder, part):
    import json

    meta = json.loads((folder / "meta.json").read_text())
    del meta[part]
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError) as error:
        open_data(folder)
    check_message(error, "damaged", "--force")
