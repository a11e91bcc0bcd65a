"""Files and folders appear whole or not at all, whatever goes wrong while they are written."""

import errno
import os
from pathlib import Path

import pytest

from charrnn.errors import OutputError
from charrnn.files import building_folder, replacing

MARKER = "meta.json"
OLD = '{"format": "charrnn-test"}'


def tree(folder):
    """Every file and folder below, with contents."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def check_message(error, *parts):
    message = str(error.value)
    assert message.startswith("expected ")
    for part in ("got", "try ", *parts):
        assert part in message


def failing(number):
    """A stand-in for a system call that fails."""

    def call(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return call


def older_folder(path):
    """A folder of the kind that MARKER marks."""
    path.mkdir()
    (path / MARKER).write_text(OLD)
    (path / "train.npy").write_text("old text")
    return path


# ----------------------------------------------------------------------------------------------- replacing


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_is_there_whole_after_the_block_and_nothing_beside_it(tmp_path, old):
    if old is not None:
        (tmp_path / "file").write_bytes(old)
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert tree(tmp_path) == {"file": b"new"}


def test_readers_of_the_old_file_keep_it_whole(tmp_path):
    (tmp_path / "file").write_bytes(b"old content")
    with open(tmp_path / "file", "rb") as reader:
        with replacing(tmp_path / "file") as file:
            file.write(b"new")
            file.flush()
            assert (tmp_path / "file").read_bytes() == b"old content"
        assert reader.read() == b"old content"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_exception_inside_the_block_leaves_all_as_it_was(tmp_path, error, old):
    if old is not None:
        (tmp_path / "file").write_bytes(old)
    before = tree(tmp_path)
    with pytest.raises(error), replacing(tmp_path / "file") as file:
        file.write(b"half of the new")
        raise error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_said_and_the_old_file_stays(tmp_path, monkeypatch, call):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(OutputError) as error, replacing(tmp_path / "file") as file:
        file.write(b"new")
    monkeypatch.undo()
    check_message(error, str(tmp_path / "file"), "No space left on device")
    assert tree(tmp_path) == {"file": b"old"}


def test_a_write_that_fails_inside_the_block_is_said_and_the_old_file_stays(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OutputError) as error, replacing(tmp_path / "file"), open("/dev/full", "wb", 0) as full:
        full.write(b"new")
    check_message(error, "No space left on device")
    assert tree(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize("parent, reason", [("none", "No such file or directory"), ("plain", "Not a directory")])
def test_a_place_that_cannot_be_written_is_said(tmp_path, parent, reason):
    (tmp_path / "plain").write_bytes(b"a file, no folder")
    with pytest.raises(OutputError) as error, replacing(tmp_path / parent / "file") as file:
        file.write(b"new")
    check_message(error, reason)
    assert tree(tmp_path) == {"plain": b"a file, no folder"}


def test_a_file_reaches_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, lambda *a, name=name, do=getattr(os, name): (calls.append(name), do(*a)))
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert calls[:2] == ["fsync", "replace"]


# ----------------------------------------------------------------------------------------- building folders


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "some" / "where"
    with building_folder(path, MARKER, force=False) as folder:
        (folder / MARKER).write_text("new")
        assert not path.exists()
    assert tree(tmp_path) == {"some": None, "some/where": None, f"some/where/{MARKER}": b"new"}


def test_a_new_folder_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").mkdir()
    with building_folder(tmp_path / "made", MARKER, force=False):
        pass
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [False, True])
def test_an_exception_while_building_leaves_all_as_it_was(tmp_path, error, old):
    if old:
        older_folder(tmp_path / "data")
    before = tree(tmp_path)
    with pytest.raises(error), building_folder(tmp_path / "data", MARKER, force=True) as folder:
        (folder / MARKER).write_text("half")
        raise error
    assert tree(tmp_path) == before


def test_a_full_disk_while_building_is_said_and_leaves_the_older_folder(tmp_path):
    older_folder(tmp_path / "data")
    before = tree(tmp_path)
    with pytest.raises(OutputError) as error, building_folder(tmp_path / "data", MARKER, force=True) as folder:
        (folder / MARKER).write_text("half")
        failing(errno.ENOSPC)()
    check_message(error, str(tmp_path / "data"), "No space left on device")
    assert tree(tmp_path) == before


def test_the_older_folder_stays_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = older_folder(tmp_path / "data")
    before = tree(tmp_path)
    rename, failures = os.rename, [errno.EBUSY]

    def fails_once(source, target, **kwargs):
        if Path(target) == path and failures:
            failing(failures.pop())()
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", fails_once)
    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(OutputError), building_folder(path, MARKER, force=True) as folder:
        (folder / MARKER).write_text("new")
    monkeypatch.undo()
    assert tree(tmp_path) == before


def test_an_older_folder_of_the_same_kind_is_replaced_only_with_force(tmp_path):
    path = older_folder(tmp_path / "data")
    before = tree(tmp_path)
    with pytest.raises(OutputError) as error, building_folder(path, MARKER, force=False):
        pytest.fail("the block must not be entered")
    check_message(error, str(path), "exists", "--force")
    assert tree(tmp_path) == before
    with building_folder(path, MARKER, force=True) as folder:
        (folder / MARKER).write_text("new")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["folder", "file", "dangling link", "marker is a folder"])
def test_what_is_of_another_kind_is_never_replaced(tmp_path, force, kind):
    path = tmp_path / "data"
    if kind == "file":
        path.write_text("letters")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "none")
    else:
        path.mkdir()
        (path / "letters.txt").write_text("letters")
        if kind == "marker is a folder":
            (path / MARKER).mkdir()
    before = tree(tmp_path)
    with pytest.raises(OutputError) as error, building_folder(path, MARKER, force):
        pytest.fail("the block must not be entered")
    check_message(error, str(path), "something else", "--out")
    assert tree(tmp_path) == before
    assert path.is_symlink() == (kind == "dangling link")


@pytest.mark.parametrize("force", [False, True])
def test_an_empty_folder_is_filled(tmp_path, force):
    (tmp_path / "data").mkdir()
    with building_folder(tmp_path / "data", MARKER, force) as folder:
        (folder / MARKER).write_text("new")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


def test_a_place_below_a_file_is_said(tmp_path):
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(OutputError) as error, building_folder(tmp_path / "plain" / "data", MARKER, force=False):
        pytest.fail("the block must not be entered")
    check_message(error, "plain", "--out")
    assert tree(tmp_path) == {"plain": b"a file"}


def test_the_working_folder_named_by_a_dot_is_filled_if_empty(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with building_folder(Path("."), MARKER, force=False) as folder:
        (folder / MARKER).write_text("new")
    assert tree(tmp_path) == {"here": None, f"here/{MARKER}": b"new"}


def test_the_working_folder_named_by_a_dot_is_never_emptied(tmp_path, monkeypatch):
    monkeypatch.chdir(older_folder(tmp_path / "here"))
    try:
        with building_folder(Path("."), MARKER, force=True) as folder:
            (folder / MARKER).write_text("new")
    except OutputError:
        assert (tmp_path / "here" / MARKER).read_text() == OLD
    else:
        assert (tmp_path / "here" / MARKER).read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
