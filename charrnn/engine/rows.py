"""Sums of rows of panel arrays: residual connections, and the gradients of penalties on activations."""

from __future__ import annotations

from numba import prange

from charrnn.engine.kernel import kernel
from charrnn.engine.pointwise import pointwise
from charrnn.engine.simd import Vector, W


def _plus(y: Vector, x: Vector, *, factor: Vector) -> Vector:
    return y + factor * x


def _plus_difference(d: Vector, h: Vector, neighbour: Vector, *, factor: Vector) -> Vector:
    return d + factor * (h - neighbour)


plus_multiple = pointwise(_plus)
_plus_difference_kernel = pointwise(_plus_difference)


@kernel(parallel=True)
def add_rows(x, x_row, y, y_row, rows, factor):  # type: ignore[no-untyped-def]
    """y[:, y_row : y_row + rows] += factor * x[:, x_row : x_row + rows], for x, y of [panels, >= rows, W]."""
    for panel in prange(y.shape[0]):
        x_at, y_at = (panel * x.shape[1] + x_row) * W, (panel * y.shape[1] + y_row) * W
        plus_multiple((y, x, y), (y_at, x_at, y_at), (factor,), rows * W)


@kernel(parallel=True)
def add_differences(h, h_row, d, d_row, rows, batch, factor):  # type: ignore[no-untyped-def]
    """The gradient of factor / 2 times the squares of h_t - h_{t-1}, added to d.

    Args:
        h: [panels, >= h_row + rows, W]. Time steps are `batch` rows apart; only those within the `rows` rows count.
        d: [panels, >= d_row + rows, W].
    """
    for panel in prange(h.shape[0]):
        h_at, d_at = (panel * h.shape[1] + h_row) * W, (panel * d.shape[1] + d_row) * W
        step, n = batch * W, (rows - batch) * W
        later = d_at + step
        _plus_difference_kernel((d, h, h, d), (later, h_at + step, h_at, later), (factor,), n)
        _plus_difference_kernel((d, h, h, d), (d_at, h_at, h_at + step, d_at), (factor,), n)
