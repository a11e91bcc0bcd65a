"""The compile cache: what is damaged, unwritable, old, or wanted by two at once."""

import errno
import fcntl
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from charrnn import cache, runtime
from charrnn.cache import Compilation, Place, cached_bytes, compilation, keep, places

CODE = bytes(range(256)) * 9
FOR_ME_ALONE = stat.S_IRWXG | stat.S_IRWXO  # what others must not be permitted
DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-1],
    "cut to less than a hash": lambda content: content[:7],
    "one bit": lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:],
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"\n",
}


@pytest.fixture
def told(monkeypatch):
    """The lines that a person is told."""
    lines = []
    monkeypatch.setattr(compilation, "tell", lines.append)
    monkeypatch.setattr(compilation, "_told", set())
    return lines


@pytest.fixture
def use(monkeypatch):
    """A function that makes the cache use these places."""
    return lambda *places: monkeypatch.setattr(cache, "places", lambda: list(places))


def blocked(tmp_path):
    """A place that cannot be made, by root neither."""
    (tmp_path / "file").touch()
    return Place(tmp_path / "file" / "cache")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_missing_and_made_anew(tmp_path, use, told, damage):
    place = Place(tmp_path / "cache")
    use(place)
    assert cached_bytes("code", lambda: CODE) == CODE
    assert cached_bytes("code", lambda: b"another") == CODE
    file = place.path / "code"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert place.read("code") is None
    assert cached_bytes("code", lambda: b"made anew") == b"made anew"
    assert place.read("code") == b"made anew"
    assert sorted(path.name for path in place.path.iterdir()) == ["code", "code.lock"]
    assert len(told) == 1
    assert "compiling" in told[0]


def test_where_the_first_place_cannot_be_made_the_next_one_is_used_and_kept(tmp_path, use, told):
    second = Place(tmp_path / "second")
    use(blocked(tmp_path), second)
    for name in ("a", "b"):
        assert cached_bytes(name, lambda: CODE) == CODE
        assert second.read(name) == CODE
    assert [line for line in told if "kept" in line] == [
        f"compiled code is kept in {second.root}, not in the cache folder ({tmp_path}/file/cache: Not a directory)"
    ]
    told.clear()
    compilation._told.clear()  # the next command
    use(blocked(tmp_path), Place(tmp_path / "second"))
    assert cached_bytes("a", lambda: b"another") == CODE
    assert told == []


def test_a_full_disk_leaves_nothing_half_written_and_the_next_place_is_used(tmp_path, use, told, monkeypatch):
    first, second = Place(tmp_path / "first"), Place(tmp_path / "second")
    write_bytes = Path.write_bytes

    def write_some(path, content):
        if tmp_path / "first" in path.parents:
            write_bytes(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_some)
    use(first, second)
    assert cached_bytes("code", lambda: CODE) == CODE
    assert [path.name for path in first.path.iterdir()] == ["code.lock"]
    assert second.read("code") == CODE
    assert "No space left on device" in told[-1]


def test_where_nothing_can_be_kept_it_is_made_all_the_same(tmp_path, use, told):
    use(blocked(tmp_path))
    for _ in range(2):
        assert cached_bytes("code", lambda: CODE) == CODE
    assert len(told) == 2
    assert "cannot be kept" in told[1]
    assert "CHARRNN_CACHE" in told[1]


def test_without_a_home_the_temporary_folder_is_used_and_said(tmp_path, use, told, monkeypatch):
    monkeypatch.setattr(runtime, "cache_root", lambda: None)
    use(Place(tmp_path / "only"))
    keep(lambda place: place.write("code", CODE))
    assert told == [
        f"compiled code is kept in {tmp_path}/only, not in the cache folder (expected a home folder, got none)"
    ]


def test_the_place_beside_other_peoples_folders_is_made_for_one_user_alone(tmp_path):
    place = Place(tmp_path / "mine", FOR_ME_ALONE)
    assert not place.usable()
    place.write("code", CODE)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    assert Place(tmp_path / "mine", FOR_ME_ALONE).read("code") == CODE


@pytest.mark.parametrize("how", ["symlink", "open to others", "of another user", "a file"])
def test_the_place_beside_other_peoples_folders_is_not_trusted(tmp_path, monkeypatch, how):
    root = tmp_path / "mine"
    Place(root, FOR_ME_ALONE).write("code", CODE)
    if how == "symlink":
        root.rename(tmp_path / "theirs")
        root.symlink_to(tmp_path / "theirs")
    elif how == "open to others":
        root.chmod(0o770)
    elif how == "of another user":
        uid = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    else:
        root.rename(tmp_path / "theirs")
        root.touch()
    place = Place(root, FOR_ME_ALONE)
    assert place.read("code") is None
    with pytest.raises(OSError, match=r"not a folder of yours alone"):
        place.write("other", CODE)
    assert not list(tmp_path.rglob("*other*"))


@pytest.mark.parametrize("how", ["writable by others", "of another user"])
def test_the_cache_folder_is_not_trusted_if_others_could_put_code_there(tmp_path, monkeypatch, how):
    """For example with HOME=/tmp, or as root with another user's HOME."""
    monkeypatch.setattr(runtime, "temporary_root", lambda: tmp_path)
    monkeypatch.delenv("CHARRNN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places.cache_clear()
    first = places()[0]
    first.write("code", CODE)
    assert first.read("code") == CODE
    first.root.chmod(0o770)
    assert first.read("code") == CODE
    if how == "of another user":
        uid = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    else:
        first.root.chmod(0o777)
    assert first.read("code") is None
    with pytest.raises(OSError, match=r"not a folder of yours alone"):
        first.write("other", CODE)
    monkeypatch.setenv("CHARRNN_CACHE", str(first.root))  # the user says so
    places.cache_clear()
    assert places()[0].read("code") == CODE
    places.cache_clear()


@pytest.mark.parametrize("variable", ["CHARRNN_CACHE", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("value", ["", "here", "./here", "."])
def test_no_code_comes_from_the_working_folder(monkeypatch, tmp_path, variable, value):
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, value)
    assert runtime.cache_root() == tmp_path / ".cache" / "charrnn"
    for home in ("here", ""):
        monkeypatch.setenv("HOME", home)
        root = runtime.cache_root()
        assert root is None or (root.is_absolute() and root != Path("/.cache/charrnn"))


def test_the_folder_that_is_asked_for_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CHARRNN_CACHE", raising=False)
    assert runtime.cache_root() == tmp_path / "xdg" / "charrnn"
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "asked"))
    assert runtime.cache_root() == tmp_path / "asked"


def test_nobody_knows_a_home_and_the_temporary_folder_is_relative(monkeypatch, tmp_path):
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert runtime.cache_root() is None
    monkeypatch.setenv("TMPDIR", "here")
    assert runtime.temporary_root() == Path("/tmp")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert runtime.temporary_root() == tmp_path


def test_a_new_cache_removes_old_ones_that_nobody_uses(tmp_path):
    old = time.time() - cache.RECENT_SECONDS - 60
    for name in ("0" * 16, "1" * 16, "2" * 16, "notes", "3" * 17):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code").touch()
        if name != "1" * 16:
            os.utime(tmp_path / name, (old, old))
    in_use = os.open(tmp_path / ("2" * 16), os.O_RDONLY)
    fcntl.flock(in_use, fcntl.LOCK_SH)
    Place(tmp_path).write("code", CODE)
    os.close(in_use)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["1" * 16, "2" * 16, "notes", "3" * 17, cache.key()]
    )


def test_a_cache_in_use_is_noted_as_such(tmp_path):
    Place(tmp_path).make()
    os.utime(tmp_path / cache.key(), (0, 0))
    place = Place(tmp_path)
    assert place.path.stat().st_mtime > time.time() - 3600
    other = os.open(place.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_of_two_processes_one_compiles_and_the_other_takes_what_it_made(tmp_path, use):
    """Threads stand for processes: each opens the lock for itself."""
    use(Place(tmp_path))
    inside, go_on, made = threading.Event(), threading.Event(), []

    def slow():
        inside.set()
        go_on.wait(60)
        made.append("slow")
        return CODE

    def fast():
        made.append("fast")
        return b"another"

    first = threading.Thread(target=cached_bytes, args=("code", slow))
    first.start()
    inside.wait(60)
    found = []
    second = threading.Thread(target=lambda: found.append(cached_bytes("code", fast)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    go_on.set()
    first.join(60)
    second.join(60)
    assert (found, made) == ([CODE], ["slow"])


def test_patience_with_another_process_ends(tmp_path, use, monkeypatch):
    place = Place(tmp_path)
    use(place)
    place.make()
    held = os.open(place.path / "code.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    monkeypatch.setattr(cache, "PATIENCE_SECONDS", 0.1)
    assert cached_bytes("code", lambda: CODE) == CODE
    os.close(held)


def test_compilation_inside_compilation_is_told_and_timed_once(tmp_path, use):
    use(Place(tmp_path))
    told, watched = [], Compilation()
    watched.tell = told.append
    with watched.of("outer"):
        with watched.of("inner"):
            pass
        assert watched.seconds == 0.0
    assert watched.seconds > 0.0
    assert len(told) == 1
