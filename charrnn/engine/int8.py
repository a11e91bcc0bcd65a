"""Weights as int8: how they are packed, and the tile that multiplies one row with them. They are for sampling.

When one text is sampled, most of the time is needed to read the weights. int8 weights have a quarter of the bytes of
float32. Each column is divided by its scale and rounded. The scale is the largest absolute value of the column, divided
by 127. A packed matrix is [N / W, K + 4, W]:

    K rows       the numbers of rows 4k to 4k + 3 of a column side by side, four bytes
    4 rows more  the W float32 scales of the columns

A row is multiplied in integers. It is cut into parts of CHUNK numbers. Each part has its own scale, and its numbers are
rounded to 15 bits. Products of int16 are added up in int32 without overflow. The sums of the parts are added up in
float32. So the result is the same on every CPU. The rounding of the row is 128 times finer than that of the weights.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import FLOAT, I16, I32, I64, Vector, W, lanes_of, load, maximum, splat, store

LARGEST_WEIGHT = 127
CHUNK = 1024  # numbers of a row
LARGEST = 2**14 - 1  # the largest rounded number of a row: CHUNK * LARGEST_WEIGHT * LARGEST < 2^31
SCALE_ROWS = 4  # how many rows of W bytes hold W float32 numbers
MAGIC = 1.5 * 2.0**23  # if a number of moderate size is added to this, the low bits of the sum are the rounded number


def pack_bytes(w: NDArray[np.float32], gates: int, order: NDArray[np.int64], packed: NDArray[np.int8]) -> None:
    """Pack the gates of a weight matrix; see `panels.pack`.

    Args:
        w: (K, gates * H) float32.
        gates: how many gates stand side by side in w.
        order: (slots,) int64, which gate stands in each slot.
        packed: [slots * P, P_K * W + SCALE_ROWS, W] int8, written; P and P_K panels hold H and K columns.
    """
    hidden, rows, panels = w.shape[1] // gates, packed.shape[1] - SCALE_ROWS, len(packed) // len(order)
    for slot, gate in enumerate(order):
        plain = np.zeros((rows, panels * W), np.float32)
        plain[: len(w), :hidden] = w[:, gate * hidden : (gate + 1) * hidden]
        scales = np.abs(plain).max(axis=0) / np.float32(LARGEST_WEIGHT)
        whole = np.rint(plain / np.where(scales > 0, scales, 1)).astype(np.int8)
        target = packed[slot * panels : (slot + 1) * panels]
        target[:, :rows] = whole.reshape(rows // 4, 4, panels, W).transpose(2, 0, 3, 1).reshape(panels, rows, W)
        target[:, rows:] = scales.astype(np.float32).view(np.int8).reshape(panels, SCALE_ROWS, W)


def emit_bytes_tile(b: ir.IRBuilder, panels: int, operands: list[ir.Value]) -> None:
    """C[p, W] = start[p] + sum over k of a[k] B[p, k, W] for several panels p and one row a; see `tile.vector_tile`."""
    a, a_outer, w, w_stride, c, c_stride, start, start_stride, outer = operands
    lanes = lanes_of(FLOAT)
    places = [(p, column) for p in range(panels) for column in range(0, W, lanes)]
    rounded = b.alloca(I16, CHUNK)
    zero = ir.Constant(ir.VectorType(FLOAT, lanes), [0.0] * lanes)
    blocks = CHUNK // W
    chunks = b.udiv(b.add(outer, I64(blocks - 1)), I64(blocks))
    chunk, totals, close = counted_loop(b, chunks, [zero] * len(places))
    first = b.mul(chunk, I64(blocks))
    left = b.sub(outer, first)
    count = b.select(b.icmp_signed("<", left, I64(blocks)), left, I64(blocks))
    scale = _round_row(b, b.gep(a, [b.mul(first, a_outer)]), a_outer, count, rounded)
    sums = _sum_products(b, rounded, b.gep(w, [b.mul(first, I64(W * W))]), w_stride, count, places)
    totals = [b.fadd(t, b.fmul(b.sitofp(s, t.type), scale)) for t, s in zip(totals, sums, strict=True)]
    close(totals)
    w_end = b.gep(w, [b.mul(outer, I64(W * W))])
    for total, (p, column) in zip(totals, places, strict=True):
        scales = b.bitcast(b.gep(w_end, [b.add(b.mul(w_stride, I64(p)), I64(4 * column))]), FLOAT.as_pointer())
        begun = load(b, b.gep(start, [b.add(b.mul(start_stride, I64(p)), I64(column))]), lanes)
        result = b.fadd(begun, b.fmul(total, load(b, scales, lanes)))
        store(b, result, b.gep(c, [b.add(b.mul(c_stride, I64(p)), I64(column))]))


def _round_row(b: ir.IRBuilder, a: ir.Value, a_outer: ir.Value, blocks: ir.Value, rounded: ir.Value) -> ir.Value:
    """Round a part of a row, W numbers in each of some blocks that are `a_outer` apart; return its scale in every lane.

    Each four numbers 0 1 2 3 are stored in the order 0 2 1 3, which `_sum_products` needs.
    """
    lanes = lanes_of(FLOAT)
    columns = range(0, W, lanes)
    none = ir.Constant(ir.VectorType(FLOAT, lanes), [0.0] * lanes)

    def numbers(block: ir.Value) -> list[Vector]:
        at = b.mul(block, a_outer)
        return [Vector(b, load(b, b.gep(a, [b.add(at, I64(column))]), lanes)) for column in columns]

    block, carried, close = counted_loop(b, blocks, [none, none])
    largest, broken = (Vector(b, value) for value in carried)
    for x in numbers(block):
        largest = maximum(largest, maximum(x, -x))
        broken = broken + x * 0.0  # stays NaN, once an x was NaN or infinite
    close([largest.value, broken.value])
    peak, no_number = (b.extract_element(v.value, I32(0)) for v in (largest, broken))
    for lane in range(1, lanes):
        other = b.extract_element(largest.value, I32(lane))
        peak = b.select(b.fcmp_ordered("<", peak, other), other, peak)
        no_number = b.fadd(no_number, b.extract_element(broken.value, I32(lane)))
    some = b.fcmp_ordered(">", peak, ir.Constant(FLOAT, 0.0))
    factor = b.select(some, b.fdiv(ir.Constant(FLOAT, float(LARGEST)), peak), ir.Constant(FLOAT, 0.0))
    factors, magic = splat(b, factor, lanes), ir.Constant(ir.VectorType(FLOAT, lanes), [MAGIC] * lanes)
    order = [4 * k + i for k in range(lanes // 4) for i in (0, 2, 1, 3)]
    block, _, close = counted_loop(b, blocks, [])
    for x, column in zip(numbers(block), columns, strict=True):
        shifted = b.fadd(b.fmul(x.value, factors), magic)  # not fused: two roundings on every CPU
        bits = b.trunc(b.bitcast(shifted, ir.VectorType(I32, lanes)), ir.VectorType(I16, lanes))
        turned = b.shuffle_vector(bits, bits, ir.Constant(ir.VectorType(I32, lanes), order))
        store(b, turned, b.gep(rounded, [b.add(b.mul(block, I64(W)), I64(column))]))
    close([])
    scale = b.fmul(peak, ir.Constant(FLOAT, float(np.float32(1 / LARGEST))))
    return splat(b, b.fadd(scale, no_number), lanes)


def _sum_products(
    b: ir.IRBuilder, x: ir.Value, w: ir.Value, w_stride: ir.Value, blocks: ir.Value, places: list[tuple[int, int]]
) -> list[ir.Value]:
    """The sums of x[k] B[p, k, column] over W numbers in each of some blocks, as vectors of int32 for the places."""
    lanes = lanes_of(FLOAT)
    words, halves = ir.VectorType(I32, lanes), ir.VectorType(I16, 2 * lanes)
    byte = ir.Constant(halves, [8] * (2 * lanes))
    fours = b.mul(blocks, I64(W // 4))
    four, sums, close = counted_loop(b, fours, [ir.Constant(words, [0] * lanes) for _ in places])
    row = b.gep(w, [b.mul(four, I64(4 * W))])
    pairs = b.gep(b.bitcast(x, I32.as_pointer()), [b.mul(four, I64(2))])
    even, odd = (b.bitcast(splat(b, b.load(b.gep(pairs, [I64(k)]), align=2), lanes), halves) for k in range(2))
    updated = []
    for total, (p, column) in zip(sums, places, strict=True):
        at = b.gep(row, [b.add(b.mul(w_stride, I64(p)), I64(4 * column))])
        weights = b.bitcast(load(b, b.bitcast(at, I32.as_pointer()), lanes), halves)
        first, second = b.ashr(b.shl(weights, byte), byte), b.ashr(weights, byte)
        updated.append(b.add(_add_pairs(b, second, odd), b.add(_add_pairs(b, first, even), total)))
    close(updated)
    return updated


def _add_pairs(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """x[2k] y[2k] + x[2k + 1] y[2k + 1] of int16 as int32, in a form that LLVM compiles to one instruction."""
    lanes = x.type.count // 2
    wide = ir.VectorType(I32, 2 * lanes)
    product = b.mul(b.sext(x, wide), b.sext(y, wide))
    even, odd = (
        b.shuffle_vector(product, product, ir.Constant(ir.VectorType(I32, lanes), list(range(k, 2 * lanes, 2))))
        for k in range(2)
    )
    return b.add(even, odd)
