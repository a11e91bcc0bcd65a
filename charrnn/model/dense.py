"""Weight matrices in the form that products need: packed for the forward and the backward pass, with gradients."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine import bfloat16
from charrnn.engine.int8 import SCALE_ROWS, pack_bytes
from charrnn.engine.panels import Array, pack, pack_transposed, panels_for, unpack, zeros
from charrnn.engine.product import gradient_product, sum_over_rows
from charrnn.engine.rounded import pack_rounded, pack_transposed_rounded, pair_rows, turn_rows
from charrnn.engine.simd import W
from charrnn.engine.tile import load_tiles

BFLOAT16 = np.dtype(np.uint16)  # the dtype of arrays that hold bfloat16, see engine/bfloat16.py


def fastest_precision() -> str:
    """The precision in which this CPU trains fastest."""
    return "bfloat16" if bfloat16.gains() else "float32"


class Dense:
    """Packed copies of a weight matrix (K, gates * H), and its packed gradient.

    Args:
        inputs, outputs: K and H.
        gates: how many gates stand side by side.
        order: (slots,) the gates that are packed, in this order.
        dtype: float32 or float64.
        precision: the precision of products, see `Network`.

    Attributes:
        forwards: for x @ w: [slots * P, panels_for(K) * W, W]; for int8 see engine/int8.py.
        backwards: for d @ w^T: [panels_for(K), slots * P * W, W].
        d: the gradient, [slots * P, panels_for(K) * W, W]. With int8, `d` and `backwards` are empty.
    """

    def __init__(self, inputs: int, outputs: int, gates: int, order: Array, dtype: DTypeLike, precision: str) -> None:
        self.gates, self.order, self.precision = gates, order, precision
        n, k = len(order) * panels_for(outputs), panels_for(inputs)
        others: dict[str, DTypeLike] = {"bfloat16": BFLOAT16, "int8": np.int8}
        packed = others.get(precision, dtype)
        self.forwards = zeros((n, k * W + SCALE_ROWS * (precision == "int8"), W), packed)
        learns = precision != "int8"
        self.backwards = zeros((k * learns, n * W, W), packed)
        self.d = zeros((n * learns, k * W, W), dtype)
        self.zero = zeros((W,), dtype)
        if precision != "float32":
            load_tiles(precision)

    def pack(self, plain: Array) -> None:
        """Copy the plain weights (K, gates * H) into the packed copies."""
        if not len(self.order):
            return
        if self.precision == "int8":
            pack_bytes(plain, self.gates, self.order, self.forwards)
            return
        rounded = self.precision == "bfloat16"
        forwards, backwards = (pack_rounded, pack_transposed_rounded) if rounded else (pack, pack_transposed)
        forwards(plain, self.gates, self.order, self.forwards)
        backwards(plain, self.gates, self.order, self.backwards)


class RowSums:
    """Gradients of weights: x^T @ d, which sums over the rows of a chunk.

    In bfloat16, such a sum needs copies of both factors, see engine/rounded.py. This class holds the memory for them.

    Args:
        rounded: whether the sums are computed in bfloat16.
    """

    def __init__(self, rounded: bool) -> None:
        self.rounded = rounded
        self._turned, self._paired = zeros((0,), BFLOAT16), zeros((0,), BFLOAT16)

    def prepared(self, d: Array, rows: int) -> Array:
        """Gradients [panels, R, W] in the form that `write` takes. The next call overwrites the result."""
        if not self.rounded:
            return d
        shape = (d.shape[0], _whole(rows), W)
        self._paired = _room(self._paired, shape)
        paired: Array = self._paired[: int(np.prod(shape))].reshape(shape)
        pair_rows(d, rows, paired)
        return paired

    def write(self, x: Array, row: int, d: Array, rows: int, dense: Dense, gradient: Array) -> None:
        """Write the gradient of the plain weights.

        Args:
            x: [panels, >= row + rows, W], the matrix that was multiplied with the weights.
            d: the gradient of the product, from `prepared`, or some of its panels.
            rows: how many rows are summed.
            gradient: (K, gates * H), written in the columns of the gates of `dense`.
        """
        if not len(dense.order):
            return
        threads = numba.get_num_threads()
        if self.rounded:
            shape = (_whole(rows) // W, x.shape[0] * W, W)
            self._turned = _room(self._turned, shape)
            turned = self._turned[: int(np.prod(shape))].reshape(shape)
            turn_rows(x, row, rows, turned)
            sum_over_rows(turned, d, rows, dense.zero, dense.d, threads)
        else:
            gradient_product(x, row, d, rows, dense.zero, dense.d, threads)
        unpack(dense.d, dense.gates, dense.order, gradient)


def _whole(rows: int) -> int:
    """The number of rows, rounded up to whole blocks."""
    return -(-rows // W) * W


def _room(buffer: Array, shape: tuple[int, ...]) -> Array:
    """The buffer, or a larger one, with room for an array of this shape."""
    return buffer if buffer.size >= np.prod(shape) else zeros((int(np.prod(shape)),), buffer.dtype)
