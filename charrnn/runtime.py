"""Threads, BLAS, memory and folders: the only file that reads or sets environment variables."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from charrnn.errors import ConfigError

# Threads that wait at the end of a parallel region spin this many times before they sleep. With the default of
# libgomp they spin so long that other work on the machine almost stops.
SPIN_COUNT = "1000"
# How much LLVM optimises. The inner loops of kernels are written as vector instructions, so levels 2 and 3 make them no
# faster. But with level 3 the first training of a model waits two seconds longer.
LLVM_LEVEL = "1"
STARTED = time.perf_counter()  # when this process began


def prepare(threads: int | None = None) -> None:
    """Set the environment variables that numba, libgomp and BLAS read. Call this before they are imported.

    Args:
        threads: threads for the engine; None for as many as CPUs are available.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ["NUMBA_OPT"] = LLVM_LEVEL
    os.environ.pop("NUMBA_DISABLE_JIT", None)  # kernels are made of vector instructions, which Python does not have
    os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")
    for library in ("OPENBLAS", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # the engine's threads are the only ones
    if threads is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    elif not os.environ.get("NUMBA_NUM_THREADS"):
        os.environ["NUMBA_NUM_THREADS"] = str(available_cpus())  # numba does not know a container's share


MOST_THREADS = 1024  # with more, threads find no memory for their stacks


def threads() -> int:
    """How many threads the engine gets.

    Raises:
        ConfigError: NUMBA_NUM_THREADS is not such a number.
    """
    text = os.environ.get("NUMBA_NUM_THREADS", "").strip() or str(available_cpus())
    if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= MOST_THREADS:
        raise ConfigError(f"expected NUMBA_NUM_THREADS from 1 to {MOST_THREADS}, got {text!r}; try to unset it")
    return int(text)


CPU_LIMITS = (  # where a container's share of the CPUs stands (versions 2 and 1): microseconds in each period
    (Path("/sys/fs/cgroup/cpu.max"),),
    (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")),
)


def available_cpus() -> int:
    """How many CPUs this process may use; a container's share is rounded up."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in CPU_LIMITS:
        with suppress(OSError, ValueError):
            time, period = (int(word) for file in files for word in file.read_text().split())
            if time > 0:  # -1 for no limit
                known = min(known, -(-time // period))
    return known


def cpu_name() -> str:
    """The name of the CPU."""
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
    """How many bytes the system (and a container's limit) leaves for new work; None if the system does not say it."""
    found = []
    with suppress(OSError, ValueError):
        lines = MEMORY_INFO.read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for cgroup in CGROUPS:
        with suppress(OSError, ValueError):
            found.append(_left_in(*cgroup))
    return min(found, default=None)


def _left_in(folder: Path, limit: str, used: str, cache: str) -> int:
    """How many bytes a container's limit leaves.

    Pages of files that were not read recently count as free, because the system gives them up on demand.
    """
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
        raise ConfigError(f"expected CHARRNN_VECTOR_BITS to be 128, 256 or 512, got {text!r}; try to unset it")
    return int(text)


BFLOAT16_WAYS = ("amx", "avx512", "emulated", "amx-emulated")


def bfloat16_way() -> str | None:
    """The way of computing bfloat16 products that CHARRNN_BFLOAT16 forces, or None."""
    way = os.environ.get("CHARRNN_BFLOAT16") or None
    if way is not None and way not in BFLOAT16_WAYS:
        known = ", ".join(BFLOAT16_WAYS)
        raise ConfigError(f"expected CHARRNN_BFLOAT16 to be one of {known}, got {way!r}; try to unset it")
    return way


ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18  # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)


@cache
def tiles_refused() -> str:
    """Why the threads of this process may not use the CPU's matrix tiles; empty if they may.

    Linux refuses them if the CPU has none, and also if a thread has too small a stack for signals.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "they are used only under Linux on x86-64"
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    if syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0:
        return ""
    return f"Linux says {os.strerror(ctypes.get_errno())!r}"


def colours_wanted() -> bool:
    """Whether the user has not set NO_COLOR (no-color.org)."""
    return not os.environ.get("NO_COLOR")


def debugging() -> bool:
    """Whether errors should show their traceback (CHARRNN_DEBUG=1)."""
    return os.environ.get("CHARRNN_DEBUG", "") not in ("", "0")


def cache_chosen() -> Path | None:
    """The folder for compiled code that the user chose."""
    return _folder_in("CHARRNN_CACHE")


def cache_root() -> Path | None:
    """The folder for compiled code; None where the user chose none and the system knows no home folder."""
    if folder := cache_chosen():
        return folder
    for name in ("XDG_CACHE_HOME", *(["LOCALAPPDATA"] if sys.platform == "win32" else [])):
        if folder := _folder_in(name):
            return folder / "charrnn"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ".cache" / "charrnn" if home.is_absolute() and os.environ.get("HOME") != "" else None


def temporary_root() -> Path:
    """The folder for temporary files, which is never the working folder."""
    if sys.platform == "win32":
        return Path(tempfile.gettempdir())
    folder = _folder_in("TMPDIR")
    return folder if folder is not None and folder.is_dir() else Path("/tmp")


def _folder_in(variable: str) -> Path | None:
    """The folder that a variable names. An empty or relative path counts as unset.

    A relative path leads into the working folder, where anybody may have put code.
    """
    folder = Path(os.environ.get(variable, ""))
    return folder if folder.is_absolute() else None
