"""Where text comes from: files, folders of files, compressed files, standard input."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from charrnn.errors import DataError, OutputError, UndecodableError
from charrnn.files import reason
from charrnn.interrupt import ending_at_once
from charrnn.text.patterns import Patterns
from charrnn.text.reading import Reading, Repairs, read_blocks
from charrnn.text.vocabulary import Codes

STANDARD_INPUT = Path("-")
BLOCK = 1 << 18  # bytes that are processed at a time: with all arrays made from them, they fit into the L2 cache
PACKED = {  # the first bytes of compressed streams
    ".gz": re.compile(rb"\x1f\x8b\x08"),
    ".bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    ".xz": re.compile(rb"\xfd7zXZ\0"),
}
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}  # each ending, and the module that reads such files

Advance = Callable[[int], None]


class Source:
    """One file to read, perhaps several times.

    Args:
        path: the file.
        name: the name of the file in meta.json and in messages.
        file: an open file to read instead of the path; it holds what came from standard input or a pipe.
        in_folder: whether the user named the folder of the file, and not the file itself.

    Attributes:
        size: number of bytes as stored.
        sha256: hash of the bytes as stored, in hexadecimal; empty until the file was read to its end.
    """

    def __init__(self, path: Path, name: str, file: IO[bytes] | None = None, in_folder: bool = False) -> None:
        self.path, self.name, self._file, self.in_folder = path, name, file, in_folder
        self.sha256 = ""
        with _readable(path), ExitStack() as stack:
            opened = self._open(stack)
            self._ending = path.suffix if file is None else _ending_of(opened.read(10))
            self.size = opened.seek(0, io.SEEK_END)

    def _open(self, stack: ExitStack) -> IO[bytes]:
        if self._file is not None:
            self._file.seek(0)
            return self._file
        return stack.enter_context(self.path.open("rb", buffering=0))

    def blocks(self, advance: Advance) -> Iterator[bytes]:
        """The content of the file, decompressed.

        Args:
            advance: called with the number of stored bytes read since the last call.
        Raises:
            DataError: the file cannot be read, is damaged, or has changed since it was read before.
        """
        with _readable(self.path), ExitStack() as stack:
            hashed = _Hashed(self._open(stack), advance)
            yield from filter(None, self._decompressed(hashed))
            while hashed.read(BLOCK):
                pass
        found = hashed.sha256.hexdigest()
        if self.sha256 not in ("", found):
            raise DataError(f"expected {self.name} to stay as it is, got changes while it was read; try once more")
        self.sha256 = found

    def _decompressed(self, stored: Any) -> Iterator[bytes]:
        """The content of the file in pieces, some of which may be empty."""
        if self._ending not in COMPRESSED or not self.size:
            return iter(lambda: stored.read(BLOCK), b"")
        module = COMPRESSED[self._ending]
        try:
            decompression = import_module(module)
        except ImportError:
            raise DataError(
                f"expected a Python with {module} to read {self.path}, got one without; try to decompress it first"
            ) from None
        if module == "gzip":
            content = decompression.open(io.BufferedReader(stored), "rb")
            return iter(lambda: content.read(BLOCK), b"")
        if module == "bz2":
            return _of_streams(stored, decompression.BZ2Decompressor)
        return _of_streams(stored, lambda: decompression.LZMADecompressor(format=decompression.FORMAT_XZ))

    def hash(self, advance: Advance) -> None:
        """Read the file, only to compute its hash."""
        with _readable(self.path), ExitStack() as stack:
            hashed = _Hashed(self._open(stack), advance)
            while hashed.read(BLOCK):
                pass
        self.sha256 = hashed.sha256.hexdigest()


def _ending_of(beginning: bytes) -> str:
    """The ending that a file with these first bytes would have; empty if it is not compressed."""
    return next((ending for ending, pattern in PACKED.items() if pattern.match(beginning)), "")


def _of_streams(stored: Any, begin: Callable[[], Any]) -> Iterator[bytes]:
    """The content of one compressed stream or more, with padding of NUL bytes between and after them.

    The files of bz2 and lzma would end the text without a word where a later stream is damaged.

    Args:
        stored: an open file.
        begin: makes a decompressor.
    """
    decompressor, data = begin(), b""
    while True:
        if decompressor.eof:
            data = decompressor.unused_data.lstrip(b"\0")
            while not data:
                if not (block := stored.read(BLOCK)):
                    return
                data = block.lstrip(b"\0")
            decompressor = begin()
        elif decompressor.needs_input:
            if not (data := stored.read(BLOCK)):
                raise EOFError("it ends too early")
        else:
            data = b""
        yield decompressor.decompress(data, BLOCK)


class _Hashed(io.RawIOBase):
    """A file whose SHA-256 is computed while it is read."""

    def __init__(self, file: IO[bytes], advance: Advance) -> None:
        self.file, self.advance, self.sha256 = file, advance, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self.file.readinto(buffer)  # type: ignore[attr-defined]
        self.sha256.update(memoryview(buffer)[:count])
        self.advance(count)
        return count


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns errors that happen while a file is read into a DataError."""
    try:
        yield
    except _damage() as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"expected a readable text file, got {path}: {reason(error)}; try another path") from None
        raise UndecodableError(
            f"expected a whole {path.suffix or 'compressed'} file, got {path}, damaged ({error}); try another copy"
        ) from None


def _damage() -> tuple[type[Exception], ...]:
    """The exceptions that reading may raise; some decompression modules may be missing in a Python."""
    names = {"zlib": "error", "lzma": "LZMAError"}
    loaded = [getattr(sys.modules[module], name) for module, name in names.items() if module in sys.modules]
    return (OSError, EOFError, *loaded)


def find_sources(inputs: list[Path], patterns: Patterns, stack: ExitStack, spool_in: Path) -> list[Source]:
    """The files that the inputs stand for, in their order; the files of a folder in the order of their paths.

    Args:
        inputs: files, folders, or `-` for standard input.
        patterns: which files of folders are read.
        stack: closes the files that are opened here.
        spool_in: a folder for a temporary file, which holds what comes from a pipe.
    Raises:
        DataError: a file is missing, unreadable or empty, or a folder has none that fit.
    """
    sources: list[Source] = []
    for path in inputs:
        sources += _files_in(path, patterns) if path.is_dir() else [_one_source(path, path.name, stack, spool_in)]
    return sources


def _one_source(path: Path, name: str, stack: ExitStack, spool_in: Path | None) -> Source:
    if path == STANDARD_INPUT:
        source = _spooled(path, "-", sys.stdin.buffer if sys.stdin else io.BytesIO(), stack, spool_in)
    elif path.is_fifo():
        with _readable(path), ending_at_once():
            pipe = stack.enter_context(path.open("rb"))
        source = _spooled(path, name, pipe, stack, spool_in)
    elif path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a device or socket"
        raise DataError(f"expected a text file, got {path}, which is {what}; try another path")
    else:
        source = Source(path, name)
    if not source.size:
        what = "an empty standard input" if path == STANDARD_INPUT else f"the empty file {path}"
        raise DataError(f"expected text, got {what}; try {'a pipe or a file' if name == '-' else 'another file'}")
    return source


def _files_in(folder: Path, patterns: Patterns) -> list[Source]:
    root = folder.resolve().name
    found = [
        Source(path, f"{root}/{path.relative_to(folder).as_posix()}", in_folder=True) for path in patterns.files(folder)
    ]
    if not any(source.size for source in found):
        what = "only empty ones" if found else "none"
        raise DataError(f"expected files that fit {patterns} in {folder}, got {what}; try another --glob")
    return found


def _spooled(path: Path, name: str, pipe: Any, stack: ExitStack, spool_in: Path | None) -> Source:
    """The content of a pipe, which may be compressed, in a temporary file, because it is read twice."""

    def blocks() -> Iterator[bytes]:
        with _readable(path), ending_at_once():
            while block := pipe.read1(BLOCK):  # read1, so that the first Ctrl-D at a terminal ends the text
                yield block

    try:
        spool = stack.enter_context(tempfile.TemporaryFile(dir=spool_in))  # noqa: SIM115  (the stack closes it)
        for block in blocks():
            spool.write(block)
        spool.flush()
    except OSError as error:
        where, place = (spool_in, "--out") if spool_in else ("the folder for temporary files", "TMPDIR")
        raise OutputError(
            f"expected room in {where} for what comes from {name}, got: {reason(error)}; try another {place}"
        ) from None
    return Source(path, name, spool)


def read_file(path: Path, reading: Reading, repairs: Repairs) -> Iterator[Codes]:
    """The characters or bytes of one file, or of standard input for `-`, in pieces; `repairs` counts what was repaired.

    Raises:
        DataError: the file is missing, a folder, empty or undecodable.
    """
    some = False
    with ExitStack() as stack:
        source = _one_source(path, str(path), stack, None)
        for codes in read_blocks(source.blocks(lambda _: None), source.name, reading, repairs):
            some = True
            yield codes
    if not some:
        raise DataError(f"expected text, got the empty file {path}; try another file")
