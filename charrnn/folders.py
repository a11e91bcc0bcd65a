"""The project's own folders. Each is built beside its place, locked, then renamed, to appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path

from charrnn.errors import OutputError
from charrnn.files import HALF_WRITTEN, not_written, reason, sync, sync_folder, without_links
from charrnn.interrupt import deferred
from charrnn.json_files import read_object

try:
    import fcntl
except ImportError:  # on Windows nothing is locked
    fcntl = None  # type: ignore[assignment]

# What DATA and RUN folders hold. A folder with anything else in it is never replaced.
OUR_FILES = {"meta.json", "vocab.json", "train.npy", "val.npy", "test.npy"}
CONFIG, JOURNAL, LAST, BEST = RUN_FILES = ("config.json", "log.jsonl", "last.npz", "best.npz")
OUR_FILES |= set(RUN_FILES)
OLDER_CHECKPOINT = re.compile(r"step-\d+\.npz")
LARGEST_MARKER = 1 << 26  # bytes of a JSON file that marks a folder
UNDER_CONSTRUCTION = ".new"  # the end of a folder's name until the folder is at its place
OLD_SECONDS = 60.0  # a folder under construction that is older and not locked was left behind


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Lock this folder inside the block. The system releases the lock when the process ends, even if it is killed.

    The value is False if there are no locks: on some file systems, and on Windows. Then others may use the folder.

    Raises:
        OutputError: another process holds it.
    """
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(folder, descriptor)
    finally:
        os.close(descriptor)


def _lock(folder: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"expected {folder} for this command alone, got it in use by another one; try another --out, or wait"
        ) from None
    except OSError:
        return False
    return True


class OpenFolder:
    """A folder that is found again after somebody has moved it. On Windows nobody can move it while it is in use.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor = path, -1
        if os.name != "nt":
            self._descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def place(self) -> Path:
        """Where the folder is now.

        Raises:
            OutputError: it was removed, or the system does not say where it is.
        """
        if self._descriptor < 0 or self._is_at(self._path):
            return self._path
        with suppress(OSError):  # only Linux knows the path of an open folder
            moved = Path(os.readlink(f"/proc/self/fd/{self._descriptor}"))
            if moved == without_links(self._path) or self._is_at(moved):
                return moved
        raise OutputError(
            f"expected the folder {self._path} to stay where this command writes to it, got it removed; "
            "try the command again"
        )

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._descriptor))
        except OSError:
            return False


class NewFolder:
    """A folder under construction.

    Args:
        place: the final path of the folder, resolved.
        marker: see `building_folder`.
        site: the folder that it is built in, on the same file system as its place.
        force: whether an older folder of the project may be replaced.

    Attributes:
        path: where its files are now.
    """

    def __init__(self, place: Path, marker: str, site: Path, force: bool) -> None:
        self.place, self.marker, self.force = place, marker, force
        self._site = site
        self.path = site / "whole"
        self.path.mkdir()

    def try_swap(self) -> None:
        """Move the older folder aside and back: what cannot be replaced, such as a mount point, is an error at once."""
        with deferred(), locked(self.place):
            os.rename(self.place, self._site / "older")
            os.rename(self._site / "older", self.place)

    def settle(self) -> Path:
        """Flush the folder to disk and move it to its place, if it is not there yet. Returns the place.

        Raises:
            OutputError: something else appeared at the place meanwhile. It is not changed.
        """
        if self.path == self.place:
            return self.place
        try:
            for file in self.path.iterdir():
                sync(file, os.O_RDWR)
            sync_folder(self.path)
            with deferred():
                self._move()
            sync_folder(self.place.parent)
        except OSError as error:
            raise not_written(self.place, error) from error
        shutil.rmtree(self._site, ignore_errors=True)
        return self.place

    def _move(self) -> None:
        if self._site.parent == self.place:
            self._fill()
        elif self.place.exists() and self.force:
            self._swap()
        else:
            try:
                os.rename(self.path, self.place)
            except OSError:
                if self.place.exists():
                    raise self._appeared() from None
                raise
        self.path = self.place

    def _fill(self) -> None:
        """Fill an empty folder, which may be a mount point or somebody's working folder.

        The marker comes last, because it makes the folder one of the project.
        """
        if _content(self.place):
            raise self._appeared()
        for item in sorted(self.path.iterdir(), key=lambda item: item.name == self.marker):
            if item.name == self.marker:
                sync_folder(self.place)
            os.rename(item, self.place / item.name)
        sync_folder(self.place)

    def _swap(self) -> None:
        """Replace an older folder. It is moved aside, or back if the replacement fails."""
        with locked(self.place):
            _refuse(self.place, self.marker, force=True)
            aside = self._site / "older"
            os.rename(self.place, aside)
            try:
                os.rename(self.path, self.place)
            except OSError:
                os.rename(aside, self.place)
                raise

    def _appeared(self) -> OutputError:
        return OutputError(
            f"expected {self.place} to stay free while its content was made, got something that came to stand there; "
            "try another --out"
        )


@contextmanager
def building_folder(path: Path, marker: str, force: bool) -> Iterator[NewFolder]:
    """A new folder that moves to `path` when the block succeeds, or earlier by `settle`. Otherwise it is removed.

    It is locked until the block ends.

    Args:
        path: the final place of the folder. An empty folder there is filled.
        marker: a JSON file that marks an older folder of the project. Nothing else is ever replaced.
        force: whether such an older folder may be replaced.
    Raises:
        OutputError: something stands at `path`, or it cannot be written. What stood there is not changed.
    """
    clear_leftovers(path)
    refuse_existing(path, marker, force)
    place = without_links(path)
    fills = place.exists() and not _content(place)
    missing = [parent for parent in place.parents if not parent.exists()]
    with ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(_remove_empty, missing)
            with deferred():  # a signal acts before there is a folder, or when its removal is certain
                site = Path(_site(place, place if fills else place.parent))
                stack.callback(_remove_site, site, place)
            for folder in [site, *([place] if fills else [])]:
                stack.enter_context(locked(folder))
            new = NewFolder(place, marker, site, force)
            stack.enter_context(locked(new.path))
            if place.exists() and not fills:
                new.try_swap()
        except OSError as error:
            raise OutputError(
                f"expected a writable folder for {place}, got: {reason(error)}; try another --out"
            ) from error
        try:
            yield new
        except OSError as error:
            raise not_written(place, error) from error
        new.settle()


def _site(place: Path, parent: Path) -> str:
    return tempfile.mkdtemp(prefix=f".{place.name}.", suffix=UNDER_CONSTRUCTION, dir=parent)


def _remove_site(site: Path, place: Path) -> None:
    """Remove a folder under construction. An older folder that was moved aside goes back first, or all stays."""
    with suppress(OSError):
        if (site / "older").is_dir() and not place.exists():
            os.rename(site / "older", place)
        shutil.rmtree(site, ignore_errors=True)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # a folder that is not empty stays
            folder.rmdir()


def clear_leftovers(path: Path) -> None:
    """Remove the unfinished folders that killed processes left when they built a folder for `path`.

    A process that is still building holds a lock, so its folder stays. Without locks, nothing is removed. If an older
    folder was moved aside and not yet replaced, it is moved back.
    """
    place = without_links(path)
    for parent in (place.parent, place):
        for site in parent.glob(f".{escape(place.name)}.*{UNDER_CONSTRUCTION}"):
            with suppress(OSError, OutputError):
                if not _is_site(site.name, place) or time.time() - site.stat().st_mtime < OLD_SECONDS:
                    continue
                with locked(site) as ours:
                    if ours:
                        _remove_site(site, place)


def refuse_existing(path: Path, marker: str, force: bool, otherwise: str = "") -> None:
    """Raise OutputError unless `path` is free, an empty folder, or (with force) an older folder of the project.

    The older folder must not be in use. `otherwise` is one more thing to try; the message names it first.
    """
    if _refuse(path, marker, force, otherwise):
        with locked(path):
            pass


def _refuse(path: Path, marker: str, force: bool, otherwise: str = "") -> bool:
    """Raise OutputError as `refuse_existing` does, but ignore locks. Returns whether there is an older folder."""
    if not path.exists() and not path.is_symlink():
        return False
    if path.is_dir() and not _content(path):
        return any(path.iterdir())  # somebody may be about to fill it
    foreign = [name for name in _content(path) if not _is_our_file(name)] if path.is_dir() else []
    if foreign or not _is_ours(path, marker):
        there = f"{path}, which holds something else ({foreign[0]})" if foreign else what_is(path)
        raise OutputError(f"expected a new folder, got {there}; try another --out")
    if not force:
        raise OutputError(
            f"expected a new folder, got {path}, which exists; try {otherwise}another --out, or --force to replace it"
        )
    if Path.cwd().is_relative_to(without_links(path)):
        raise OutputError(f"expected a folder to replace, got {path}, the working folder; try from outside it")
    return True


def _content(folder: Path) -> list[str]:
    """The names in a folder, without folders under construction."""
    return sorted(item.name for item in folder.iterdir() if not _is_site(item.name, folder.resolve()))


def _is_site(name: str, place: Path) -> bool:
    """Whether a folder with this name is the site of `place`; the random part of such a name has no dots."""
    return bool(re.fullmatch(rf"\.{re.escape(place.name)}\.[a-z0-9_]+{re.escape(UNDER_CONSTRUCTION)}", name))


def _is_our_file(name: str) -> bool:
    return name in OUR_FILES or any(pattern.fullmatch(name) for pattern in (OLDER_CHECKPOINT, HALF_WRITTEN))


def _is_ours(folder: Path, marker: str) -> bool:
    """Whether a JSON file marks this folder as one of the project.

    A damaged JSON file counts only if there are other files of the project.
    """
    try:
        content = read_object(folder / marker, LARGEST_MARKER)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return any((folder / name).exists() for name in OUR_FILES - {marker})
    if "format" not in content:
        return any((folder / name).exists() for name in OUR_FILES - {marker, CONFIG, "vocab.json"})
    return str(content["format"]).startswith("charrnn-")


def what_is(path: Path) -> str:
    """What stands at a path, for messages: "d, a DATA folder", "x, which does not exist"."""
    if not path.exists():
        return f"{path}, {'a link to nothing' if path.is_symlink() else 'which does not exist'}"
    if not path.is_dir():
        return f"{path}, a checkpoint" if path.suffix == ".npz" else f"{path}, a file"
    if (path / "meta.json").is_file():
        return f"{path}, a DATA folder"
    if (path / CONFIG).is_file() and (path / LAST).is_file():
        return f"{path}, a RUN folder"
    return f"{path}, {'a folder' if _content(path) else 'an empty folder'}"
