"""The plain recurrent network (Elman 1990), with tanh or with rectified linear units."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, pack, pack_transposed, unpack
from charrnn.engine.pointwise import pointwise
from charrnn.engine.product import add_products
from charrnn.engine.simd import Vector, maximum, positive, tanh, where
from charrnn.engine.tile import W
from charrnn.model.config import ModelConfig
from charrnn.model.layer import Layer, implement_cell, order_of

GATES = order_of(0)


def tanh_forward(a: Vector) -> tuple[Vector, ...]:
    """h = tanh(a); returned twice, for the state and for the backward pass."""
    h = tanh(a)
    return h, h


def tanh_backward(h: Vector, dh: Vector) -> Vector:
    """da = dh (1 - h^2)."""
    return dh * (1.0 - h * h)


def relu_forward(a: Vector) -> tuple[Vector, ...]:
    """h = max(a, 0); returned twice, for the state and for the backward pass."""
    h = maximum(a, 0.0)
    return h, h


def relu_backward(h: Vector, dh: Vector) -> Vector:
    """da = dh where h > 0, else 0."""
    return where(positive(h), dh, 0.0)


class TanhArrays(NamedTuple):
    """Weights and buffers of an RNN layer with tanh; N = T * B rows, P panels of hidden units."""

    w_h: Array  # [P, P * W, W]
    w_h_t: Array  # [P, P * W, W]
    gates: Array  # [P, N, W]: pre-activations, then h, then the gradients of the pre-activations
    h: Array  # [P, B + N, W]
    dh: Array  # [P, N, W]


class ReluArrays(NamedTuple):
    """The same for rectified linear units: a type of its own, by which numba chooses the equations."""

    w_h: Array
    w_h_t: Array
    gates: Array
    h: Array
    dh: Array


def _forward_products(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    add_products(arrays.h, row, rows, arrays.w_h, j, 1, 1, arrays.gates, row)


def _backward_products(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
    if not latest:
        add_products(arrays.gates, row + batch, rows, arrays.w_h_t, j, 1, 1, arrays.dh, row)


def _steps(forward_kernel: Any, backward_kernel: Any) -> tuple[Any, ...]:
    """The steps of an RNN with these point-wise kernels, for `implement`."""

    def forward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
        s = arrays
        a, h = (j * s.gates.shape[1] + row) * W, (j * s.h.shape[1] + row + batch) * W
        forward_kernel((s.gates, s.gates, s.h), (a, a, h), (), rows * W)

    def backward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
        a = (j * arrays.gates.shape[1] + row) * W
        backward_kernel((arrays.gates, arrays.dh, arrays.gates), (a, a, a), (), rows * W)

    return _forward_products, forward_equations, _backward_products, backward_equations


implement_cell(TanhArrays, *_steps(pointwise(tanh_forward), pointwise(tanh_backward)))
implement_cell(ReluArrays, *_steps(pointwise(relu_forward), pointwise(relu_backward)))


class RNN(Layer):
    """The recurrent half of a plain RNN layer; the subclasses choose the non-linearity."""

    gates = ("h",)
    input_order = (0,)
    slots = 1
    forward_slots = ((0, 1),)
    backward_slots = ((0, 1),)
    arrays_class: type

    def __init__(self, config: ModelConfig, dtype: DTypeLike) -> None:
        super().__init__(config, dtype)
        self.w_h_t = self.transposed(1)

    def pack(self, W_h: Array) -> None:
        pack(W_h, 1, GATES, self.w_h)
        pack_transposed(W_h, 1, GATES, self.w_h_t)

    def cell_arrays(self, batch: int, steps: int) -> Any:
        n = batch * steps
        return self.arrays_class(self.w_h, self.w_h_t, gates=self.slot_rows(n), h=self.rows(batch + n), dh=self.rows(n))

    def weight_gradient(self, cell: Any, rows: int, dW_h: Array) -> None:
        self._packed_gradient(cell.h, cell.gates, rows)
        unpack(self.d_w_h, 1, GATES, dW_h)

    def state_gradient(self, cell: Any, batch: int) -> dict[str, Array]:
        return {"h": self._through_weights(cell.gates, self.w_h_t, batch)}


class TanhRNN(RNN):
    """h = tanh(x W_x + h W_h + b)."""

    arrays_class = TanhArrays


class ReluRNN(RNN):
    """h = max(x W_x + h W_h + b, 0)."""

    arrays_class = ReluArrays
