"""The code of the register tiles, for LLVM.

A tile has as many rows of C, two vectors wide, as the register file can accumulate. A, B and C are float32, or they are
float64. There are two more cases, in both of which C is float32:

    A and B are bfloat16. Then B has two rows of k side by side: the numbers of rows 2k and 2k + 1 alternate, so that
    one load brings pairs for `bfloat16.dot_pairs`.

    A is float32 and B is int8, see int8.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir

from charrnn.engine import bfloat16
from charrnn.engine.amx import emit_amx_panels, emit_amx_tile, emit_peak, emit_release
from charrnn.engine.int8 import emit_bytes_tile
from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import (
    DOUBLE,
    FLOAT,
    I8,
    I16,
    I32,
    I64,
    REGISTERS,
    VOID,
    W,
    lanes_of,
    load,
    multiply_add,
    splat,
    store,
)

TILE_ROWS = (REGISTERS - 3) // 2  # two accumulators for each row, two weight vectors, one broadcast value
# The emulated way needs two registers, one for each half, in place of each weight vector and of the broadcast value.
BFLOAT16_TILE_ROWS = TILE_ROWS if bfloat16.way() == "avx512" else (REGISTERS - 6) // 2
AMX_PEAK, AMX_RELEASE = "charrnn_amx_peak", "charrnn_amx_release"  # functions, see amx.py
STRIDES = {"row_tile": (W, 1), "column_tile": (1, W)}  # of A, from row to row and along k
AT_ONCE = {"row_tile": 4, "column_tile": 1}  # steps along k in each iteration of a loop
VECTOR_CHAINS = 8  # independent sums that keep two multiply-add units busy through their latency
VECTOR_PANELS = max(1, VECTOR_CHAINS // (W // lanes_of(FLOAT)))  # panels that `vector_tile` takes at once


class _Numbers:
    """The numbers that a tile multiplies: A and B of float32 or float64, one number for each k."""

    per_step = 1  # numbers of k

    def __init__(self, b: ir.IRBuilder, w: ir.Value, sums: ir.Type) -> None:
        self.b, self.sums, self.lanes = b, sums, lanes_of(sums)
        self.fused = multiply_add(b.module, sums)

    def row(self, w: ir.Value, column: int) -> ir.Value:
        """One vector of columns of a row of B."""
        return load(self.b, self.b.gep(w, [I64(column)]), self.lanes)

    def one(self, a: ir.Value) -> ir.Value:
        """One number of A in every lane."""
        return splat(self.b, self.b.load(a), self.lanes)

    def add(self, x: ir.Value, weight: ir.Value, total: ir.Value) -> ir.Value:
        """total + x * weight."""
        return self.b.call(self.fused, [x, weight, total])


class _Pairs(_Numbers):
    """A and B of bfloat16, a pair for each step of k."""

    per_step = 2

    def row(self, w: ir.Value, column: int) -> ir.Value:
        at = self.b.gep(w, [I64(2 * column)])
        return load(self.b, self.b.bitcast(at, I32.as_pointer()), self.lanes)

    def one(self, a: ir.Value) -> ir.Value:
        pair = self.b.load(self.b.bitcast(a, I32.as_pointer()))
        pair.align = 2
        return splat(self.b, pair, self.lanes)

    def add(self, x: ir.Value, weight: ir.Value, total: ir.Value) -> ir.Value:
        return bfloat16.dot_pairs(self.b, x, weight, total)


SOURCES = {FLOAT: _Numbers, DOUBLE: _Numbers, I16: _Pairs}  # by the type of B


def _emit_tile(b: ir.IRBuilder, rows: int, operands: list[ir.Value], name: str) -> None:
    """C[rows, W] = start + sum over k of A[rows, k] B[k, W], two vectors of columns at a time.

    Several steps along k in one iteration save instructions, and the CPU predicts the end of a short loop.
    """
    a, a_outer, w, c, start, start_stride, inner, outer = operands
    row_stride, k_stride = STRIDES[name]
    source = SOURCES[w.type.pointee](b, w, c.type.pointee)
    together = AT_ONCE[name] * source.per_step  # numbers of k in one iteration
    for column in range(0, W, 2 * source.lanes):
        columns = (column, column + source.lanes)
        sums = [
            load(b, b.gep(start, [b.add(b.mul(start_stride, I64(i)), I64(v))]), source.lanes)
            for i in range(rows)
            for v in columns
        ]
        block, sums, close_outer = counted_loop(b, outer, sums)
        a_block = b.gep(a, [b.mul(block, a_outer)])
        w_block = b.gep(w, [b.mul(block, b.mul(inner, I64(W)))])
        iteration, sums, close_inner = counted_loop(b, b.udiv(inner, I64(together)), sums)
        w_rows = b.gep(w_block, [b.mul(iteration, I64(together * W))])
        a_columns = b.gep(a_block, [b.mul(iteration, I64(together * k_stride))])
        for k in range(0, together, source.per_step):
            weights = [source.row(b.gep(w_rows, [I64(k * W)]), column) for column in columns]
            updated = []
            for i in range(rows):
                x = source.one(b.gep(a_columns, [I64(k * k_stride + i * row_stride)]))
                updated += [source.add(x, weights[v], sums[2 * i + v]) for v in range(2)]
            sums = updated
        close_inner(sums)
        close_outer(sums)
        for i in range(rows):
            for v in range(2):
                store(b, sums[2 * i + v], b.gep(c, [I64(i * W + columns[v])]))


def _emit_vector_tile(b: ir.IRBuilder, panels: int, operands: list[ir.Value]) -> None:
    """C[p, W] = start[p] + sum over k of a[k] B[p, k, W] for several panels p and one row a.

    One row with one panel has too few sums at a time to reach the speed of memory. Several panels at once have enough.
    """
    a, a_outer, w, w_stride, c, c_stride, start, start_stride, outer = operands
    source = SOURCES[w.type.pointee](b, w, c.type.pointee)
    step = I64(source.per_step)
    places = [(p, column) for p in range(panels) for column in range(0, W, source.lanes)]

    def at(base: ir.Value, stride: ir.Value, p: int, column: int) -> ir.Value:
        return b.gep(base, [b.add(b.mul(stride, I64(p)), I64(column))])

    sums = [load(b, at(start, start_stride, p, column), source.lanes) for p, column in places]
    block, sums, close_outer = counted_loop(b, outer, sums)
    k, sums, close_inner = counted_loop(b, I64(W // source.per_step), sums)
    x = source.one(b.gep(a, [b.add(b.mul(block, a_outer), b.mul(k, step))]))
    w_row = b.gep(w, [b.mul(b.add(b.mul(block, I64(W)), b.mul(k, step)), I64(W))])
    weights = [source.row(at(w_row, w_stride, p, 0), column) for p, column in places]
    sums = [source.add(x, weight, total) for weight, total in zip(weights, sums, strict=True)]
    close_inner(sums)
    close_outer(sums)
    for total, (p, column) in zip(sums, places, strict=True):
        store(b, total, at(c, c_stride, p, column))


NAMES = {FLOAT: "float32", DOUBLE: "float64", I16: "bfloat16", I8: "int8"}


def tile_symbol(name: str, scalar: ir.Type) -> str:
    """The name of a tile's function, whose B has this type."""
    return f"charrnn_{name}_{NAMES[scalar]}"


def tile_signature(name: str, scalar: ir.Type) -> ir.FunctionType:
    """The signature of a tile whose B has this type."""
    w = scalar.as_pointer()
    sums = (DOUBLE if scalar == DOUBLE else FLOAT).as_pointer()
    a = w if scalar == I16 else sums
    if name == "vector_tile":
        return ir.FunctionType(VOID, [I64, a, I64, w, I64, sums, I64, sums, I64, I64])
    if name == "panels_tile":
        return ir.FunctionType(VOID, [I64, I64, a, I64, w, I64, sums, I64, sums, I64, I64, I64])
    return ir.FunctionType(VOID, [I64, a, I64, w, sums, sums, I64, I64, I64])


def _emit_cases(module: ir.Module, name: str, scalar: ir.Type, most: int, emit: Any) -> None:
    """A function whose first argument, from 1 to `most`, chooses among that many pieces of code."""
    function = ir.Function(module, tile_signature(name, scalar), tile_symbol(name, scalar))
    b = ir.IRBuilder(function.append_basic_block())
    done = function.append_basic_block("done")
    switch = b.switch(function.args[0], done)
    for count in range(1, most + 1):
        case = function.append_basic_block(f"case{count}")
        switch.add_case(I64(count), case)
        b.position_at_end(case)
        emit(b, count, list(function.args[1:]))
        b.branch(done)
    b.position_at_end(done)
    b.ret_void()


def build_tiles() -> ir.Module:
    """One function for each kind of tile and float type."""
    module = ir.Module("charrnn_tiles")
    for scalar in (FLOAT, DOUBLE):
        for name in STRIDES:
            _emit_cases(module, name, scalar, TILE_ROWS, partial(_emit_tile, name=name))
        _emit_cases(module, "vector_tile", scalar, VECTOR_PANELS, _emit_vector_tile)
    return module


def build_further_tiles(scalar: ir.Type) -> ir.Module:
    """The tiles for B of bfloat16 or int8."""
    module = ir.Module(f"charrnn_{NAMES[scalar]}_tiles")
    if scalar == I8:
        _emit_cases(module, "vector_tile", I8, VECTOR_PANELS, emit_bytes_tile)
    elif bfloat16.on_tiles():
        panels = tile_symbol("panels_tile", I16)
        emit_amx_panels(module, tile_signature("panels_tile", I16), panels)
        emit_amx_tile(module, tile_signature("row_tile", I16), tile_symbol("row_tile", I16), panels)
        emit_peak(module, AMX_PEAK)
        emit_release(module, AMX_RELEASE)
    else:
        _emit_cases(module, "row_tile", I16, BFLOAT16_TILE_ROWS, partial(_emit_tile, name="row_tile"))
        _emit_cases(module, "vector_tile", I16, VECTOR_PANELS, _emit_vector_tile)
    return module


def is_there(name: str, scalar: ir.Type) -> bool:
    """Whether there is such a tile. Rows of int8 are multiplied one by one, rows on matrix tiles only together."""
    if scalar == I8:
        return name == "vector_tile"
    on_tiles = scalar == I16 and bfloat16.on_tiles()
    return name != ("vector_tile" if on_tiles else "panels_tile")
