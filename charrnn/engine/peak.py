"""The machine's peak: multiply-adds on registers alone, without any load or store."""

from __future__ import annotations

import time
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from charrnn.engine import amx, bfloat16
from charrnn.engine.kernel import kernel
from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import FLOAT, I32, I64, VOID, call, lanes_of, multiply_add, splat
from charrnn.engine.tile import load_tiles
from charrnn.engine.tile_code import AMX_PEAK, AMX_RELEASE, TILE_ROWS

CHAINS = 2 * TILE_ROWS  # independent sums, as many as the tile has
FLOPS = 2 * CHAINS * lanes_of(FLOAT)  # of one iteration
PAIRS_FLOPS = amx.PEAK_FLOPS if bfloat16.on_tiles() else 2 * FLOPS  # of one iteration in bfloat16


def _emit_chains(b: ir.IRBuilder, arguments: Any, rounded: bool) -> ir.Value:
    count, factor = arguments
    lanes = lanes_of(FLOAT)
    x = splat(b, factor, lanes)
    fma = multiply_add(b.module, FLOAT)
    pairs = b.bitcast(x, ir.VectorType(I32, lanes))
    _, sums, close = counted_loop(b, count, [b.fmul(x, ir.Constant(x.type, [float(j)] * lanes)) for j in range(CHAINS)])
    sums = [bfloat16.dot_pairs(b, pairs, pairs, s) if rounded else b.call(fma, [s, x, x]) for s in sums]
    close(sums)
    total = sums[0]
    for s in sums[1:]:
        total = b.fadd(total, s)
    return b.extract_element(total, I64(0))


@intrinsic
def _chains(typing, count, factor):  # type: ignore[no-untyped-def]
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _emit_chains(b, arguments, rounded=False)

    return types.float32(types.intp, types.float32), codegen


@intrinsic
def _pair_chains(typing, count, factor):  # type: ignore[no-untyped-def]
    """The same in bfloat16."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if not bfloat16.on_tiles():
            return _emit_chains(b, arguments, rounded=True)
        call(b, AMX_PEAK, VOID, arguments[0])
        call(b, AMX_RELEASE, VOID)
        return arguments[1]

    return types.float32(types.intp, types.float32), codegen


def peak_flops(seconds: float, rounded: bool = False) -> float:
    """Floating-point operations per second of all threads, measured for at least `seconds`.

    Args:
        seconds: how long to measure.
        rounded: whether to measure bfloat16, in the way of this process.
    """
    run, flops = (pair_multiply_adds, PAIRS_FLOPS) if rounded else (multiply_adds, FLOPS)
    if rounded:
        load_tiles("bfloat16")
    sums = np.zeros(numba.get_num_threads(), np.float32)
    run(1, np.float32(0.5), sums)  # compiles
    count, taken = 1000, 0.0
    while taken < seconds:
        count *= 2
        start = time.perf_counter()
        run(count, np.float32(0.5), sums)
        taken = time.perf_counter() - start
    return count * flops * sums.size / taken


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


@kernel(parallel=True)
def pair_multiply_adds(count, factor, sums):  # type: ignore[no-untyped-def]
    """The same in bfloat16, PAIRS_FLOPS in each iteration."""
    for task in prange(sums.size):
        sums[task] = _pair_chains(count, factor)
