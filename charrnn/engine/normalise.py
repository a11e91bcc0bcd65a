"""Layer normalisation of gates (Ba, Kiros & Hinton 2016): the sums over a layer's units, in separate phases.

The pre-activations a of each slot are brought to mean 0 and variance 1 over the layer's H units, then scaled and
shifted: x = (a - mean) / sqrt(variance + e), gain x + bias. A separate product, such as that of the GRU's candidate
with reset after, is normalised separately. The last step belongs to the equations of each stage: it computes x from the
centred numbers, and then gain x + bias.
"""

from __future__ import annotations

import math
from typing import Any

from charrnn.engine.kernel import inlined
from charrnn.engine.pointwise import pointwise
from charrnn.engine.reduce import row_dot, row_sum
from charrnn.engine.rounded import round_numbers
from charrnn.engine.simd import Vector, W

NORMALISED_FIELDS = {  # what is added to a layer's arrays, see recurrence.py
    "x": "[slots * P, N, W]: normalised pre-activations",
    "d_scaled": "[slots * P, N, W]: gradients of gain x + bias",
    "gain": "(slots * P * W,)",
    "bias": "(slots * P * W,)",
    "inside": "(P * W,): 1, and 0 in the padding",
    "scale": "(slots, N): 1 / sqrt(variance + e)",
    "mean": "(slots, N): of the gradient of x",
    "slope": "(slots, N): mean of the product of x and its gradient",
    "hidden": "H",
}
EPSILON = 1e-5
PRODUCTS, SUMS = 0, 1  # the first two phases of a stage; the third phase does the rest


def centre(a: Vector, inside: Vector, *, mean: Vector) -> Vector:
    """a - mean, and 0 in the padding."""
    return (a - mean) * inside


def through_normalisation(
    dx: Vector, x: Vector, inside: Vector, *, mean: Vector, slope: Vector, scale: Vector
) -> Vector:
    """The gradient of a, given the gradient dx of x, the mean of dx, and the slope, which is the mean of dx * x."""
    return (dx - mean * inside - x * slope) * scale


centre_kernel = pointwise(centre)
through_normalisation_kernel = pointwise(through_normalisation)


@inlined()
def sums_forward(arrays, slot, row, count):  # type: ignore[no-untyped-def]
    """Centre a slot in `count` rows from `row` on, and find its scale."""
    s = arrays
    panels, n = s.dh.shape[0], s.gates.shape[1]
    a, x = s.gates[slot * panels : (slot + 1) * panels], s.x[slot * panels : (slot + 1) * panels]
    for r in range(row, row + count):
        mean = row_sum(a, r) / s.hidden
        for j in range(panels):
            at = (j * n + r) * W
            centre_kernel((a, s.inside, x), (at, j * W, at), (mean,), W)
        s.scale[slot, r] = 1.0 / math.sqrt(row_dot(x, x, r) / s.hidden + EPSILON)


@inlined()
def sums_backward(arrays, slot, row, count):  # type: ignore[no-untyped-def]
    """The two means that the gradient of a slot needs."""
    s = arrays
    panels = s.dh.shape[0]
    dx, x = s.gates[slot * panels : (slot + 1) * panels], s.x[slot * panels : (slot + 1) * panels]
    for r in range(row, row + count):
        s.mean[slot, r] = row_sum(dx, r) / s.hidden
        s.slope[slot, r] = row_dot(dx, x, r) / s.hidden


@inlined()
def gradient(arrays, slot, row, rows, j):  # type: ignore[no-untyped-def]
    """Turn the gradient of x in a slot into that of the pre-activation."""
    s = arrays
    panels, n = s.dh.shape[0], s.gates.shape[1]
    for r in range(row, row + rows):
        at = ((slot * panels + j) * n + r) * W
        scalars = (s.mean[slot, r], s.slope[slot, r], s.scale[slot, r])
        through_normalisation_kernel((s.gates, s.x, s.inside, s.gates), (at, at, j * W, at), scalars, W)


def normalised_forward(name: str, completed: tuple[int, ...], products: Any, equations: Any) -> Any:
    """A forward phase; see `recurrence.Plan` for its arguments."""
    slots = len(completed)

    @inlined(name)
    def forward_phase(arrays, phase, row, batch, rows, first, last):  # type: ignore[no-untyped-def]
        stage, part, panels = phase // 3, phase % 3, arrays.dh.shape[0]
        if part == SUMS:
            low, high = first * rows // panels, last * rows // panels
            for slot in range(slots):
                if completed[slot] == stage:
                    sums_forward(arrays, slot, row + low, high - low)
        else:
            for j in range(first, last):
                if part == PRODUCTS:
                    products(arrays, stage, row, batch, rows, j, False)
                else:
                    equations(arrays, stage, row, batch, rows, j, False)

    return forward_phase


@inlined()
def round_gradient(arrays, slot, row, rows, j):  # type: ignore[no-untyped-def]
    """Copy the gradient of a slot's pre-activation and round it to bfloat16."""
    at = ((slot * arrays.dh.shape[0] + j) * arrays.gates.shape[1] + row) * W
    round_numbers((arrays.gates, arrays.rounded_gates), (at, at), (), rows * W)


@inlined()
def leave_gradient(arrays, slot, row, rows, j):  # type: ignore[no-untyped-def]
    """Do nothing: this takes the place of `round_gradient` in float32."""


def normalised_backward(
    name: str, finished: tuple[int, ...], stages: int, products: Any, equations: Any, rounded: bool
) -> Any:
    """A backward phase; see `recurrence.Plan` for its arguments."""
    slots, further = len(finished), round_gradient if rounded else leave_gradient

    @inlined(name)
    def backward_phase(arrays, phase, row, batch, rows, first, last, latest):  # type: ignore[no-untyped-def]
        stage, part, panels = stages - 1 - phase // 3, phase % 3, arrays.dh.shape[0]
        if part == PRODUCTS:
            for j in range(first, last):
                products(arrays, stage, row, batch, rows, j, latest)
                equations(arrays, stage, row, batch, rows, j, latest)
            return
        low, high = first * rows // panels, last * rows // panels
        for slot in range(slots):
            if finished[slot] == stage:
                if part == SUMS:
                    sums_backward(arrays, slot, row + low, high - low)
                else:
                    for j in range(first, last):
                        gradient(arrays, slot, row, rows, j)
                        further(arrays, slot, row, rows, j)

    return backward_phase
