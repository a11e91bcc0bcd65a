"""Where text comes from: folders, compressed files, standard input; and that damage is said in one line."""

import bz2
import gzip
import hashlib
import io
import lzma
import sys
from types import SimpleNamespace

import pytest
from texts import ENGLISH, check_message, options, prepare, whole, write

from charrnn.errors import DataError, OutputError
from charrnn.text.data import open_data

PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("ending", PACK)
def test_compressed_files_are_read_as_what_they_hold(tmp_path, ending):
    packed = PACK[ending]((ENGLISH + "é").encode()) + PACK[ending](b"a second member")
    meta = prepare([write(tmp_path / f"t.txt.{ending}", packed)], tmp_path / "data")
    assert whole(open_data(tmp_path / "data")) == (ENGLISH + "éa second member").encode()
    assert meta["inputs"][0]["sha256"] == hashlib.sha256(packed).hexdigest()
    assert meta["inputs"][0]["bytes"] == len(packed)


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b[:30] + b"\xff\x00" * 8 + b[46:], lambda b: b"text" + b]
)
def test_a_damaged_compressed_file_is_named(tmp_path, ending, damage):
    packed = damage(PACK[ending](bytes(k * k % 251 for k in range(4000))))
    with pytest.raises(DataError) as error:
        prepare([write(tmp_path / f"t.{ending}", packed)], tmp_path / "data", options(level="byte"))
    check_message(error, f"t.{ending}", "damaged")
    assert [p.name for p in tmp_path.iterdir()] == [f"t.{ending}"]


def test_a_folder_is_read_in_the_order_of_paths_without_hidden_files(tmp_path):
    tree = tmp_path / "tree"
    for name in ("b/two.py", "a.py", "b/one.py", "notes.txt", ".git/three.py", "b/.four.py", "empty.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        write(tree / name, "" if name == "empty.py" else f"# {name}\n" * 3)
    meta = prepare([tree], tmp_path / "data", glob="*.py")
    assert [i["name"] for i in meta["inputs"]] == ["tree/a.py", "tree/b/one.py", "tree/b/two.py", "tree/empty.py"]
    assert whole(open_data(tmp_path / "data")).decode() == "".join(
        f"# {n}\n" * 3 for n in ("a.py", "b/one.py", "b/two.py")
    )


def test_files_and_folders_are_joined_in_the_order_given(tmp_path):
    (tmp_path / "z").mkdir()
    write(tmp_path / "z" / "one", "in a folder ")
    first, last = write(tmp_path / "m", "before "), write(tmp_path / "a", "after")
    prepare([first, tmp_path / "z", last], tmp_path / "data")
    assert whole(open_data(tmp_path / "data")) == b"before in a folder after"


def test_a_folder_without_fitting_files_is_named(tmp_path):
    (tmp_path / "tree").mkdir()
    write(tmp_path / "tree" / "a.txt", ENGLISH)
    with pytest.raises(DataError) as error:
        prepare([tmp_path / "tree"], tmp_path / "data", glob="*.py")
    check_message(error, "'*.py'", "tree", "--glob")


def standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def test_standard_input_is_read_where_a_dash_stands(tmp_path, monkeypatch):
    from pathlib import Path

    standard_input(monkeypatch, "ünd ".encode() * 20)
    meta = prepare([write(tmp_path / "a", "first "), Path("-")], tmp_path / "data")
    assert whole(open_data(tmp_path / "data")) == b"first " + "ünd ".encode() * 20
    assert [i["name"] for i in meta["inputs"]] == ["a", "-"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "data"]


@pytest.mark.parametrize("count, content, found", [(2, b"text", "more often"), (1, b"", "empty")])
def test_standard_input_twice_or_empty_is_refused(tmp_path, monkeypatch, count, content, found):
    from pathlib import Path

    standard_input(monkeypatch, content)
    with pytest.raises(DataError) as error:
        prepare([Path("-")] * count, tmp_path / "data")
    check_message(error, "standard input", found)


@pytest.mark.parametrize("later", [ENGLISH.replace("best", "next"), ENGLISH * 2, ENGLISH[:50]])
def test_a_file_that_changes_between_the_passes_is_refused(tmp_path, monkeypatch, later):
    from charrnn.text import prepare as module

    source = write(tmp_path / "t", ENGLISH)
    write_splits = module._write_splits

    def change_first(*arguments):
        write(source, later)
        return write_splits(*arguments)

    monkeypatch.setattr(module, "_write_splits", change_first)
    with pytest.raises(DataError) as error:
        prepare([source], tmp_path / "data")
    check_message(error, "stay as it is")
    assert not (tmp_path / "data").exists()


def test_a_named_pipe_is_read_like_standard_input(tmp_path):
    import os
    import threading

    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=write, args=(tmp_path / "pipe", ENGLISH)).start()
    prepare([tmp_path / "pipe"], tmp_path / "data")
    assert whole(open_data(tmp_path / "data")) == ENGLISH.encode()


def test_devices_and_links_that_lead_nowhere_are_refused(tmp_path):
    from pathlib import Path

    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (Path("/dev/null"), tmp_path / "loop"):
        with pytest.raises(DataError) as error:
            prepare([path], tmp_path / "data")
        check_message(error, str(path))


@pytest.mark.parametrize("glob", ["/abs/*", "**.py", ""])
def test_an_impossible_pattern_is_named(tmp_path, glob):
    (tmp_path / "tree").mkdir()
    write(tmp_path / "tree" / "a.txt", ENGLISH)
    with pytest.raises(DataError) as error:
        prepare([tmp_path / "tree"], tmp_path / "data", glob=glob)
    check_message(error, repr(glob), "--glob")


def test_the_folder_to_make_may_not_lie_inside_the_texts(tmp_path):
    (tmp_path / "tree").mkdir()
    write(tmp_path / "tree" / "a.txt", ENGLISH)
    with pytest.raises(OutputError) as error:
        prepare([tmp_path / "tree"], tmp_path / "tree" / "data")
    check_message(error, "outside the texts")
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["a.txt"]


def test_folders_made_on_the_way_vanish_when_nothing_came_of_them(tmp_path):
    with pytest.raises(DataError):
        prepare([write(tmp_path / "t", b"a\xff")], tmp_path / "deep" / "er" / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
