"""Optimiser updates, each one fused sweep over the flat parameter, gradient and moment vectors.

Clipping is part of the sweep: every gradient is first multiplied by `scale` (the factor of clipping by
global norm) and then limited to [-bound, bound] (clipping by value; inf for none). Decoupled weight decay is too
(Loshchilov & Hutter 2019): parameters are first multiplied by `shrink` = 1 - lr * weight decay.
"""

from __future__ import annotations

from numba import njit, prange

from charrnn.engine.kernel import kernel
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
    shrink: Vector,
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
    return p * shrink - rate * m / (sqrt(v) * root_correction + epsilon), m, v


def _by_root_of_squares(
    p: Vector,
    g: Vector,
    v: Vector,
    *,
    scale: Vector,
    bound: Vector,
    shrink: Vector,
    rate: Vector,
    decay: Vector,
    gain: Vector,
    epsilon: Vector,
) -> tuple[Vector, ...]:
    """Divide by the root of v = decay v + gain g^2: a running mean in RMSprop (Tieleman & Hinton 2012, lecture 6.5),
    with gain = 1 - decay; the sum in Adagrad (Duchi, Hazan & Singer 2011), with decay = gain = 1.
    """
    g = _clipped(g, scale, bound)
    v = decay * v + gain * g * g
    return p * shrink - rate * g / (sqrt(v) + epsilon), v


def _momentum(
    p: Vector,
    g: Vector,
    m: Vector,
    *,
    scale: Vector,
    bound: Vector,
    shrink: Vector,
    rate: Vector,
    momentum: Vector,
    of_m: Vector,
    of_g: Vector,
) -> tuple[Vector, ...]:
    """m = momentum m + g; p = p - rate (of_m m + of_g g).

    Heavy-ball momentum (Polyak 1964) has of_m = 1, of_g = 0; Nesterov's (in the form of Sutskever, Martens, Dahl &
    Hinton 2013) has of_m = momentum, of_g = 1.
    """
    g = _clipped(g, scale, bound)
    m = momentum * m + g
    return p * shrink - rate * (of_m * m + of_g * g), m


def _look_ahead(m: Vector, g: Vector, *, scale: Vector, bound: Vector, beta: Vector) -> tuple[Vector, ...]:
    """m = beta m + g, and where it will be after the same gradient once more."""
    g = _clipped(g, scale, bound)
    m = beta * m + g
    return m, beta * m + g


def _along(p: Vector, direction: Vector, *, shrink: Vector, rate: Vector) -> Vector:
    return p * shrink - rate * direction


def _towards(average: Vector, p: Vector, *, share: Vector) -> Vector:
    return average + share * (p - average)


_adam_kernel = pointwise(_adam)
_root_of_squares_kernel = pointwise(_by_root_of_squares)
_momentum_kernel = pointwise(_momentum)
_look_ahead_kernel = pointwise(_look_ahead)
_along_kernel = pointwise(_along)
_towards_kernel = pointwise(_towards)


@kernel(parallel=True)
def adam(p, g, m, v, scalars):  # type: ignore[no-untyped-def]
    """One Adam update of the flat vectors p, m, v in place; scalars in the order of `_adam`."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        offsets = (at, at, at, at, at, at, at)
        _adam_kernel((p, g, m, v, p, m, v), offsets, scalars, min(BLOCK, p.size - at))
        restore_mode(mode)


@kernel(parallel=True)
def by_root_of_squares(p, g, v, scalars):  # type: ignore[no-untyped-def]
    """One update of RMSprop or Adagrad of the flat vectors p, v; scalars in the order of `_by_root_of_squares`."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        _root_of_squares_kernel((p, g, v, p, v), (at, at, at, at, at), scalars, min(BLOCK, p.size - at))
        restore_mode(mode)


@kernel(parallel=True)
def momentum(p, g, m, scalars):  # type: ignore[no-untyped-def]
    """One update with momentum of the flat vectors p, m in place; scalars in the order of `_momentum`."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        _momentum_kernel((p, g, m, p, m), (at, at, at, at, at), scalars, min(BLOCK, p.size - at))
        restore_mode(mode)


@kernel(parallel=True)
def look_ahead(m, g, direction, scalars):  # type: ignore[no-untyped-def]
    """m = beta m + g in place, and direction = beta m + g with the new m (Nesterov), for flat vectors.

    Scalars are in the order of `_look_ahead`.
    """
    for block in prange((m.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        _look_ahead_kernel((m, g, m, direction), (at, at, at, at), scalars, min(BLOCK, m.size - at))
        restore_mode(mode)


@kernel(parallel=True)
def move_along(p, direction, scalars):  # type: ignore[no-untyped-def]
    """p = shrink p - rate direction for flat vectors, in place; scalars are (shrink, rate)."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        _along_kernel((p, direction, p), (at, at, at), scalars, min(BLOCK, p.size - at))
        restore_mode(mode)


@kernel(parallel=True)
def move_towards(average, p, share):  # type: ignore[no-untyped-def]
    """average = average + share (p - average), for flat vectors, in place."""
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        mode = flush_subnormals()
        at = block * BLOCK
        _towards_kernel((average, p, average), (at, at, at), (share,), min(BLOCK, p.size - at))
        restore_mode(mode)


@njit(fastmath={"reassoc", "contract"})
def _sum_of_squares(x):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0.0)
    for k in range(x.size):
        total += x[k] * x[k]
    return total


@kernel(parallel=True)
def sums_of_squares(x, sums):  # type: ignore[no-untyped-def]
    """sums[j] = the sum of squares of block j of the flat vector x; sums: (blocks,) float64."""
    for block in prange(sums.size):
        low = block * BLOCK
        sums[block] = _sum_of_squares(x[low : low + BLOCK])
