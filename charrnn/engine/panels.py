"""The panel layout: allocation, and moving plain arrays in and out of it.

A matrix of R rows and C columns is stored as `[panels, rows, W]`. A panel has W = 32 columns, and the last
panel is padded. The rows of one panel lie one after the other. So every inner loop reads memory
contiguously for any size, and the rows of a panel do not compete for one cache set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import DTypeLike, NDArray

from charrnn.engine.kernel import kernel
from charrnn.engine.simd import W
from charrnn.engine.transpose import transpose_block

Array = NDArray[Any]
CACHE_LINE = 64


def panels_for(columns: int) -> int:
    """How many panels hold this many columns."""
    return -(-columns // W)


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array of zeros that begins on a cache line, so that no vector load crosses one.

    Args:
        shape: any shape.
        dtype: any type of numbers.
    Returns:
        C-contiguous array of that shape and dtype.
    """
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    memory = np.zeros(count + CACHE_LINE // dtype.itemsize, dtype)
    start = (-memory.ctypes.data % CACHE_LINE) // dtype.itemsize
    return memory[start : start + count].reshape(shape)


def stacked(arrays: Sequence[Array]) -> Array:
    """The arrays, of one shape and type, along a new first axis. The result begins on a cache line."""
    result = zeros((len(arrays), *arrays[0].shape), arrays[0].dtype)
    return np.stack(arrays, out=result)


def activations(columns: int, rows: int, dtype: DTypeLike) -> Array:
    """Zeros for `rows` rows of `columns` numbers: `[panels, rows, W]`."""
    return zeros((panels_for(columns), rows, W), dtype)


@kernel(allocates=True, parallel=True)
def pack(w, gates, order, packed):  # type: ignore[no-untyped-def]
    """Pack the gates of a weight matrix: packed[s * P + p, k, c] = w[k, order[s] * H + p * W + c].

    Args:
        w: (K, gates * H).
        gates: how many gates stand side by side in w.
        order: (slots,) int64, which gate stands in each slot.
        packed: [slots * P, >= K, W] with P = panels_for(H); its padding is left as it is.
    """
    panels = packed.shape[0] // order.shape[0]
    hidden = w.shape[1] // gates
    for panel in prange(packed.shape[0]):
        first = panel % panels * W
        column = order[panel // panels] * hidden + first
        width = min(W, hidden - first)
        for k in range(w.shape[0]):
            packed[panel, k, :width] = w[k, column : column + width]


@kernel(parallel=True)
def pack_transposed(w, gates, order, packed):  # type: ignore[no-untyped-def]
    """Pack the transpose: packed[p, s * P * W + j, c] = w[p * W + c, order[s] * H + j].

    Args:
        w: (K, gates * H).
        gates: how many gates stand side by side in w.
        order: (slots,) int64, which gate stands in each slot.
        packed: [panels_for(K), slots * P * W, W] with P = panels_for(H); its padding is left as it is.
    """
    slots = order.shape[0]
    stride = packed.shape[1] // slots
    hidden = w.shape[1] // gates
    for panel in prange(packed.shape[0]):
        first = panel * W
        width = min(W, w.shape[0] - first)
        for s in range(slots):
            for block in range(0, hidden, W):  # a W x W block stays in the L1 cache while it is transposed
                count, column = min(W, hidden - block), order[s] * hidden + block
                w_at, at = first * w.shape[1] + column, (panel * packed.shape[1] + s * stride + block) * W
                if width == W and count == W:
                    transpose_block(w, w_at, w.shape[1], packed, at, W)
                    continue
                turned = packed[panel, s * stride + block : s * stride + block + count]
                for c in range(width):
                    source = w[first + c, column : column + count]
                    for j in range(count):
                        turned[j, c] = source[j]


@kernel(allocates=True, parallel=True)
def unpack(packed, gates, order, w):  # type: ignore[no-untyped-def]
    """Undo `pack`: w[k, order[s] * H + p * W + c] = packed[s * P + p, k, c]; same arguments."""
    panels = packed.shape[0] // order.shape[0]
    hidden = w.shape[1] // gates
    for panel in prange(packed.shape[0]):
        first = panel % panels * W
        column = order[panel // panels] * hidden + first
        width = min(W, hidden - first)
        for k in range(w.shape[0]):
            w[k, column : column + width] = packed[panel, k, :width]


def rows_of(packed: Array, columns: int) -> Array:
    """A plain (rows, columns) copy of a panel array `[panels, rows, W]`."""
    return np.ascontiguousarray(packed.transpose(1, 0, 2).reshape(packed.shape[1], -1)[:, :columns])


def set_rows(packed: Array, plain: Array) -> None:
    """Fill the panel array `[panels, rows, W]` from a plain (rows, columns) array. The padding is not changed."""
    for panel in range(packed.shape[0]):
        part = plain[:, panel * W : (panel + 1) * W]
        packed[panel, :, : part.shape[1]] = part
