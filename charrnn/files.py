"""Files that appear whole or not at all: each is written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from charrnn.errors import OutputError

HALF_WRITTEN = re.compile(r"\..+\.\d+\.tmp")  # the name that `replacing` gives a file until it is complete


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading. A pipe or a device in its place is an error at once, without any waiting.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return descriptor

    return open(path, "rb", opener=opener)


def without_links(path: Path) -> Path:
    """The path, absolute and without links. Unlike with `Path.resolve`, a loop of links stays as it is."""
    return Path(os.path.realpath(path))


def reason(error: OSError) -> str:
    """What the system says about an error."""
    return error.strerror or str(error)


def not_written(path: Path, error: OSError) -> OutputError:
    """The error that says why something could not be written."""
    return OutputError(f"expected to write {path}, got: {reason(error)}; try another folder or free some space")


def sync_folder(folder: Path) -> None:
    """Flush renames to disk, where the system and the file system can do that for folders."""
    if os.name == "posix":
        with suppress(OSError):
            sync(folder, os.O_RDONLY)


def sync(path: Path, flags: int) -> None:
    """Flush what was written to `path`, which is opened with these flags."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that replaces `path` if the block succeeds, and is removed if it fails.

    Raises:
        OutputError: the folder cannot be written, or the disk is full. Then `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def clear_half_written(folder: Path) -> None:
    """Remove the incomplete files of killed processes. Nobody else may write to the folder, so lock it first."""
    for path in folder.iterdir():
        if HALF_WRITTEN.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()
