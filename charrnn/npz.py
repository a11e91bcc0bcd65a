"""An .npz file, member by member. The header of each member can be checked before its numbers are read."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from charrnn.files import open_regular
from charrnn.npy import Header, read_header, read_numbers

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the first bytes of an archive, and of an empty archive
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LONGEST_TEXT = 1 << 20  # bytes; each character has four

# The errors that zipfile raises on damaged content.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, IndexError),
    *(NotImplementedError, RuntimeError, OverflowError, MemoryError),
)


class NotAnArchive(ValueError):  # noqa: N818  (it says what the file is)
    """The file does not begin as an .npz does."""


@contextmanager
def _whole() -> Iterator[None]:
    """Turns the errors that zipfile raises on a damaged archive into a ValueError."""
    try:
        yield
    except DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from None


class Archive:
    """An .npz file that is open for reading. A member is only read into memory when it is asked for.

    Args:
        path: the file.
    Raises:
        OSError: the file cannot be read, or is not a regular file.
        NotAnArchive: the file is not an archive.
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            file = stack.enter_context(open_regular(path))
            start = file.read(len(MAGIC[0]))
            if start and start not in MAGIC:
                raise NotAnArchive(f"{path} is not an .npz file")
            with _whole():
                self._zip = stack.enter_context(zipfile.ZipFile(file))
            self._stack = stack.pop_all()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[Any, Header]]:
        """A member and its header, whose size agrees with that of the member."""
        with _whole():
            if f"{name}.npy" not in self._zip.NameToInfo:
                raise ValueError(f"{name} is missing")
            info = self._zip.getinfo(f"{name}.npy")
            if info.compress_type not in METHODS:
                raise ValueError(f"{name} is compressed in an unknown way")
            with self._zip.open(info) as member:
                header = read_header(member)
                if header.size + header.nbytes != info.file_size:
                    raise ValueError(f"{name} has {info.file_size:,} bytes, not those of its array")
                yield member, header

    def header(self, name: str) -> Header:
        """What a member declares."""
        with self._open(name) as (_, header):
            return header

    def array(self, name: str) -> NDArray[Any]:
        """A member as an array. Check its header before."""
        with self._open(name) as (member, header):
            array = read_numbers(member, header)
            member.read(1)  # nothing is left to read, so zipfile now compares the member's checksum
            return array

    def text(self, name: str) -> str:
        """A member that is one string.

        Raises:
            ValueError: the member is not a string, or is too long.
        """
        header = self.header(name)
        if header.dtype.kind != "U" or header.shape != () or header.nbytes > LONGEST_TEXT:
            raise ValueError(f"{name} is not a short text")
        codes = self.array(name).reshape(1).view(header.dtype.byteorder.replace("|", "=") + "u4")
        return codes.astype("<u4").tobytes().decode("utf-32-le").rstrip("\0")

    def number(self, name: str, kinds: str) -> Any:
        """A member that is one number of one of these kinds, as in NumPy's `dtype.kind`."""
        header = self.header(name)
        if header.dtype.kind not in kinds or header.shape != ():
            raise ValueError(f"{name} is not a single number")
        return self.array(name).item()
