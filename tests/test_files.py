"""Files appear whole or not at all, whatever goes wrong while they are written."""

import errno
import os

import pytest
from helpers_cli import tree
from texts import check_message

from charrnn.errors import OutputError
from charrnn.files import clear_half_written, replacing


def failing(number):
    """A stand-in for a system call that fails."""

    def call(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return call


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
    """Its content, before it is renamed; then the name, which is in the folder."""
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append(("fsync", os.fstat(file).st_size)), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append(("replace", 0)), replace(*paths)))
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert calls[:2] == [("fsync", 3), ("replace", 0)]
    assert [name for name, _ in calls[2:]] == ["fsync"]


def test_files_that_cannot_be_flushed_by_their_folder_are_written_all_the_same(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            failing(errno.EINVAL)()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert tree(tmp_path) == {"file": b"new"}


def test_what_a_killed_process_left_of_a_file_is_cleared_away(tmp_path):
    for name in (".last.npz.4711.tmp", "last.npz", ".hidden", "notes.tmp"):
        (tmp_path / name).write_bytes(b"content")
    clear_half_written(tmp_path)
    assert sorted(tree(tmp_path)) == [".hidden", "last.npz", "notes.tmp"]
