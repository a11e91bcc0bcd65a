"""Layer normalisation of the gates (Ba, Kiros & Hinton 2016).

The pre-activations a of each gate, bias left out, are brought to mean 0 and variance 1 over the layer's H units, then
scaled and shifted: x = (a - mean) / sqrt(variance + e), gain x + b. It is done to the sum of input and recurrent
product; where a cell keeps the recurrent part apart (the GRU's candidate, reset after), to each part by itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine.panels import zeros
from charrnn.engine.pointwise import pointwise
from charrnn.engine.recurrence import (
    backward_equations,
    backward_products,
    forward_equations,
    forward_products,
    implement,
    steps_of,
)
from charrnn.engine.reduce import row_dot, row_sum
from charrnn.engine.simd import Vector
from charrnn.engine.tile import W
from charrnn.model.extend import EXTENDED, extend

EPSILON = 1e-5
PARTS = 3  # phases of each stage: products, sums over rows, the rest


def centre(a: Vector, inside: Vector, *, mean: Vector) -> Vector:
    """a - mean, and 0 in the padding."""
    return (a - mean) * inside


def scale_and_shift(x: Vector, gain: Vector, b: Vector, *, scale: Vector) -> tuple[Vector, ...]:
    """Returns x scaled to variance 1, and gain x + b."""
    x = x * scale
    return x, gain * x + b


def through_gain(d: Vector, gain: Vector) -> tuple[Vector, ...]:
    """Returns the gradient of gain x + b, and that of x."""
    return d, d * gain


def through_normalisation(
    dx: Vector, x: Vector, inside: Vector, *, mean: Vector, slope: Vector, scale: Vector
) -> Vector:
    """The gradient of a, given that of x, its mean, and the mean of its product with x."""
    return (dx - mean * inside - x * slope) * scale


centre_kernel = pointwise(centre)
scale_and_shift_kernel = pointwise(scale_and_shift)
through_gain_kernel = pointwise(through_gain)
through_normalisation_kernel = pointwise(through_normalisation)


NORMALISED = "Normalised"
FIELDS = {  # what is added to a cell's arrays; N = T * B rows, P panels
    "x": "[slots * P, N, W]",
    "d_affine": "[slots * P, N, W]: gradient of gain x + b",
    "gain": "(slots * P * W,)",
    "b": "(slots * P * W,)",
    "inside": "(P * W,): 1, and 0 in the padding",
    "scale": "(slots, N): 1 / sqrt(variance + e)",
    "mean": "(slots, N): of the gradient of x",
    "slope": "(slots, N): mean of the product of x and its gradient",
    "forward_slots": "(stages, 2): the slots whose pre-activations are complete, from and up to",
    "backward_slots": "(stages, 2): the slots whose gradients are complete",
    "hidden": "H",
}


def _forward(arrays, phase, row, batch, rows, first, last):  # type: ignore[no-untyped-def]
    s = arrays
    stage, part = phase // PARTS, phase % PARTS
    panels, n = s.inside.shape[0] // W, s.gates.shape[1]
    low, high = s.forward_slots[stage, 0], s.forward_slots[stage, 1]
    if part == 0:
        for j in range(first, last):
            forward_products(s, stage, row, batch, rows, j)
    elif part == 1:
        for slot in range(low, high):
            a, x = s.gates[slot * panels : (slot + 1) * panels], s.x[slot * panels : (slot + 1) * panels]
            for r in range(row + first * rows // panels, row + last * rows // panels):
                mean = row_sum(a, r) / s.hidden
                for j in range(panels):
                    at = (j * n + r) * W
                    centre_kernel((a, s.inside, x), (at, j * W, at), (mean,), W)
                s.scale[slot, r] = 1.0 / math.sqrt(row_dot(x, x, r) / s.hidden + EPSILON)
    else:
        for j in range(first, last):
            for slot in range(low, high):
                column = (slot * panels + j) * W
                for r in range(row, row + rows):
                    at = ((slot * panels + j) * n + r) * W
                    scale_and_shift_kernel(
                        (s.x, s.gain, s.b, s.x, s.gates), (at, column, column, at, at), (s.scale[slot, r],), W
                    )
            forward_equations(s, stage, row, batch, rows, j)


def _backward(arrays, phase, row, batch, rows, first, last, latest):  # type: ignore[no-untyped-def]
    s = arrays
    stage, part = phase // PARTS, phase % PARTS
    panels, n = s.inside.shape[0] // W, s.gates.shape[1]
    low, high = s.backward_slots[stage, 0], s.backward_slots[stage, 1]
    if part == 0:
        for j in range(first, last):
            backward_products(s, stage, row, batch, rows, j, latest)
            backward_equations(s, stage, row, batch, rows, j)
            for slot in range(low, high):
                for r in range(row, row + rows):
                    at = ((slot * panels + j) * n + r) * W
                    column = (slot * panels + j) * W
                    through_gain_kernel((s.gates, s.gain, s.d_affine, s.gates), (at, column, at, at), (), W)
    elif part == 1:
        for slot in range(low, high):
            dx, x = s.gates[slot * panels : (slot + 1) * panels], s.x[slot * panels : (slot + 1) * panels]
            for r in range(row + first * rows // panels, row + last * rows // panels):
                s.mean[slot, r] = row_sum(dx, r) / s.hidden
                s.slope[slot, r] = row_dot(dx, x, r) / s.hidden
    else:
        for j in range(first, last):
            for slot in range(low, high):
                for r in range(row, row + rows):
                    at = ((slot * panels + j) * n + r) * W
                    scalars = (s.mean[slot, r], s.slope[slot, r], s.scale[slot, r])
                    through_normalisation_kernel((s.gates, s.x, s.inside, s.gates), (at, at, j * W, at), scalars, W)


def implement_normalised(arrays_class: type) -> None:
    """Let there be a NamedTuple of a cell's arrays, perhaps extended already, and those of FIELDS."""
    implement(extend(arrays_class, NORMALISED, FIELDS), steps_of(arrays_class), (_forward, _backward))


def normalised_arrays(layer: Any, arrays: Any, count: int, dtype: DTypeLike) -> Any:
    """Buffers that normalise the gates of a layer.

    Args:
        layer: with its gains and biases.
        arrays: those of its cell, perhaps extended already.
        count: N.
    """
    inside = zeros((layer.panels * W,), dtype)
    inside[: layer.hidden] = 1
    return EXTENDED[type(arrays), NORMALISED](
        *arrays,
        x=layer.slot_rows(count),
        d_affine=layer.slot_rows(count),
        gain=layer.gain,
        b=layer.bias,
        inside=inside,
        scale=zeros((layer.slots, count), dtype),
        mean=zeros((layer.slots, count), dtype),
        slope=zeros((layer.slots, count), dtype),
        forward_slots=np.array(layer.forward_slots, np.int64),
        backward_slots=np.array(layer.backward_slots, np.int64),
        hidden=layer.hidden,
    )
