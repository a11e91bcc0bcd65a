"""Kernels kept in the compile cache: damaged files, two writers, and interrupts inside the compiler."""

import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from helpers_cli import SIZES, begin, charrnn, compiled_code, environment, interrupt_when
from numba import types
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from charrnn import cache
from charrnn.cache import Place, compilation
from charrnn.engine.kernel import Entries, inlined, kernel, subroutine


def double(x):
    return 2 * x


@intrinsic
def interrupted(typing, x):
    """The number itself; a signal comes while it is compiled."""

    def emit(context, builder, signature, arguments):
        signal.raise_signal(signal.SIGINT)
        return arguments[0]

    return types.int64(types.int64), emit


def interrupted_kernel(x):
    return interrupted(x)


def sum_of_copy(numbers):
    return numbers.copy().sum()


@pytest.fixture
def place(tmp_path, monkeypatch):
    place = Place(tmp_path / "cache")
    monkeypatch.setattr(cache, "places", lambda: [place])
    return place


def compiled(function, *arguments):
    """What a kernel gives in a process that knows nothing yet, and whether it was compiled for that."""
    fresh = kernel()(function)
    result = fresh(*arguments)
    return result, bool(fresh.stats.cache_misses)


def test_code_is_kept_for_each_signature(place):
    assert compiled(double, 3) == (6, True)
    assert compiled(double, 1.5) == (3.0, True)
    assert compiled(double, 4) == (8, False)
    assert compiled(double, 2.5) == (5.0, False)


@pytest.mark.parametrize("options", [{}, {"fastmath": True}])
def test_a_subroutine_is_compiled_once_for_all_integers_and_once_for_each_type(place, options):
    twice = subroutine(**options)(double)

    def sums(x, y):
        return twice(x) + twice(3) + twice(-5) + twice(y)

    assert compiled(sums, 1, 0.5) == (2 + 6 - 10 + 1.0, True)
    assert twice.nopython_signatures == [types.int64(types.int64), types.float64(types.float64)]


@pytest.mark.parametrize("decorate", [subroutine(), inlined()])
def test_python_is_refused_what_only_kernels_can_call(place, decorate):
    function = decorate(double)

    def quadruple(x):
        return 2 * function(x)

    for _ in range(2):
        with pytest.raises(TypeError, match=r"expected a kernel to call double, got .* Python; try double\.py_func"):
            function(3)
        assert compiled(quadruple, 3)[0] == 12
    assert function.py_func(3) == 6


def test_a_kernel_makes_arrays_only_if_it_says_so(place):
    with pytest.raises(NumbaError, match="NRT required"):
        kernel()(sum_of_copy)(np.ones(2))
    assert kernel(allocates=True)(sum_of_copy)(np.ones(2)) == 2


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "gone", "unreadable"])
def test_a_damaged_file_is_compiled_anew(place, suffix, damage):
    compiled(double, 3)
    (file,) = place.path.glob(f"*{suffix}")
    content = file.read_bytes()
    if damage == "unreadable":
        file.unlink()
        file.mkdir()
        assert compiled(double, 3) == (6, True)
        return
    if damage == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]
        file.write_bytes({"empty": b"", "cut": content[:-40], "one bit": flipped}[damage])
    assert compiled(double, 3) == (6, True)
    assert compiled(double, 4) == (8, False)


def test_two_writers_never_take_the_same_name(place):
    first, second = Entries(place, "kernel"), Entries(place, "kernel")
    first.save("int", "code for int")
    index = place.path / "kernel.nbi"
    content = index.read_bytes()
    index.unlink()  # the second had read the index before the first wrote it
    second.save("float", "code for float")
    assert second.load("float") == "code for float"
    index.write_bytes(content)
    assert first.load("int") == "code for int"
    assert first.load("float") is None


def test_a_signal_inside_the_compiler_ends_the_command_when_the_kernel_is_compiled(place, monkeypatch):
    told = []
    monkeypatch.setattr(compilation, "tell", told.append)
    monkeypatch.setattr(compilation, "_told", set())
    with pytest.raises(KeyboardInterrupt):
        compiled(interrupted_kernel, 3)
    assert [line.split(",")[0] for line in told] == [
        "compiling kernels for this CPU",
        "interrupted; ends when this kernel is compiled",
    ]
    assert compiled(interrupted_kernel, 3) == (3, False)


def test_a_damaged_cache_is_mended_by_the_next_command_and_said(shop, tmp_path):
    arguments = ("sample", "data-run", "--length", "50")
    whole = charrnn(*arguments, cwd=shop.folder)
    assert whole.returncode == 0, whole.stderr
    places = {"CHARRNN_CACHE": str(tmp_path), "TMPDIR": str(tmp_path)}
    copy = tmp_path / cache.key()
    shutil.copytree(compiled_code(), copy, ignore=shutil.ignore_patterns("*.tmp", "*.lock"))
    (copy / "tiles.o").write_bytes(b"")
    (copy / "charrnn.engine.panels.pack.nbi").write_bytes(b"\x80\x04garbage")
    code = list(copy.glob("charrnn.engine.table.lookup.*.nbc"))
    assert code
    for file in code:
        file.write_bytes(file.read_bytes()[:1000])
    mended = charrnn(*arguments, cwd=shop.folder, **places)
    assert (mended.stdout, mended.returncode) == (whole.stdout, 0)
    assert mended.stderr.count("compiling kernels") == mended.stderr.count("\n") == 1
    again = charrnn(*arguments, cwd=shop.folder, **places)
    assert (again.stdout, again.stderr, again.returncode) == (whole.stdout, "", 0)


def test_ctrl_c_while_kernels_compile_ends_with_130_and_leaves_a_run_to_go_on_with(shop, tmp_path):
    said = tmp_path / "said"
    with open(said, "w") as file:
        args = ("train", str(shop.folder / "data"), "--out", "run", *SIZES, "--steps", "2")
        variables = environment(CHARRNN_CACHE=str(tmp_path / "cache"), TMPDIR=str(tmp_path))
        process = begin(*args, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=file)
    _, status = interrupt_when(process, lambda: "parameters" in said.read_text())  # said just before the warm-up
    lines = said.read_text().splitlines()
    assert (status, lines[-1]) == (130, "charrnn: interrupted")
    assert lines[-2].startswith("interrupted before training")
    assert lines[-2].endswith("--out run --resume")
    assert [line for line in lines[3:-2] if not line.startswith("interrupted; ends when")] == []
    assert sorted(os.listdir(tmp_path / "run")) == ["config.json", "last.npz"]
