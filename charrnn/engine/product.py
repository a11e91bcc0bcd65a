"""Matrix products on panels: the loops around the register tile.

A weight matrix (K, N) is packed as `[N / W, K, W]`, an activation matrix (R, K) as `[K / W, R, W]`.

Both may be bfloat16, see rounded.py. Or the weights may be int8, see int8.py. In both cases the product is float32.

Sums over k run in one fixed order, in memory as well as in registers. So neither the blocking nor the number of threads
changes a single bit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from charrnn.engine import bfloat16
from charrnn.engine.amx_registers import MOST_ROWS
from charrnn.engine.kernel import kernel, subroutine
from charrnn.engine.simd import I64, VECTOR_BITS, VOID, W, call
from charrnn.engine.subnormals import flush_subnormals, restore_mode
from charrnn.engine.tile import column_tile, panels_tile, row_tile, vector_tile
from charrnn.engine.tile_code import AMX_RELEASE, BFLOAT16_TILE_ROWS, TILE_ROWS, VECTOR_PANELS

K_BLOCK = 4  # panels of k in one visit: 4 * 32 rows of a float32 weight panel are 16 KB of the L1 cache
ALL_OF_K = 2**30  # all panels of k in one visit: tiles read their operands from the L2 cache
ALL_ROWS = 2**30
LARGE_WEIGHTS = 8 * 2**20  # bytes; larger weights come from memory, so each visit to them takes more rows at once
GRADIENT_VISIT = 4096  # rows that stay in the L3 cache while the loop goes through all panels of the gradient
# Rows of one panel that stay in a cache while the loop goes through all panels of a: 128 KB of the L2 cache. A tile of
# narrower vectors reads each of these rows more often, so for them it is 12 KB of the L1 cache.
GRADIENT_ROWS = 1024 if VECTOR_BITS == 512 else 96
COLUMN_TILES = -(-W // TILE_ROWS)  # tiles that cover the W columns of a panel
SUM_VISIT = 16  # blocks of W rows that a sum over rows takes at a time: with 512 columns, half a megabyte of bfloat16


def _constant_of(of_floats: int, of_bfloat16: int, of_int8: int) -> Any:
    """A callable for numba kernels: a constant that depends on the type of the weights."""
    others = {types.uint16: of_bfloat16, types.int8: of_int8}

    @intrinsic
    def constant(typing, w):  # type: ignore[no-untyped-def]
        number = others.get(w.dtype, of_floats)

        def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            return I64(number)

        return types.intp(w), codegen

    return constant


ON_TILES = bfloat16.on_tiles()
tile_rows = _constant_of(TILE_ROWS, MOST_ROWS if ON_TILES else BFLOAT16_TILE_ROWS, TILE_ROWS)
k_block = _constant_of(K_BLOCK, ALL_OF_K if ON_TILES else 2 * K_BLOCK, K_BLOCK)
on_tiles = _constant_of(0, int(ON_TILES), 0)  # whether `panels_tile` is there
single_rows = _constant_of(1, 1, ALL_ROWS)  # the most rows that `vector_tile` takes, one by one


@intrinsic
def release_tiles(typing, w):  # type: ignore[no-untyped-def]
    """Release the tile registers after a thread's last product with the weights w, or with others of their type."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if w.dtype == types.uint16 and ON_TILES:
            call(b, AMX_RELEASE, VOID)
        return context.get_dummy_value()

    return types.void(w), codegen


@subroutine()
def panel_product(a, row, rows, w, panel, c, c_panel, c_row, start, start_at, start_stride):  # type: ignore[no-untyped-def]
    """c[c_panel, c_row + i] = start_i + a[:, row + i] @ w[panel] for i in range(rows).

    Args:
        a: [K / W, rows of a, W].
        row, rows: which rows of a.
        w: [N / W, K, W].
        panel: which panel of w.
        c: [panels of c, rows of c, W]; the result fills a panel of it.
        start, start_at, start_stride: an array that holds the start values of the sums, the element offset of their
            first row, and the distance between their rows. If the array is c, the product is added to c. A bias row
            has distance 0.
    """
    panel_part(a, row, rows, 0, a.shape[0], w, panel, c, c_panel, c_row, start, start_at, start_stride)


@subroutine()
def panel_part(a, row, rows, k_first, k_last, w, panel, c, c_panel, c_row, start, start_at, start_stride):  # type: ignore[no-untyped-def]
    """The same for the panels k_first <= k < k_last of a."""
    a_rows, c_rows = a.shape[1], c.shape[1]
    tiles = (rows + tile_rows(w) - 1) // tile_rows(w)
    for k in range(k_first, k_last, k_block(w)):
        blocks = min(k_block(w), k_last - k)
        w_at = (panel * w.shape[1] + k * W) * W
        for t in range(tiles):
            low, high = t * rows // tiles, (t + 1) * rows // tiles
            a_at = (k * a_rows + row + low) * W
            c_at = (c_panel * c_rows + c_row + low) * W
            if k == k_first:
                first = start_at + low * start_stride
                row_tile(high - low, a, a_at, a_rows * W, w, w_at, c, c_at, start, first, start_stride, W, blocks)
            else:
                row_tile(high - low, a, a_at, a_rows * W, w, w_at, c, c_at, c, c_at, W, W, blocks)


@subroutine()
def _products(a, row, rows, w, panel, step, count, c, c_row, start, start_at, start_step, start_stride):  # type: ignore[no-untyped-def]
    """c[p, c_row + i] = start_pi + a[:, row + i] @ w[p] for the `count` panels p from `panel` on, `step` apart."""
    size = w.shape[1] * W
    if on_tiles(w):
        for low in range(0, rows, tile_rows(w)):
            panels_tile(
                min(tile_rows(w), rows - low), count,
                a, (row + low) * W, a.shape[1] * W,
                w, panel * size, step * size,
                c, (panel * c.shape[1] + c_row + low) * W, step * c.shape[1] * W,
                start, start_at + low * start_stride, start_step, start_stride,
                a.shape[0],
            )  # fmt: skip
        return
    if single_rows(w) < ALL_ROWS and rows > single_rows(w):
        for k in range(count):
            p = panel + k * step
            panel_product(a, row, rows, w, p, c, p, c_row, start, start_at + k * start_step, start_stride)
        return
    for i in range(rows):
        for k in range(0, count, VECTOR_PANELS):
            p = panel + k * step
            vector_tile(
                min(VECTOR_PANELS, count - k),
                a, (row + i) * W, a.shape[1] * W,
                w, p * size, step * size,
                c, (p * c.shape[1] + c_row + i) * W, step * c.shape[1] * W,
                start, start_at + k * start_step + i * start_stride, start_step,
                a.shape[0],
            )  # fmt: skip


@subroutine()
def add_products(a, row, rows, w, panel, step, count, c, c_row):  # type: ignore[no-untyped-def]
    """c[p, c_row + i] += a[:, row + i] @ w[p] for the `count` panels p from `panel` on, `step` apart."""
    at = (panel * c.shape[1] + c_row) * W
    _products(a, row, rows, w, panel, step, count, c, c_row, c, at, step * c.shape[1] * W, W)


@subroutine()
def begin_products(a, row, rows, w, panel, step, count, c, c_row, bias, bias_panel):  # type: ignore[no-untyped-def]
    """c[p, c_row + i] = bias + a[:, row + i] @ w[p] for the `count` panels p from `panel` on, `step` apart.

    The first of these panels gets panel `bias_panel` of the bias. The panels of the bias are `step` apart too.
    """
    _products(a, row, rows, w, panel, step, count, c, c_row, bias, bias_panel * W, step * W, 0)


@subroutine()
def affine(a, row, rows, w, bias, panel, count, c, c_row):  # type: ignore[no-untyped-def]
    """c[p, c_row + i] = bias[p] + a[:, row + i] @ w[p] for the `count` panels p from `panel` on."""
    _products(a, row, rows, w, panel, 1, count, c, c_row, bias, panel * W, W, 0)


@kernel(parallel=True)
def product(a, row, rows, w, bias, c, tasks):  # type: ignore[no-untyped-def]
    """c[:, :rows] = bias + a[:, row : row + rows] @ w.

    Args:
        a: [K / W, >= row + rows, W].
        w: [N / W, K, W].
        bias: (N,) padded with the panels; added to every row.
        c: [N / W, >= rows, W].
        tasks: how many threads share the work.
    """
    groups = (w.shape[0] + VECTOR_PANELS - 1) // VECTOR_PANELS
    block = (4 if w.nbytes <= LARGE_WEIGHTS else 16) * tile_rows(w)
    units = (rows + block - 1) // block * groups
    for task in prange(tasks):
        mode = flush_subnormals()
        for unit in range(task * units // tasks, (task + 1) * units // tasks):
            first, panel = unit // groups * block, unit % groups * VECTOR_PANELS
            count = min(VECTOR_PANELS, w.shape[0] - panel)
            affine(a, row + first, min(block, rows - first), w, bias, panel, count, c, first)
        release_tiles(w)
        restore_mode(mode)


@kernel(parallel=True)
def add_product(a, row, rows, w, c, tasks):  # type: ignore[no-untyped-def]
    """c[:, :rows] += a[:, row : row + rows] @ w; arguments as for `product`."""
    block = 4 * tile_rows(w)
    units = (rows + block - 1) // block
    for task in prange(tasks):
        mode = flush_subnormals()
        for unit in range(task * units // tasks, (task + 1) * units // tasks):
            first = unit * block
            add_products(a, row + first, min(block, rows - first), w, 0, 1, w.shape[0], c, first)
        release_tiles(w)
        restore_mode(mode)


@kernel(parallel=True)
def gradient_product(a, a_row, d, rows, zero, dw, tasks):  # type: ignore[no-untyped-def]
    """dw = a[:, a_row : a_row + rows]^T @ d[:, :rows], a weight matrix's gradient, packed as the weights are.

    Args:
        a: [K / W, >= a_row + rows, W], the matrix that was multiplied with the weights.
        d: [N / W, >= rows, W], gradient of the product.
        zero: (W,) zeros.
        dw: [N / W, K, W].
        tasks: how many threads share the work; each owns whole panels of dw.
    """
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * d.shape[0] // tasks, (task + 1) * d.shape[0] // tasks
        for visit in range(0, rows, GRADIENT_VISIT):
            end = min(rows, visit + GRADIENT_VISIT)
            for panel in range(low, high):
                for row in range(visit, end, GRADIENT_ROWS):
                    for k in range(a.shape[0]):
                        add_gradient_block(a, a_row, k, d, panel, row, min(GRADIENT_ROWS, end - row), zero, dw)
        restore_mode(mode)


@kernel(parallel=True)
def sum_over_rows(turned, paired, rows, zero, dw, tasks):  # type: ignore[no-untyped-def]
    """`gradient_product` for bfloat16.

    Args:
        turned: [>= R / W, K, W], the matrix that was multiplied with the weights, see rounded.py.
        paired: [N / W, R, W], gradient of the product. R is the number of rows that it has room for.
        rows: how many rows are summed.
        zero: (W,) zeros.
        dw: [N / W, K, W] of float32.
        tasks: how many threads share the work.
    """
    blocks, size = (rows + W - 1) // W, 4 * tile_rows(paired)
    groups = (dw.shape[1] + size - 1) // size
    units = groups * dw.shape[0]
    for task in prange(tasks):
        mode = flush_subnormals()
        for visit in range(0, blocks, SUM_VISIT):
            end = min(blocks, visit + SUM_VISIT)
            for unit in range(task * units // tasks, (task + 1) * units // tasks):
                panel, k = unit // groups, unit % groups * size
                count, dw_at = min(size, dw.shape[1] - k), (panel * dw.shape[1] + k) * W
                if visit == 0:
                    panel_part(turned, k, count, visit, end, paired, panel, dw, panel, k, zero, 0, 0)
                else:
                    panel_part(turned, k, count, visit, end, paired, panel, dw, panel, k, dw, dw_at, W)
        release_tiles(paired)
        restore_mode(mode)


@subroutine()
def add_gradient_block(a, a_row, k, d, panel, row, count, zero, dw):  # type: ignore[no-untyped-def]
    """Add the share of `count` rows from `row` on to the W x W block (k, panel) of dw. With row 0 it begins at zero."""
    d_at = (panel * d.shape[1] + row) * W
    for tile in range(COLUMN_TILES):
        low, high = tile * W // COLUMN_TILES, (tile + 1) * W // COLUMN_TILES
        a_at = (k * a.shape[1] + a_row + row) * W + low
        dw_at = (panel * dw.shape[1] + k * W + low) * W
        if row == 0:
            column_tile(high - low, a, a_at, 0, d, d_at, dw, dw_at, zero, 0, 0, count, 1)
        else:
            column_tile(high - low, a, a_at, 0, d, d_at, dw, dw_at, dw, dw_at, W, count, 1)


@kernel(parallel=True)
def column_sums(d, rows, sums, tasks):  # type: ignore[no-untyped-def]
    """sums = the sum of d[:, :rows] over its rows, the gradient of a bias.

    Args:
        d: [N / W, >= rows, W].
        sums: (N,) padded with the panels.
        tasks: how many threads share the work.
    """
    for task in prange(tasks):
        for panel in range(task * d.shape[0] // tasks, (task + 1) * d.shape[0] // tasks):
            total = sums[panel * W : (panel + 1) * W]
            total[:] = 0
            for row in range(rows):
                for column in range(W):
                    total[column] += d[panel, row, column]
