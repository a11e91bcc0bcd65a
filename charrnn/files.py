"""Files and folders that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from charrnn.errors import OutputError


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"expected to write {path}, got: {_reason(error)}; try another folder or free some space")


def _sync_folder(folder: Path) -> None:
    """Flush a rename to disk, where the system can do that for folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# What DATA and RUN folders hold. A folder with anything else in it is never replaced.
OUR_FILES = {"meta.json", "vocab.json", "train.npy", "val.npy", "test.npy"}
OUR_FILES |= {"config.json", "log.jsonl", "last.npz", "best.npz"}


OLDER_CHECKPOINT = re.compile(r"step-\d+\.npz")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else holds this folder inside the block; the system gives it free when the process ends, however it ends.

    Raises:
        OutputError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # on Windows nothing is locked
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(
            f"expected {folder} for this run alone, got it in use by another one; try another --out, or wait"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends well, and vanishes when it does not.

    Raises:
        OutputError: the folder cannot be written, or the disk is full; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def building_folder(path: Path, marker: str, force: bool) -> Iterator[Path]:
    """A new folder beside `path` that takes its place when the block ends well, and vanishes otherwise.

    Args:
        path: where the folder shall stand; an empty folder there is filled.
        marker: a JSON file by which an older folder of ours is known; nothing else is ever replaced.
        force: whether such an older folder may be replaced.
    Raises:
        OutputError: something stands at `path`, or it cannot be written; what stood there is then as it was.
    """
    refuse_existing(path, marker, force)
    path = path.resolve()
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"expected a writable folder for {path}, got: {_reason(error)}; try another --out") from error
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        _move_into_place(temporary, path, marker)
        _sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # a folder that is not empty stays
            for parent in missing:
                parent.rmdir()


def _move_into_place(new: Path, path: Path, marker: str) -> None:
    """Let the folder `new` stand at `path`; an older one is moved aside first, and back if that fails."""
    if not path.exists():
        os.rename(new, path)
    elif not any(path.iterdir()):
        # Filled, not replaced: it may be somebody's working folder. The marker, which makes it ours, comes last.
        for item in sorted(new.iterdir(), key=lambda item: item.name == marker):
            os.rename(item, path / item.name)
    else:
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)) / "older"
        try:
            os.rename(path, aside)
            try:
                os.rename(new, path)
            except OSError:
                os.rename(aside, path)
                raise
        finally:
            shutil.rmtree(aside.parent, ignore_errors=True)


def refuse_existing(path: Path, marker: str, force: bool, otherwise: str = "") -> None:
    """Raise OutputError unless `path` is free, an empty folder, or (with force) an older folder of ours.

    `otherwise` is what else to try, put before the other advice.
    """
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    foreign = sorted({item.name for item in path.iterdir()} - OUR_FILES) if path.is_dir() else []
    foreign = [name for name in foreign if not OLDER_CHECKPOINT.fullmatch(name)]
    if foreign or not _is_ours(path, marker):
        what = f"something else ({foreign[0]})" if foreign else "something else"
        raise OutputError(f"expected a new folder, got {path}, which exists and holds {what}; try another --out")
    if not force:
        raise OutputError(
            f"expected a new folder, got {path}, which exists; try {otherwise}another --out, or --force to replace it"
        )
    with locked(path):
        pass  # or somebody trains in it
    if Path.cwd().is_relative_to(path.resolve()):
        raise OutputError(f"expected a folder to replace, got {path}, the working folder; try from outside it")


def _is_ours(folder: Path, marker: str) -> bool:
    """Whether a JSON file marks this folder as one of this project; a damaged one does beside other files of ours."""
    try:
        content = json.loads((folder / marker).read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        return any((folder / name).exists() for name in OUR_FILES - {marker})
    if not isinstance(content, dict) or "format" not in content:
        return any((folder / name).exists() for name in OUR_FILES - {marker, "config.json", "vocab.json"})
    return str(content["format"]).startswith("charrnn-")


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
