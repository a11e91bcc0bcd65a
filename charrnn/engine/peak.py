"""The machine's peak: multiply-adds on registers alone, with nothing to load or store."""

from __future__ import annotations

import time
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from charrnn.engine.kernel import kernel
from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import FLOAT, I64, lanes_of, splat
from charrnn.engine.tile import TILE_ROWS, multiply_add

CHAINS = 2 * TILE_ROWS  # independent sums, as many as the tile has
FLOPS = 2 * CHAINS * lanes_of(FLOAT)  # of one iteration


def _emit_chains(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    count, factor = arguments
    lanes = lanes_of(FLOAT)
    x = splat(b, factor, lanes)
    _, sums, close = counted_loop(b, count, [b.fmul(x, ir.Constant(x.type, [float(j)] * lanes)) for j in range(CHAINS)])
    fma = multiply_add(b.module, FLOAT)
    sums = [b.call(fma, [s, x, x]) for s in sums]
    close(sums)
    total = sums[0]
    for s in sums[1:]:
        total = b.fadd(total, s)
    return b.extract_element(total, I64(0))


@intrinsic
def _chains(typing, count, factor):  # type: ignore[no-untyped-def]
    return types.float32(types.intp, types.float32), _emit_chains


def peak_flops(seconds: float) -> float:
    """Floating-point operations a second of all threads, measured for at least `seconds`."""
    sums = np.zeros(numba.get_num_threads(), np.float32)
    multiply_adds(1, np.float32(0.5), sums)  # compiles
    count, taken = 100_000, 0.0
    while taken < seconds:
        count *= 2
        start = time.perf_counter()
        multiply_adds(count, np.float32(0.5), sums)
        taken = time.perf_counter() - start
    return count * FLOPS * sums.size / taken


@kernel(parallel=True)
def multiply_adds(count, factor, sums):  # type: ignore[no-untyped-def]
    """`count` iterations of FLOPS floating-point operations on each of sums.size threads.

    Args:
        count: iterations.
        factor: float32 below 1, so that the sums stay finite.
        sums: (threads,) float32, written, so that the work is not optimised away.
    """
    for task in prange(sums.size):
        sums[task] = _chains(count, factor)
