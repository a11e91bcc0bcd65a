"""Folders of ours appear whole or not at all, and nothing of anybody else's is ever replaced."""

import errno
import os
import signal
import tempfile
from pathlib import Path

import pytest
from helpers_cli import tree
from test_files import failing
from texts import check_message

from charrnn import folders
from charrnn.errors import OutputError
from charrnn.folders import building_folder, locked, refuse_existing

MARKER = "meta.json"
OLD = '{"format": "charrnn-test"}'


def older_folder(path):
    """A folder of the kind that MARKER marks."""
    path.mkdir(parents=True)
    (path / MARKER).write_text(OLD)
    (path / "train.npy").write_text("old text")
    return path


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "some" / "where"
    with building_folder(path, MARKER, force=False) as folder:
        (folder.path / MARKER).write_text("new")
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
        (folder.path / MARKER).write_text("half")
        raise error
    assert tree(tmp_path) == before


def test_a_full_disk_while_building_is_said_and_leaves_the_older_folder(tmp_path):
    older_folder(tmp_path / "data")
    before = tree(tmp_path)
    with pytest.raises(OutputError) as error, building_folder(tmp_path / "data", MARKER, force=True) as folder:
        (folder.path / MARKER).write_text("half")
        failing(errno.ENOSPC)()
    check_message(error, str(tmp_path / "data"), "No space left on device")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("fails", [{0}, {1}, {0, 1}, {1, 2}])
def test_the_older_folder_stays_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, fails):
    """Move 0 to the place is the trial's, move 1 is that of the new folder; the one after a failure brings back."""
    path = older_folder(tmp_path / "data")
    before = tree(tmp_path)
    rename, moves = os.rename, []

    def fails_once(source, target, **kwargs):
        if Path(target) == path:
            moves.append(source)
            if len(moves) - 1 in fails:
                failing(errno.EBUSY)()
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(OutputError), building_folder(path, MARKER, force=True) as folder:
        (folder.path / MARKER).write_text("new")
    monkeypatch.undo()
    older = tree(tmp_path / "data") if path.exists() else tree(next(tmp_path.glob(".data.*.new/older")))
    assert {f"data/{name}": content for name, content in older.items()} | {"data": None} == before


def test_an_older_folder_that_cannot_be_replaced_is_told_before_the_work(tmp_path, monkeypatch):
    """As a mount point, or a folder of an image's lower layer."""
    path, rename = older_folder(tmp_path / "data"), os.rename
    before = tree(tmp_path)

    def renames_others(source, target, **kwargs):
        if Path(source) == path:
            failing(errno.EBUSY)()
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", renames_others)
    began = False
    with pytest.raises(OutputError) as error, building_folder(path, MARKER, force=True):
        began = True
    assert not began
    check_message(error, os.strerror(errno.EBUSY), "try another --out")
    assert tree(tmp_path) == before


def test_an_older_folder_of_the_same_kind_is_replaced_only_with_force(tmp_path):
    path = older_folder(tmp_path / "data")
    before = tree(tmp_path)
    with pytest.raises(OutputError) as error, building_folder(path, MARKER, force=False):
        pytest.fail("the block must not be entered")
    check_message(error, str(path), "exists", "--force")
    assert tree(tmp_path) == before
    with building_folder(path, MARKER, force=True) as folder:
        (folder.path / MARKER).write_text("new")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "kind, said",
    [
        ("folder", "holds something else (letters.txt)"),
        ("file", "a file"),
        ("dangling link", "a link to nothing"),
        ("marker is a folder", "holds something else (letters.txt)"),
    ],
)
def test_what_is_of_another_kind_is_never_replaced(tmp_path, force, kind, said):
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
    check_message(error, str(path), said, "--out")
    assert tree(tmp_path) == before
    assert path.is_symlink() == (kind == "dangling link")


@pytest.mark.parametrize("force", [False, True])
def test_an_empty_folder_is_filled(tmp_path, force):
    (tmp_path / "data").mkdir()
    with building_folder(tmp_path / "data", MARKER, force) as folder:
        (folder.path / MARKER).write_text("new")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


def test_an_empty_mount_point_is_filled_from_within(tmp_path, monkeypatch):
    """Nothing can be renamed across the border of a file system, nor the mount point itself."""
    path, rename = tmp_path / "mount", os.rename
    path.mkdir()

    def within(source, target):
        if path not in Path(source).parents or path not in Path(target).parents:
            failing(errno.EXDEV)()
        rename(source, target)

    monkeypatch.setattr(os, "rename", within)
    with building_folder(path, MARKER, force=False) as folder:
        (folder.path / MARKER).write_text("new")
    assert tree(tmp_path) == {"mount": None, f"mount/{MARKER}": b"new"}


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
        (folder.path / MARKER).write_text("new")
    assert tree(tmp_path) == {"here": None, f"here/{MARKER}": b"new"}


def test_the_working_folder_named_by_a_dot_is_never_emptied(tmp_path, monkeypatch):
    monkeypatch.chdir(older_folder(tmp_path / "here"))
    with pytest.raises(OutputError, match="working folder"), building_folder(Path("."), MARKER, force=True):
        pass
    assert (tmp_path / "here" / MARKER).read_text() == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


# ------------------------------------------------------------------------- others, at the same time or before


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_appears_meanwhile_stays(tmp_path, force):
    path = tmp_path / "data"
    with pytest.raises(OutputError) as error, building_folder(path, MARKER, force) as folder:
        (folder.path / MARKER).write_text("new")
        path.mkdir()
        (path / "letters.txt").write_text("letters")
    check_message(error, str(path), "try another --out")
    assert tree(tmp_path) == {"data": None, "data/letters.txt": b"letters"}


def test_a_file_that_appears_in_an_empty_folder_meanwhile_stays(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    with pytest.raises(OutputError) as error, building_folder(path, MARKER, force=True) as folder:
        (folder.path / MARKER).write_text("new")
        (path / MARKER).write_text("mine")
    check_message(error, str(path), "came to stand there")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"mine"}


def test_an_older_folder_that_is_no_longer_ours_alone_stays(tmp_path):
    path = older_folder(tmp_path / "data")
    with pytest.raises(OutputError) as error, building_folder(path, MARKER, force=True) as folder:
        (folder.path / MARKER).write_text("new")
        (path / "letters.txt").write_text("letters")
    check_message(error, "letters.txt")
    assert (path / MARKER).read_text() == OLD
    assert (path / "letters.txt").read_text() == "letters"


def test_an_older_folder_that_is_in_use_stays(tmp_path):
    path = older_folder(tmp_path / "data")
    before = tree(tmp_path)
    with locked(path), pytest.raises(OutputError, match="in use"), building_folder(path, MARKER, force=True):
        pytest.fail("the block must not be entered")
    with pytest.raises(OutputError, match="in use"), building_folder(path, MARKER, force=True) as folder, locked(path):
        folder.settle()
    assert tree(tmp_path) == before


def test_a_folder_being_filled_is_in_use(tmp_path):
    (tmp_path / "data").mkdir()
    with building_folder(tmp_path / "data", MARKER, force=False), pytest.raises(OutputError, match="in use"):
        refuse_existing(tmp_path / "data", MARKER, force=True)
    assert tree(tmp_path) == {"data": None}


def test_a_settled_folder_is_held_until_the_block_ends(tmp_path):
    path = tmp_path / "data"
    with building_folder(path, MARKER, force=False) as folder:
        (folder.path / MARKER).write_text(OLD)
        assert folder.settle() == folder.path == path
        assert list(tmp_path.iterdir()) == [path]  # a process that is killed now leaves nothing else
        with pytest.raises(OutputError, match="in use"):
            refuse_existing(path, MARKER, force=True)
        (folder.path / "train.npy").write_text("more")
    refuse_existing(path, MARKER, force=True)
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": OLD.encode(), "data/train.npy": b"more"}


def test_a_settled_folder_stays_when_the_block_fails(tmp_path):
    path = older_folder(tmp_path / "data")
    with pytest.raises(RuntimeError), building_folder(path, MARKER, force=True) as folder:
        (folder.path / MARKER).write_text("new")
        folder.settle()
        raise RuntimeError
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


@pytest.mark.parametrize(("renames", "new"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_signal_between_the_renames_leaves_one_folder_whole(tmp_path, monkeypatch, renames, new):
    """The first two renames are a trial."""
    path = older_folder(tmp_path / "data")
    before = tree(tmp_path)
    rename, calls = os.rename, []

    def signalled(source, target):
        rename(source, target)
        calls.append(target)
        if len(calls) == renames:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "rename", signalled)
    with pytest.raises(KeyboardInterrupt), building_folder(path, MARKER, force=True) as folder:
        (folder.path / MARKER).write_text("new")
    monkeypatch.undo()
    assert tree(tmp_path) == ({"data": None, f"data/{MARKER}": b"new"} if new else before)


def killed(run):
    """Run a function in a child process, which it ends with SIGKILL."""
    child = os.fork()
    if not child:
        try:
            run()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def killed_builder(path, force):
    """What is left by a process that is killed while it builds."""

    def build():
        with building_folder(path, MARKER, force) as folder:
            (folder.path / "train.npy").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    killed(build)


@pytest.mark.parametrize("empty", [False, True])
def test_what_a_killed_process_left_is_cleared_away_when_it_is_old(tmp_path, monkeypatch, empty):
    path = tmp_path / "data"
    if empty:
        path.mkdir()
    killed_builder(path, force=False)
    assert len(list(tmp_path.rglob("train.npy"))) == 1
    with building_folder(path, MARKER, force=False) as folder:
        (folder.path / MARKER).write_text("new")
    assert len(list(tmp_path.rglob("train.npy"))) == 1  # another process may be just about to lock it
    monkeypatch.setattr(folders, "OLD_SECONDS", 0.0)
    (path / MARKER).unlink()
    with building_folder(path, MARKER, force=False) as folder:
        (folder.path / MARKER).write_text("new")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


def test_a_folder_under_construction_is_not_cleared_away(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "OLD_SECONDS", 0.0)
    with building_folder(tmp_path / "data", MARKER, force=False) as first:
        (first.path / MARKER).write_text("first")
        with pytest.raises(OutputError), building_folder(tmp_path / "data", MARKER, force=False) as second:
            (second.path / MARKER).write_text("second")
            first.settle()
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"first"}


@pytest.mark.parametrize("renames", [1, 3])
def test_an_older_folder_comes_back_when_a_process_was_killed_between_the_renames(tmp_path, monkeypatch, renames):
    """The first two renames are a trial."""
    monkeypatch.setattr(folders, "OLD_SECONDS", 0.0)
    path = older_folder(tmp_path / "data")

    def build():
        rename, calls = os.rename, []

        def last(source, target):
            rename(source, target)
            calls.append(target)
            if len(calls) == renames:
                os.kill(os.getpid(), signal.SIGKILL)

        os.rename = last
        with building_folder(path, MARKER, force=True) as folder:
            (folder.path / MARKER).write_text("new")

    killed(build)
    assert not path.exists()
    folders.clear_leftovers(path)
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": OLD.encode(), "data/train.npy": b"old text"}


def test_folders_under_construction_for_a_longer_name_are_not_touched(tmp_path, monkeypatch):
    """The name before the random part may have dots itself: those of run.v2 are none of run."""
    monkeypatch.setattr(folders, "OLD_SECONDS", 0.0)
    aside = older_folder(tmp_path / ".run.v2.abcd_123.new" / "older")
    folders.clear_leftovers(tmp_path / "run")
    assert aside.is_dir()
    assert not (tmp_path / "run").exists()
    folders.clear_leftovers(tmp_path / "run.v2")
    assert sorted(tree(tmp_path)) == ["run.v2", f"run.v2/{MARKER}", "run.v2/train.npy"]


def test_without_locks_nothing_under_construction_is_cleared_away(tmp_path, monkeypatch):
    """Nobody can know whether a process still builds there."""
    monkeypatch.setattr(folders, "OLD_SECONDS", 0.0)
    monkeypatch.setattr(folders.fcntl, "flock", failing(errno.ENOLCK))
    with building_folder(tmp_path / "data", MARKER, force=False) as folder:
        (folder.path / MARKER).write_text("new")
        folders.clear_leftovers(tmp_path / "data")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


@pytest.mark.parametrize(
    ("filled", "last"),
    [(False, ["rename", "fsync"]), (True, ["rename", "fsync", "rename", "fsync", "fsync"])],  # then, the marker is last
)
def test_all_files_are_flushed_before_the_folder_appears(tmp_path, monkeypatch, filled, last):
    if filled:
        (tmp_path / "data").mkdir()
    calls = []
    for name in ("fsync", "rename"):
        monkeypatch.setattr(os, name, lambda *a, name=name, do=getattr(os, name): (calls.append(name), do(*a)))
    with building_folder(tmp_path / "data", MARKER, force=False) as folder:
        for name in (MARKER, "train.npy"):
            (folder.path / name).write_text("new")
    assert calls == ["fsync"] * 3 + last


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.fcntl, "flock", failing(errno.ENOLCK))
    with building_folder(tmp_path / "data", MARKER, force=False) as folder:
        (folder.path / MARKER).write_text("new")
    assert tree(tmp_path) == {"data": None, f"data/{MARKER}": b"new"}


def test_a_signal_at_the_birth_of_a_folder_leaves_nothing(tmp_path, monkeypatch):
    mkdtemp = tempfile.mkdtemp

    def signalled(**arguments):
        folder = mkdtemp(**arguments)
        signal.raise_signal(signal.SIGINT)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", signalled)
    with pytest.raises(KeyboardInterrupt), building_folder(tmp_path / "data", MARKER, force=False):
        pass
    assert list(tmp_path.iterdir()) == []
