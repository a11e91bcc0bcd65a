"""Copies in bfloat16 of the factors of products: rows of activations, weights, and rows that a sum goes over.

    rows       [panels, R, W]: in the same order as in float32
    weights    [panels, K, W]: the numbers of rows 2k and 2k + 1 alternate; two rows hold W pairs
    turned     [R / W, K, W]: the transpose of rows, so that a product sums over R
    paired     [panels, R, W]: rows in the order of weights, with R in place of K

In the last two, R is rounded up to a multiple of W with rows of zeros. All are uint16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from charrnn.engine.kernel import kernel
from charrnn.engine.pointwise import pointwise
from charrnn.engine.simd import FLOAT, I16, I32, I64, Vector, W, lanes_of, load, round_to_bfloat16
from charrnn.engine.transpose import transpose_block


def _same(x: Vector) -> Vector:
    return x


round_numbers = pointwise(_same)  # from float32 into an array of bfloat16


@kernel(parallel=True)
def round_rows(x, x_row, rows, rounded, row):  # type: ignore[no-untyped-def]
    """rounded[:, row : row + rows] = x[:, x_row : x_row + rows] in bfloat16; both are [panels, R, W]."""
    for panel in prange(x.shape[0]):
        at, to = (panel * x.shape[1] + x_row) * W, (panel * rounded.shape[1] + row) * W
        round_numbers((x, rounded), (at, to), (), rows * W)


@intrinsic
def _store_pairs(typing, x, x_at, y, y_at, out, out_at):  # type: ignore[no-untyped-def]
    """out[2c], out[2c + 1] = x[c], y[c] for c < W, each from an offset on. If x and y are float32, they are rounded."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        pointers = [
            b.gep(context.make_array(signature.args[k])(context, b, arguments[k]).data, [arguments[k + 1]])
            for k in (0, 2, 4)
        ]
        lanes = lanes_of(FLOAT)
        words = ir.VectorType(I32, lanes)
        for column in range(0, W, lanes):
            first, second = (b.zext(_bits(b, b.gep(p, [I64(column)]), lanes), words) for p in pointers[:2])
            pair = b.or_(first, b.shl(second, ir.Constant(words, [16] * lanes)))
            place = b.bitcast(b.gep(pointers[2], [I64(2 * column)]), words.as_pointer())
            b.store(pair, place).align = 2
        return context.get_dummy_value()

    return types.void(x, types.intp, y, types.intp, out, types.intp), codegen


def _bits(b: ir.IRBuilder, pointer: ir.Value, lanes: int) -> ir.Value:
    """Load some numbers as bfloat16; float32 numbers are rounded."""
    values = load(b, pointer, lanes)
    return values if pointer.type.pointee == I16 else round_to_bfloat16(b, values)


@kernel(allocates=True, parallel=True)
def pair_rows(x, rows, paired):  # type: ignore[no-untyped-def]
    """Pair `rows` rows of x [panels, R, W] of uint16 side by side."""
    whole = (rows + W - 1) // W * W
    for panel in prange(x.shape[0]):
        at, to = panel * x.shape[1] * W, panel * paired.shape[1] * W
        for r in range(0, rows - 1, 2):
            _store_pairs(x, at + r * W, x, at + (r + 1) * W, paired, to + r * W)
        paired[panel, rows // 2 * 2 : whole] = 0
        if rows % 2:
            zeros = np.zeros(W, x.dtype)
            _store_pairs(x, at + (rows - 1) * W, zeros, 0, paired, to + (rows - 1) * W)


@kernel(parallel=True)
def turn_rows(x, row, rows, turned):  # type: ignore[no-untyped-def]
    """Transpose the `rows` rows from `row` on of x [panels, R, W] of uint16."""
    blocks = (rows + W - 1) // W
    for unit in prange(x.shape[0] * blocks):
        panel, block = unit // blocks, unit % blocks
        first, count = row + block * W, min(W, rows - block * W)
        if count == W:
            x_at, at = (panel * x.shape[1] + first) * W, (block * turned.shape[1] + panel * W) * W
            transpose_block(x, x_at, W, turned, at, W)
            continue
        target = turned[block, panel * W : (panel + 1) * W]
        target[:] = 0
        for r in range(count):
            source = x[panel, first + r]
            for k in range(W):
                target[k, r] = source[k]


@kernel(allocates=True, parallel=True)
def pack_rounded(w, gates, order, packed):  # type: ignore[no-untyped-def]
    """`panels.pack` for weights in bfloat16; same arguments, and the padding of `packed` becomes zeros."""
    panels = packed.shape[0] // order.shape[0]
    hidden, rows = w.shape[1] // gates, w.shape[0]
    for panel in prange(packed.shape[0]):
        block = np.zeros((2, W), w.dtype)
        first = panel % panels * W
        column = order[panel // panels] * hidden + first
        width = min(W, hidden - first)
        for k in range(0, packed.shape[1], 2):
            to = (panel * packed.shape[1] + k) * W
            if width == W and k + 1 < rows:
                _store_pairs(w, k * w.shape[1] + column, w, (k + 1) * w.shape[1] + column, packed, to)
            else:
                for i in range(2):
                    block[i] = 0
                    if k + i < rows:
                        block[i, :width] = w[k + i, column : column + width]
                _store_pairs(block, 0, block, W, packed, to)


@kernel(allocates=True, parallel=True)
def pack_transposed_rounded(w, gates, order, packed):  # type: ignore[no-untyped-def]
    """`panels.pack_transposed` for weights in bfloat16; same arguments, and the padding of `packed` becomes zeros."""
    slots = order.shape[0]
    stride = packed.shape[1] // slots
    hidden = w.shape[1] // gates
    for panel in prange(packed.shape[0]):
        turned = np.zeros((W, W), w.dtype)
        first = panel * W
        width = min(W, w.shape[0] - first)
        for s in range(slots):
            for j in range(0, stride, W):
                count, column = min(W, hidden - j), order[s] * hidden + j
                if width == W and count == W:
                    transpose_block(w, first * w.shape[1] + column, w.shape[1], turned, 0, W)
                else:
                    turned[:] = 0
                    for c in range(width):
                        source = w[first + c, column : column + count]
                        for i in range(count):
                            turned[i, c] = source[i]
                for i in range(0, W, 2):
                    to = (panel * packed.shape[1] + s * stride + j + i) * W
                    _store_pairs(turned, i * W, turned, (i + 1) * W, packed, to)
