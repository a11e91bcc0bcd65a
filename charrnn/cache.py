"""The compile cache: files of machine code that are checked before they are used.

There are two places: the user's cache folder, and a folder under the temporary one. Code is read from the first place
that holds it undamaged, and written to the first place that accepts it. A damaged file counts as missing, and is made
again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from charrnn import runtime
from charrnn.errors import OutputError
from charrnn.files import reason
from charrnn.folders import locked
from charrnn.interrupt import deferred

try:
    import fcntl
except ImportError:  # on Windows nothing is locked
    fcntl = None  # type: ignore[assignment]

SEAL = hashlib.sha256().digest_size  # bytes at the end of each file: the hash of all before them
KEY = re.compile(r"[0-9a-f]{16}")  # how the folder of one version is named
RECENT_SECONDS = 7 * 86400.0  # after this time without use, the folder of another version is removed
PATIENCE_SECONDS = 60.0  # how long one process waits for another one that compiles the same


@cache
def key() -> str:
    """A hash of all that compiled code depends on: sources, compiler, interpreter, CPU, vector width."""
    from llvmlite import binding

    found = hashlib.sha256()
    package = Path(__file__).parent
    sources = [path for part in ("engine", "model", "sampling") for path in package.glob(f"{part}/*.py")]
    for path in sorted(sources):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    features = binding.get_host_cpu_features().flatten()
    parts = [version("numba"), version("llvmlite"), version("numpy"), sys.version]
    parts += [binding.get_host_cpu_name(), features, str(runtime.vector_bits()), runtime.LLVM_LEVEL]
    parts += [str(runtime.bfloat16_way()), str(not runtime.tiles_refused())]
    found.update("\0".join(parts).encode())
    return found.hexdigest()[:16]


class Place:
    """A folder with subfolders of compiled code: one for each version of everything that the code depends on.

    Args:
        root: the folder; it need not exist.
        forbidden: permissions of a root that is not trusted, because other people could put code there. It must also
            belong to this user. 0 if the user chose the root.

    Attributes:
        path: the folder for this version.
    """

    def __init__(self, root: Path, forbidden: int = 0) -> None:
        self.root, self.forbidden = root, forbidden
        self.path = root / key()
        self._held: int | None = None
        self._hold()

    def usable(self) -> bool:
        """Whether the content of the folder can be trusted."""
        if not self.forbidden:
            return True
        try:
            status = os.lstat(self.root)  # a symlink is not followed
        except OSError:
            return False
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & self.forbidden

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if the file is missing or damaged."""
        if not self.usable():
            return None
        try:
            content = (self.path / name).read_bytes()
        except OSError:
            return None
        body, seal = content[:-SEAL], content[-SEAL:]
        return body if hashlib.sha256(body).digest() == seal else None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        self.make()
        temporary = self.path / f".{name}.{os.getpid()}.tmp"
        try:
            temporary.write_bytes(content + hashlib.sha256(content).digest())
            os.replace(temporary, self.path / name)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def make(self) -> None:
        """Make the folder, if it is not there. Other folders of the same root are removed if nobody uses them any more.

        Raises:
            OSError: the folder cannot be made, or does not belong to this user alone.
        """
        if self.usable() and self.path.is_dir():
            return
        if self.forbidden:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.root.mkdir(mode=0o700)
            if not self.usable():
                raise PermissionError(f"{self.root} is not a folder of yours alone")
        self.path.mkdir(parents=True, exist_ok=True)
        self._hold()
        self._prune()

    def _hold(self) -> None:
        """Mark the folder as used: by its modification time, and by a lock until the process ends."""
        if not self.usable():
            return
        with suppress(OSError):
            os.utime(self.path)
            if fcntl is not None and self._held is None:
                self._held = os.open(self.path, os.O_RDONLY)
                fcntl.flock(self._held, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _prune(self) -> None:
        with suppress(OSError):
            for older in self.root.iterdir():
                if KEY.fullmatch(older.name) and older != self.path:
                    with suppress(OSError, OutputError):
                        if time.time() - older.lstat().st_mtime > RECENT_SECONDS:
                            with locked(older) as ours:
                                if ours:
                                    shutil.rmtree(older)


@cache
def places() -> list[Place]:
    """Where compiled code is kept, the best place first."""
    found = []
    has_users = hasattr(os, "getuid")
    if (root := runtime.cache_root()) is not None:
        found.append(Place(root, stat.S_IWOTH if has_users and not runtime.cache_chosen() else 0))
    if has_users:
        found.append(Place(runtime.temporary_root() / f"charrnn-{os.getuid()}", stat.S_IRWXG | stat.S_IRWXO))
    return found


class Compilation:
    """The messages to the user about the compilation in this process.

    Attributes:
        tell: shows one line; by default it does nothing.
        began: called before the first kernel is compiled; by default it does nothing.
        seconds: how many seconds compilation has taken so far.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda line: None
        self.began: Callable[[], None] = lambda: None
        self.seconds = 0.0
        self._depth, self._told = 0, set[str]()

    def once(self, subject: str, line: str) -> None:
        """Tell one line about a subject, the first time only."""
        if subject not in self._told:
            self._told.add(subject)
            self.tell(line)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Compile something inside the block. Other processes that compile the same wait, and signals are deferred.

        A signal takes effect at the end of the block. An exception that is raised inside the compiler would be lost, or
        would become another exception.
        """
        self.once("compiling", "compiling kernels for this CPU, on the first run of such a model, up to 40 s ...")
        start, began, self.began = time.perf_counter(), self.began, lambda: None
        began()
        try:
            with _alone(name), deferred(self._interrupted):
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
        finally:
            if not self._depth:
                self.seconds += time.perf_counter() - start

    def _interrupted(self) -> None:
        self.once("interrupted", "interrupted; ends when this kernel is compiled")


compilation = Compilation()


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep other processes out of such a block for this name. Each of them waits for PATIENCE_SECONDS at most."""
    descriptor = _lock_file(name)
    try:
        if descriptor is not None:
            _wait(descriptor)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock_file(name: str) -> int | None:
    for place in places() if fcntl is not None else []:
        with suppress(OSError):
            place.make()
            return os.open(place.path / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    return None


def _wait(descriptor: int) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:  # some file systems have no locks
            return


def keep(write: Callable[[Place], None]) -> None:
    """Write something to the first place that accepts it. If no place does, the code is compiled again next time."""
    troubles = [] if runtime.cache_root() is not None else ["expected a home folder, got none"]
    for place in places():
        try:
            write(place)
        except OSError as error:
            troubles.append(f"{place.root}: {reason(error)}")
            continue
        if troubles:
            trouble = "; ".join(troubles)
            compilation.once("kept", f"compiled code is kept in {place.root}, not in the cache folder ({trouble})")
        return
    compilation.once("kept", f"compiled code cannot be kept ({'; '.join(troubles)}); try CHARRNN_CACHE=FOLDER")


def cached_bytes(name: str, make: Callable[[], bytes]) -> bytes:
    """The content of the file `name` in the compile cache. If there is no such file, `make` makes the content."""

    def found() -> bytes | None:
        return next((content for place in places() if (content := place.read(name)) is not None), None)

    content = found()
    if content is None:
        with compilation.of(name):
            content = found()  # by now another process may have made it
            if content is None:
                made = content = make()
                keep(lambda place: place.write(name, made))
    return content
