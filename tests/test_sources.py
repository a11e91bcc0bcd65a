"""Where text comes from: folders, compressed files, standard input; and that damage is said in one line."""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from texts import ENGLISH, check_message, options, prepare, whole, write

from charrnn.cli.report import describe
from charrnn.errors import DataError, OutputError
from charrnn.text.data import open_data
from charrnn.text.patterns import Patterns

PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def test_the_padding_of_an_xz_file_is_not_read_as_thousands_of_empty_ones(tmp_path, monkeypatch):
    begun, decompressor = [], lzma.LZMADecompressor
    monkeypatch.setattr(lzma, "LZMADecompressor", lambda **form: (begun.append(1), decompressor(**form))[1])
    path = write(tmp_path / "t.txt.xz", lzma.compress(ENGLISH.encode()) + bytes(40_000))
    prepare([path], tmp_path / "data")
    assert whole(open_data(tmp_path / "data")) == ENGLISH.encode()
    assert 0 < len(begun) < 10


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


def bit_flipped(packed, place):
    return packed[:place] + bytes([packed[place] ^ 4]) + packed[place + 1 :]


@pytest.mark.parametrize("ending", PACK)
def test_damage_of_a_later_stream_is_named_too(tmp_path, ending):
    """The standard library takes the rest of a bz2 or xz file for padding, if a stream after the first is damaged."""
    first, second = (PACK[ending](bytes(k * k % modulus for k in range(4000))) for modulus in (251, 241))
    for place in (0, 1, len(second) // 2):
        path = write(tmp_path / f"t.{ending}", first + bit_flipped(second, place) + first)
        with pytest.raises(DataError) as error:
            prepare([path], tmp_path / "data", options(level="byte"))
        check_message(error, f"t.{ending}", "damaged")


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("padding", [0, 4, 300_000])
def test_padding_between_streams_is_skipped(tmp_path, ending, padding):
    packed = bytes(padding).join(map(PACK[ending], (b"the first ", b"the second ", b"the third")))
    prepare([write(tmp_path / f"t.{ending}", packed)], tmp_path / "data", options(val=0))
    assert whole(open_data(tmp_path / "data")) == b"the first the second the third"


def test_a_folder_is_read_in_the_order_of_paths_without_hidden_files(tmp_path):
    tree = tmp_path / "tree"
    for name in ("b/two.py", "a.py", "b/one.py", "notes.txt", ".git/three.py", "b/.four.py", "empty.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        write(tree / name, "" if name == "empty.py" else f"# {name}\n" * 3)
    meta = prepare([tree], tmp_path / "data", glob=["*.py"])
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


@pytest.mark.parametrize("glob", ["*", "*/*.txt", "link/*.txt"])
def test_links_to_folders_are_not_followed(tmp_path, glob):
    for folder, name in (("elsewhere", "a.txt"), ("texts/own", "b.txt")):
        (tmp_path / folder).mkdir(parents=True)
        write(tmp_path / folder / name, "abc")
    (tmp_path / "texts" / "link").symlink_to(tmp_path / "elsewhere")
    assert "a.txt" not in {path.name for path in Patterns([glob]).files(tmp_path / "texts")}


@pytest.mark.parametrize("hidden", ["", "."])
def test_a_folder_that_cannot_be_read_is_named_unless_it_is_hidden(tmp_path, monkeypatch, hidden):
    closed = tmp_path / "texts" / f"{hidden}closed"
    closed.mkdir(parents=True)
    (tmp_path / "texts" / "open.txt").write_text("abc")
    scan = os.scandir

    def scandir(path):
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    if hidden:
        assert len(Patterns().files(tmp_path / "texts")) == 1
    else:
        with pytest.raises(DataError, match=r"folders that can be read, got .*closed: Permission denied"):
            Patterns().files(tmp_path / "texts")


def test_a_folder_without_fitting_files_is_named(tmp_path):
    (tmp_path / "tree").mkdir()
    write(tmp_path / "tree" / "a.txt", ENGLISH)
    with pytest.raises(DataError) as error:
        prepare([tmp_path / "tree"], tmp_path / "data", glob=["*.py"])
    check_message(error, "'*.py'", "tree", "--glob")


@pytest.mark.parametrize("ending", PACK)
def test_compressed_standard_input_is_known_by_its_first_bytes(tmp_path, monkeypatch, ending):
    packed = PACK[ending]((ENGLISH + "é").encode())
    standard_input(monkeypatch, packed)
    meta = prepare([Path("-")], tmp_path / "data")
    assert whole(open_data(tmp_path / "data")) == (ENGLISH + "é").encode()
    assert meta["inputs"][0]["sha256"] == hashlib.sha256(packed).hexdigest()
    standard_input(monkeypatch, packed[:-9])
    with pytest.raises(DataError) as error:
        prepare([Path("-")], tmp_path / "cut")
    check_message(error, "compressed file, got -, damaged")


@pytest.mark.parametrize("content", [b"BZhang and BZh9 are no compressed text", b"\x1f\x8b no gzip", b"\xfd7zX"])
def test_what_only_looks_compressed_at_first_is_read_as_it_is(tmp_path, monkeypatch, content):
    standard_input(monkeypatch, content)
    prepare([Path("-")], tmp_path / "data", options("byte", val=0))
    assert whole(open_data(tmp_path / "data")) == content


def standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def test_standard_input_is_read_where_a_dash_stands(tmp_path, monkeypatch):
    standard_input(monkeypatch, "ünd ".encode() * 20)
    meta = prepare([write(tmp_path / "a", "first "), Path("-")], tmp_path / "data")
    assert whole(open_data(tmp_path / "data")) == b"first " + "ünd ".encode() * 20
    assert [i["name"] for i in meta["inputs"]] == ["a", "-"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "data"]


@pytest.mark.parametrize("count, content, found", [(2, b"text", "more often"), (1, b"", "empty")])
def test_standard_input_twice_or_empty_is_refused(tmp_path, monkeypatch, count, content, found):
    standard_input(monkeypatch, content)
    with pytest.raises(DataError) as error:
        prepare([Path("-")] * count, tmp_path / "data")
    check_message(error, "standard input", found)


@pytest.mark.parametrize("later", [ENGLISH.replace("best", "next"), ENGLISH * 2, ENGLISH[:50]])
def test_a_file_that_changes_between_the_passes_is_refused(tmp_path, monkeypatch, later):
    from charrnn.text import prepare as module

    source = write(tmp_path / "t", ENGLISH)
    write_splits = module.write_splits

    def change_first(*arguments):
        write(source, later)
        return write_splits(*arguments)

    monkeypatch.setattr(module, "write_splits", change_first)
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
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (Path("/dev/null"), tmp_path / "loop"):
        with pytest.raises(DataError) as error:
            prepare([path], tmp_path / "data")
        check_message(error, str(path))


@pytest.mark.parametrize("glob", ["/abs/*", "**.py", "", "*.{py", "*.py}", "{py}", "a{b{c}d"])
def test_an_impossible_pattern_is_named(tmp_path, glob):
    (tmp_path / "tree").mkdir()
    write(tmp_path / "tree" / "a.txt", ENGLISH)
    with pytest.raises(DataError) as error:
        prepare([tmp_path / "tree"], tmp_path / "data", glob=[glob])
    check_message(error, repr(glob), "--glob")


@pytest.fixture
def tree(tmp_path):
    """A folder of texts of three kinds, in two levels."""
    for name in ("a.py", "b.txt", "c.md", "old/d.py", "old/new/e.py", "new/f.txt"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "tree" / name, f"# {name}\n" * 5)
    return tmp_path / "tree"


@pytest.mark.parametrize(
    "glob, exclude, want",
    [
        (["*.py", "*.txt"], [], "a.py b.txt new/f.txt old/d.py old/new/e.py"),
        (["*.{md,txt}"], [], "b.txt c.md new/f.txt"),
        (["{a,c}.{m{d,x},py}"], [], "a.py c.md"),
        (["new/*"], [], "new/f.txt old/new/e.py"),
        (["*", "*.py"], ["*.py"], "b.txt c.md new/f.txt"),
        (["*"], ["old"], "a.py b.txt c.md new/f.txt"),
        (["*"], ["old/new", "{a,b}.*"], "c.md new/f.txt old/d.py"),
    ],
)
def test_patterns_add_up_and_leave_out(tree, tmp_path, glob, exclude, want):
    meta = prepare([tree], tmp_path / "data", glob=glob, exclude=exclude)
    assert [source["name"] for source in meta["inputs"]] == [f"tree/{name}" for name in want.split()]
    assert f"{len(want.split())} read" in describe(meta)[1]


def test_patterns_that_leave_nothing_are_named(tree, tmp_path):
    with pytest.raises(DataError) as error:
        prepare([tree], tmp_path / "data", glob=["*.py", "*.md"], exclude=["*"])
    check_message(error, "'*.py' or '*.md' and not '*'", "got none")


def test_undecodable_files_of_folders_are_skipped_and_counted(tree, tmp_path):
    """Some of a file that turns out to be no text at its end must not be counted."""
    clean = prepare([tree], tmp_path / "clean")
    for name, content in (
        ("a.bin", b"\x80" * 9),
        ("late.txt", b"Z" * 600_000 + b"\xff"),
        ("old/x.gz", gzip.compress(b"\xe9t")),
        ("old/y.bz2", b"no bz2"),
        ("old/z.xz", lzma.compress(b"text")[:-9]),
    ):
        write(tree / name, content)
    with pytest.raises(DataError):
        prepare([tree], tmp_path / "data")
    meta = prepare([tree], tmp_path / "data", skip_undecodable=True)
    assert [source["name"] for source in meta["skipped"]] == [
        *("tree/a.bin", "tree/late.txt", "tree/old/x.gz", "tree/old/y.bz2", "tree/old/z.xz")
    ]
    assert "6 read, 5 that cannot be decoded skipped: tree/a.bin, tree/late.txt, tree/old/x.gz" in describe(meta)[1]
    assert {**meta, "skipped": []} == clean
    assert open_data(tmp_path / "data").fingerprint == open_data(tmp_path / "clean").fingerprint


@pytest.mark.parametrize("ending", ["txt", "gz", "bz2", "xz"])
def test_an_empty_file_of_a_folder_is_an_empty_text(tree, tmp_path, ending):
    before = prepare([tree], tmp_path / "before")
    (tree / f"z.{ending}").touch()
    meta = prepare([tree], tmp_path / "data")
    assert (len(meta["inputs"]), meta["splits"]) == (len(before["inputs"]) + 1, before["splits"])


def test_with_skipped_files_a_folder_is_up_to_date_until_one_changes(tree, tmp_path):
    write(tree / "a.bin", b"\xff")
    first = prepare([tree], tmp_path / "data", skip_undecodable=True)
    assert prepare([tree], tmp_path / "data", skip_undecodable=True) == first
    for skip, content in ((False, b"\xff"), (True, b"now a text")):
        write(tree / "a.bin", content)
        with pytest.raises(OutputError) as error:
            prepare([tree], tmp_path / "data", skip_undecodable=skip)
        check_message(error, "tree/a.bin (new)")


@pytest.mark.parametrize("named, found", [("a.bin", "FF at offset 0"), ("bins", "2 that cannot be decoded")])
def test_what_is_named_itself_and_a_folder_without_text_are_not_skipped(tmp_path, named, found):
    (tmp_path / "bins").mkdir()
    for name in ("a.bin", "bins/b.bin", "bins/c.bin"):
        write(tmp_path / name, b"\xff")
    with pytest.raises(DataError) as error:
        prepare([tmp_path / named], tmp_path / "data", skip_undecodable=True)
    check_message(error, found)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("chosen", [{"level": "byte"}, {"errors": "replace"}])
def test_nothing_can_be_skipped_where_all_is_decodable(tree, tmp_path, chosen):
    with pytest.raises(DataError) as error:
        prepare([tree], tmp_path / "data", options(**chosen), skip_undecodable=True)
    check_message(error, "--skip-undecodable")


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
