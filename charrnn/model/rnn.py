"""The plain recurrent network (Elman 1990), with tanh or with rectified linear units."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit
from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, pack, pack_transposed, unpack
from charrnn.engine.pointwise import pointwise
from charrnn.engine.product import add_products
from charrnn.engine.recurrence import implement
from charrnn.engine.simd import Vector, maximum, positive, tanh, where
from charrnn.engine.tile import W
from charrnn.model.layer import Layer, order_of

GATES = order_of(0)


def tanh_forward(a: Vector) -> Vector:
    """h = tanh(a)."""
    return tanh(a)


def tanh_backward(h: Vector, dh: Vector) -> Vector:
    """da = dh (1 - h^2)."""
    return dh * (1.0 - h * h)


def relu_forward(a: Vector) -> Vector:
    """h = max(a, 0)."""
    return maximum(a, 0.0)


def relu_backward(h: Vector, dh: Vector) -> Vector:
    """da = dh where h > 0, else 0."""
    return where(positive(h), dh, 0.0)


class TanhArrays(NamedTuple):
    """Weights and buffers of an RNN layer with tanh; N = T * B rows, P panels of hidden units."""

    w_h: Array  # [P, P * W, W]
    w_h_t: Array  # [P, P * W, W]
    gates: Array  # [P, N, W]: pre-activations, then their gradients
    h: Array  # [P, B + N, W]
    dh: Array  # [P, N, W]


class ReluArrays(NamedTuple):
    """The same for rectified linear units: a type of its own, by which numba chooses the equations."""

    w_h: Array
    w_h_t: Array
    gates: Array
    h: Array
    dh: Array


def _steps(forward_kernel: Any, backward_kernel: Any) -> tuple[Any, Any]:
    """The steps of an RNN with these point-wise kernels, for `implement`."""

    @njit
    def forward(arrays, phase, row, batch, rows, first, last):  # type: ignore[no-untyped-def]
        s = arrays
        for j in range(first, last):
            add_products(s.h, row, rows, s.w_h, j, 1, 1, s.gates, row)
            a, h = (j * s.gates.shape[1] + row) * W, (j * s.h.shape[1] + row + batch) * W
            forward_kernel((s.gates, s.h), (a, h), (), rows * W)

    @njit
    def backward(arrays, phase, row, batch, rows, first, last, latest):  # type: ignore[no-untyped-def]
        s = arrays
        for j in range(first, last):
            if not latest:
                add_products(s.gates, row + batch, rows, s.w_h_t, j, 1, 1, s.dh, row)
            a, h = (j * s.gates.shape[1] + row) * W, (j * s.h.shape[1] + row + batch) * W
            backward_kernel((s.h, s.dh, s.gates), (h, a, a), (), rows * W)

    return forward, backward


implement(TanhArrays, *_steps(pointwise(tanh_forward), pointwise(tanh_backward)))
implement(ReluArrays, *_steps(pointwise(relu_forward), pointwise(relu_backward)))


class RNN(Layer):
    """The recurrent half of a plain RNN layer; the subclasses choose the non-linearity."""

    gates = ("h",)
    input_order = (0,)
    slots = 1
    arrays_class: type

    def __init__(self, hidden: int, dtype: DTypeLike) -> None:
        super().__init__(hidden, dtype)
        self.w_h_t = self.transposed(1)

    def pack(self, W_h: Array, extra: dict[str, Array]) -> None:
        pack(W_h, 1, GATES, self.w_h)
        pack_transposed(W_h, 1, GATES, self.w_h_t)

    def arrays(self, batch: int, steps: int) -> Any:
        n = batch * steps
        return self.arrays_class(self.w_h, self.w_h_t, gates=self.slot_rows(n), h=self.rows(batch + n), dh=self.rows(n))

    def weight_gradient(self, arrays: Any, rows: int, dW_h: Array, d_extra: dict[str, Array], ones: Array) -> None:
        self._packed_gradient(arrays.h, arrays.gates, rows)
        unpack(self.d_w_h, 1, GATES, dW_h)

    def state_gradient(self, arrays: Any, batch: int) -> dict[str, Array]:
        return {"h": self._through_weights(arrays.gates, self.w_h_t, batch)}


class TanhRNN(RNN):
    """h = tanh(x W_x + h W_h + b)."""

    arrays_class = TanhArrays


class ReluRNN(RNN):
    """h = max(x W_x + h W_h + b, 0)."""

    arrays_class = ReluArrays
