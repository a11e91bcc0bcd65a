"""Kernels that are called by a symbol."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError

from charrnn import cache
from charrnn.cache import Place
from charrnn.engine.kernel import kernel
from charrnn.engine.native import Native
from charrnn.sampling.rule import Rule


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    place = Place(tmp_path / "cache")
    monkeypatch.setattr(cache, "places", lambda: [place])
    return place


def weighed(numbers, rule, scale):
    """Tuples, arrays and numbers are handed over as they are."""
    total = 0.0
    for k in range(numbers[0].size):
        total += numbers[0][k] * numbers[1][k]
    return total / rule.temperature + rule.top_k + scale


def halves(x):
    if x < 0:
        raise ValueError("below zero")
    return x // 2


def test_a_call_gives_what_the_kernel_gives():
    numbers, rule = (np.arange(5.0), np.ones(5, np.float32)), Rule(temperature=0.5, top_k=3)
    direct = kernel()(weighed)
    native = Native(direct)
    native.load(numbers, rule, 7)
    call = native.call

    @kernel()
    def caller(numbers, rule, scale):
        return 10 * call(numbers, rule, scale)

    assert caller(numbers, rule, 7) == 10 * direct(numbers, rule, 7) == 10 * (20 + 3 + 7)


def test_each_type_has_a_symbol_of_its_own_and_others_are_refused():
    native = Native(kernel()(halves))
    call = native.call

    @kernel()
    def caller(x):
        return call(x)

    for x in (9, 9.5, np.float32(5)):
        native.load(x)
    assert (caller(9), caller(9.5), caller(np.float32(5))) == (4, 4.0, 2.0)
    assert caller.nopython_signatures[0] == types.int64(types.int64)
    with pytest.raises(TypingError, match="expected halves to be loaded for"):
        caller(np.uint64(9))


PROGRAM = """
from charrnn.engine.kernel import kernel
from charrnn.engine.native import Native

@kernel()
def twice(x):
    return 2 * x

native = Native(twice)
call = native.call

@kernel()
def caller(x):
    return call(x) + 1

native.load(1)
print(caller(20), *(sum(kernel.stats.cache_hits.values()) for kernel in (twice, caller)))
"""


def test_a_caller_from_the_compile_cache_finds_a_kernel_that_is_compiled_anew(tmp_path):
    line = [sys.executable, "-c", PROGRAM]
    variables = os.environ | {"CHARRNN_CACHE": str(tmp_path), "TMPDIR": str(tmp_path)}

    def said():
        return subprocess.run(line, env=variables, capture_output=True, text=True, check=True).stdout.split()

    assert (said(), said()) == (["41", "0", "0"], ["41", "1", "1"])
    for file in tmp_path.rglob("__main__.twice*"):
        file.unlink()
    assert said() == ["41", "0", "1"]


def test_an_error_reaches_the_caller():
    native = Native(kernel()(halves))
    native.load(1)
    call = native.call

    @kernel()
    def caller(x):
        return call(x)

    with pytest.raises(ValueError, match="below zero"):
        caller(-1)
