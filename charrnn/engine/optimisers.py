"""Optimiser updates, each one fused sweep over the flat parameter, gradient and moment vectors.

Clipping is part of the sweep: every gradient is first multiplied by `scale` (the factor of clipping by
global norm) and then limited to [-bound, bound] (clipping by value; inf for none).
"""

from __future__ import annotations

from numba import njit, prange

from charrnn.engine.pointwise import pointwise
from charrnn.engine.simd import Vector, maximum, minimum, sqrt
from charrnn.engine.subnormals import flush_subnormals, restore_mode

BLOCK = 16384  # elements in one visit; sums depend on it, so it never depends on the machine
ALIGNMENT = 64  # flat vectors have a multiple of this many elements, so that sweeps need no remainder


def _clipped(g: Vector, scale: Vector, bound: Vector) -> Vector:
    return maximum(minimum(g * scale, bound), -bound)


def _adam(
    p: Vector,
    g: Vector,
    m: Vector,
    v: Vector,
    *,
    scale: Vector,
    bound: Vector,
    rate: Vector,
    beta1: Vector,
    beta2: Vector,
    epsilon: Vector,
    root_correction: Vector,
) -> tuple[Vector, ...]:
    """Kingma & Ba (2015), algorithm 1, with rate = lr / (1 - beta1^t), root_correction = (1 - beta2^t)^-1/2."""
    g = _clipped(g, scale, bound)
    m = beta1 * m + (1.0 - beta1) * g
    v = beta2 * v + (1.0 - beta2) * g * g
    return p - rate * m / (sqrt(v) * root_correction + epsilon), m, v


def _rmsprop(
    p: Vector,
    g: Vector,
    v: Vector,
    *,
    scale: Vector,
    bound: Vector,
    rate: Vector,
    decay: Vector,
    epsilon: Vector,
) -> tuple[Vector, ...]:
    """Tieleman & Hinton (2012), lecture 6.5: divide by a running root mean square."""
    g = _clipped(g, scale, bound)
    v = decay * v + (1.0 - decay) * g * g
    return p - rate * g / (sqrt(v) + epsilon), v


def _momentum(
    p: Vector, g: Vector, m: Vector, *, scale: Vector, bound: Vector, rate: Vector, momentum: Vector
) -> tuple[Vector, ...]:
    """Gradient descent with heavy-ball momentum (Polyak 1964): m = momentum m + g; p = p - rate m."""
    m = momentum * m + _clipped(g, scale, bound)
    return p - rate * m, m


_adam_kernel = pointwise(_adam)
_rmsprop_kernel = pointwise(_rmsprop)
_momentum_kernel = pointwise(_momentum)


@njit(cache=True, parallel=True)
def adam(p, g, m, v, scalars):  # type: ignore[no-untyped-def]
    """One Adam update of the flat vectors p, m, v in place; scalars in the order of `_adam`."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        offsets = (at, at, at, at, at, at, at)
        _adam_kernel((p, g, m, v, p, m, v), offsets, scalars, min(BLOCK, p.size - at))
        restore_mode(mode)


@njit(cache=True, parallel=True)
def rmsprop(p, g, v, scalars):  # type: ignore[no-untyped-def]
    """One RMSprop update of the flat vectors p, v in place; scalars in the order of `_rmsprop`."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        _rmsprop_kernel((p, g, v, p, v), (at, at, at, at, at), scalars, min(BLOCK, p.size - at))
        restore_mode(mode)


@njit(cache=True, parallel=True)
def momentum(p, g, m, scalars):  # type: ignore[no-untyped-def]
    """One update with momentum of the flat vectors p, m in place; scalars in the order of `_momentum`."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        _momentum_kernel((p, g, m, p, m), (at, at, at, at, at), scalars, min(BLOCK, p.size - at))
        restore_mode(mode)


@njit(fastmath={"reassoc", "contract"})
def _sum_of_squares(x):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0.0)
    for k in range(x.size):
        total += x[k] * x[k]
    return total


@njit(cache=True, parallel=True)
def sums_of_squares(x, sums):  # type: ignore[no-untyped-def]
    """sums[j] = the sum of squares of block j of the flat vector x; sums: (blocks,) float64."""
    for block in prange(sums.size):
        low = block * BLOCK
        sums[block] = _sum_of_squares(x[low : low + BLOCK])
