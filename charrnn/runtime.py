"""Threads, the compile cache and BLAS: the only file that reads or sets environment variables."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from charrnn.errors import ConfigError

# Threads that wait at the end of a parallel region spin this often before they sleep. The default of
# libgomp spins so long that a machine with other work on it comes to a standstill.
SPIN_COUNT = "1000"
STARTED = time.perf_counter()  # when this process began


def prepare(threads: int | None = None) -> None:
    """Set what numba, libgomp and BLAS read when they load; so call it before they are imported.

    Args:
        threads: threads for the engine; None for as many as CPUs are available.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")
    for library in ("OPENBLAS", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # the engine's threads are the only ones
    if threads is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)


def available_cpus() -> int:
    """How many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """What the CPU calls itself."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


MEMORY_INFO = Path("/proc/meminfo")
CGROUPS = (  # where a container's limit stands (versions 2 and 1): a folder, then its files, then a line of memory.stat
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory() -> int | None:
    """Bytes that new work can have, as the system (and a container's limit) says; None where it does not say."""
    found = []
    with suppress(OSError, ValueError):
        lines = MEMORY_INFO.read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for cgroup in CGROUPS:
        with suppress(OSError, ValueError):
            found.append(_left_in(*cgroup))
    return min(found, default=None)


def _left_in(folder: Path, limit: str, used: str, cache: str) -> int:
    """What a container's limit leaves; pages of files that were not read of late are given up when asked for."""
    cached = 0
    with suppress(OSError, ValueError):
        lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cached = sum(int(value) for name, value in lines if name == cache)
    return max(0, int((folder / limit).read_text()) - int((folder / used).read_text()) + cached)


def vector_bits() -> int | None:
    """The vector width forced by CHARRNN_VECTOR_BITS (128, 256 or 512), or None."""
    text = os.environ.get("CHARRNN_VECTOR_BITS")
    if text is None:
        return None
    if text not in ("128", "256", "512"):
        raise ConfigError(f"expected CHARRNN_VECTOR_BITS to be 128, 256 or 512, got {text!r}; try unset it")
    return int(text)


def debugging() -> bool:
    """Whether errors should show their traceback (CHARRNN_DEBUG=1)."""
    return os.environ.get("CHARRNN_DEBUG", "") not in ("", "0")


def _cache_root() -> Path:
    if "CHARRNN_CACHE" in os.environ:
        return Path(os.environ["CHARRNN_CACHE"])
    if "XDG_CACHE_HOME" in os.environ:
        return Path(os.environ["XDG_CACHE_HOME"]) / "charrnn"
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"]) / "charrnn"
    return Path.home() / ".cache" / "charrnn"


def _cache_key() -> str:
    """A hash of all that compiled code depends on: sources, compiler, interpreter, CPU, vector width."""
    from llvmlite import binding

    key = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted([*package.glob("engine/*.py"), *package.glob("model/*.py")]):
        key.update(path.name.encode() + b"\0" + path.read_bytes())
    features = binding.get_host_cpu_features().flatten()
    parts = [version("numba"), version("llvmlite"), version("numpy"), sys.version]
    parts += [binding.get_host_cpu_name(), features, str(vector_bits())]
    key.update("\0".join(parts).encode())
    return key.hexdigest()[:16]


@cache
def compile_cache() -> Path:
    """The folder for compiled code: the user's cache folder, or a temporary one where that can't be written."""
    folder = _cache_root() / _cache_key()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="charrnn-cache-"))


def use_compile_cache() -> None:
    """Make numba keep its compiled code in our folder."""
    from numba.core import config

    config.CACHE_DIR = str(compile_cache())


def cached_bytes(name: str, make: Callable[[], bytes]) -> bytes:
    """The file `name` of the compile cache, made by `make` the first time."""
    path = compile_cache() / name
    if path.is_file():
        return path.read_bytes()
    content = make()
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
    return content


def _compiled_marker(kernels: str) -> Path:
    return compile_cache() / f"compiled {kernels}"


def compiled_before(kernels: str) -> bool:
    """Whether these kernels are in the compile cache already."""
    return _compiled_marker(kernels).exists()


def mark_compiled(kernels: str) -> None:
    """Note that these kernels are in the compile cache."""
    _compiled_marker(kernels).touch()
