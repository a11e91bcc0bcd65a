"""Optimiser updates, each one fused sweep over the flat parameter, gradient and moment vectors.

Clipping is part of the sweep: every gradient is first multiplied by `scale` (the factor of clipping by
global norm) and then limited to [-bound, bound] (clipping by value; inf for none). Decoupled weight decay (Loshchilov &
Hutter 2019) is part of the sweep too: parameters are first multiplied by `shrink` = 1 - lr * weight decay.
"""

from __future__ import annotations

from typing import Any

from numba import prange

from charrnn.engine.kernel import kernel
from charrnn.engine.pointwise import pointwise
from charrnn.engine.reduce import inner_product
from charrnn.engine.simd import Equations, Vector, maximum, minimum, sqrt
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
    gain1: Vector,
    beta2: Vector,
    gain2: Vector,
    epsilon: Vector,
    root_correction: Vector,
) -> tuple[Vector, ...]:
    """Kingma & Ba (2015), algorithm 1, with rate = lr / (1 - beta1^t), root_correction = (1 - beta2^t)^-1/2.

    The gains are 1 - beta. They are computed in float64: in float32, a beta2 near 1 could leave nothing.
    """
    g = _clipped(g, scale, bound)
    m = beta1 * m + gain1 * g
    v = beta2 * v + gain2 * g * g
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
    """m = beta m + g, and the value that m will have if the same gradient comes once more."""
    g = _clipped(g, scale, bound)
    m = beta * m + g
    return m, beta * m + g


def _along(p: Vector, direction: Vector, *, shrink: Vector, rate: Vector) -> Vector:
    """p = shrink p - rate direction."""
    return p * shrink - rate * direction


def _towards(average: Vector, p: Vector, *, share: Vector) -> Vector:
    """average = average + share (p - average)."""
    return average + share * (p - average)


def _sweep(equations: Equations) -> Any:
    """A kernel that runs `equations` over whole flat vectors.

    It is called as `sweep(inputs, outputs, scalars)`. `inputs` has a vector for each positional parameter of the
    equations. `outputs` has a vector for each value that they return; it may be one of the inputs. `scalars` has their
    scalars in order.
    """
    part = pointwise(equations)

    @kernel(equations.__name__, parallel=True)
    def sweep(inputs, outputs, scalars):  # type: ignore[no-untyped-def]
        size = inputs[0].size
        for block in prange((size + BLOCK - 1) // BLOCK):
            mode = flush_subnormals()
            at = block * BLOCK
            part(inputs + outputs, at, scalars, min(BLOCK, size - at))
            restore_mode(mode)

    return sweep


adam = _sweep(_adam)
by_root_of_squares = _sweep(_by_root_of_squares)
momentum = _sweep(_momentum)
look_ahead = _sweep(_look_ahead)
move_along = _sweep(_along)
move_towards = _sweep(_towards)


@kernel(parallel=True)
def sums_of_squares(x, sums):  # type: ignore[no-untyped-def]
    """sums[j] = the sum of squares of block j of the flat vector x; sums: (blocks,) float64."""
    for block in prange(sums.size):
        part = x[block * BLOCK : (block + 1) * BLOCK]
        sums[block] = inner_product(part, part)
