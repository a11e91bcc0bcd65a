"""The nearest orthogonal matrix, approached by polynomials, for all gates of a weight matrix at once.

Each step replaces X by X (a + b X^T X + c (X^T X)^2). This replaces every singular value s by a s + b s^3 + c s^5 and
does not change the singular vectors (Kovarik 1970; Björck & Bowie 1971). After each step the singular values of an
interval lie in another known interval. The polynomial of the next step is the one whose largest deviation from 1 there
is smallest. This greedy choice is the best one (Amsel, Persson, Musco & Gower 2025, "The Polar Express").

The first interval is from 0.01 to 1, in units of the Schatten norm ||X^T X||_F^(1/2), which no singular value exceeds.
After three steps its singular values are between 0.73 and 1.27. For an optimiser these values are as good as 1. Smaller
singular values become up to 78 times as large.

X^T X and its square are symmetric: only the blocks on and below the diagonal are computed, the others are copied.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from charrnn.engine.kernel import kernel, subroutine
from charrnn.engine.panels import Array
from charrnn.engine.pointwise import pointwise
from charrnn.engine.product import GRADIENT_ROWS, add_gradient_block, panel_product
from charrnn.engine.reduce import inner_product
from charrnn.engine.simd import Vector, W
from charrnn.engine.subnormals import flush_subnormals, restore_mode

# a, b, c of each step.
COEFFICIENTS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
TINY = 1e-30  # a norm below this counts as 0


def _weighted_sum(x: Vector, y: Vector, *, of_x: Vector, of_y: Vector) -> Vector:
    return of_x * x + of_y * y


def _times(x: Vector, *, factor: Vector) -> Vector:
    return x * factor


_weighted_sum_kernel = pointwise(_weighted_sum)
_times_kernel = pointwise(_times)


@subroutine()
def _copy_from_below(symmetric, j):  # type: ignore[no-untyped-def]
    """Copy the blocks above the diagonal in panel j of a symmetric matrix [P, P * W, W] from those below it."""
    for k in range(j):
        for r in range(W):
            for c in range(W):
                symmetric[j, k * W + r, c] = symmetric[k, j * W + c, r]


@kernel(parallel=True)
def _normalise(x, blocks, tasks):  # type: ignore[no-untyped-def]
    """Divide each block of panels of x by its Frobenius norm, so that its products neither overflow nor underflow."""
    panels = x.shape[0] // blocks
    for task in prange(tasks):
        for block in range(task * blocks // tasks, (task + 1) * blocks // tasks):
            part = x[block * panels : (block + 1) * panels]
            norm = math.sqrt(inner_product(part, part))
            _times_kernel((part, part), (0, 0), (1.0 / norm if norm > TINY else 0.0,), part.size)


@kernel(parallel=True)
def _gram(x, blocks, zero, gram, tasks):  # type: ignore[no-untyped-def]
    """gram = x^T x for each block; unit u of the work is panel u // blocks of block u % blocks.

    Args:
        x: [blocks * P, P * W, W].
        zero: (W,) zeros.
        gram: of the shape of x, written.
        tasks: how many threads share the units.
    """
    panels, rows, units = x.shape[0] // blocks, x.shape[1], x.shape[0]
    for task in prange(tasks):
        mode = flush_subnormals()
        for unit in range(task, units, tasks):
            j, first = unit // blocks, unit % blocks * panels
            part, target = x[first : first + panels], gram[first : first + panels]
            for row in range(0, rows, GRADIENT_ROWS):
                for k in range(j, panels):
                    add_gradient_block(part, 0, k, part, j, row, min(GRADIENT_ROWS, rows - row), zero, target)
        restore_mode(mode)
    for task in prange(tasks):
        for unit in range(task, units, tasks):
            first = unit % blocks * panels
            _copy_from_below(gram[first : first + panels], unit // blocks)


@kernel(parallel=True)
def _advance(x, blocks, gram, scales, coefficients, zero, polynomial, y, tasks):  # type: ignore[no-untyped-def]
    """y = z (a + b z^T z + c (z^T z)^2) with z = scale x for each block.

    Args:
        x: [blocks * P, P * W, W].
        gram: x^T x.
        scales: (blocks,).
        coefficients: a, b, c.
        zero: (W,) zeros.
        polynomial: scratch, of the shape of x.
        y: of the shape of x, written.
        tasks: how many threads share the units, see `_gram`.
    """
    a, b, c = coefficients
    panels, rows, units = x.shape[0] // blocks, x.shape[1], x.shape[0]
    for task in prange(tasks):
        mode = flush_subnormals()
        for unit in range(task, units, tasks):
            j, block = unit // blocks, unit % blocks
            first, low, scale = block * panels, j * W, scales[block]
            part, target = gram[first : first + panels], polynomial[first : first + panels]
            panel_product(part, low, rows - low, part, j, target, j, low, zero, 0, 0)
            at, factors = (j * rows + low) * W, (b * scale**3, c * scale**5)
            _weighted_sum_kernel((part, target, target), (at, at, at), factors, (rows - low) * W)
            for k in range(W):
                target[j, low + k, k] += a * scale
        restore_mode(mode)
    for task in prange(tasks):
        for unit in range(task, units, tasks):
            first = unit % blocks * panels
            _copy_from_below(polynomial[first : first + panels], unit // blocks)
    for task in prange(tasks):
        mode = flush_subnormals()
        for unit in range(task, units, tasks):
            j, first = unit // blocks, unit % blocks * panels
            part, weights = x[first : first + panels], polynomial[first : first + panels]
            panel_product(part, 0, rows, weights, j, y[first : first + panels], j, 0, zero, 0, 0)
        restore_mode(mode)


@kernel(parallel=True)
def _schatten_scales(gram, scales, tasks):  # type: ignore[no-untyped-def]
    """scales[k] = ||gram of block k||_F^(-1/2)."""
    blocks = scales.size
    panels = gram.shape[0] // blocks
    for task in prange(tasks):
        for block in range(task * blocks // tasks, (task + 1) * blocks // tasks):
            part = gram[block * panels : (block + 1) * panels]
            squares = inner_product(part, part)
            scales[block] = squares**-0.25 if squares > TINY else 0.0


def orthogonalise(x: Array, blocks: int, zero: Array, scratch: tuple[Array, Array, Array], tasks: int) -> Array:
    """Orthogonal matrices near those of x, with the same singular vectors and singular values near 1.

    Args:
        x: [blocks * P, P * W, W], square matrices side by side; overwritten. Matrices of zeros stay zeros.
        blocks: how many matrices there are.
        zero: (W,) zeros.
        scratch: three arrays of the shape of x.
        tasks: how many threads share the work. The result does not depend on it.
    Returns:
        The array with the result: x or one of `scratch`.
    """
    gram, polynomial, y = scratch
    scales = np.ones(blocks, x.dtype)
    _normalise(x, blocks, tasks)
    for step, coefficients in enumerate(COEFFICIENTS):
        _gram(x, blocks, zero, gram, tasks)
        if step == 0:
            _schatten_scales(gram, scales, tasks)
        else:
            scales[:] = 1
        _advance(x, blocks, gram, scales, tuple(map(x.dtype.type, coefficients)), zero, polynomial, y, tasks)
        x, y = y, x
    return x
