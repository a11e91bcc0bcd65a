"""The GRU (Cho et al. 2014), with the reset gate after the recurrent product or before it.

"After" is what PyTorch and cuDNN compute, n = tanh(a_n + r (h W_n + b_hn)): one product serves all three
gates. "Before" is the original paper's, n = tanh(a_n + (r h) W_n): the candidate's product has to wait for
the reset gate. In both h = (1 - z) n + z h_prev; the paper writes z the other way round.

The buffer of gates begins with the candidate, so that the slots which the input adds to (n, r, z) and
those which the recurrent product fills (r, z and, where it is separate, the candidate's m) are contiguous.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, pack, pack_transposed, rows_of, unpack
from charrnn.engine.pointwise import pointwise
from charrnn.engine.product import add_products, panel_product
from charrnn.engine.simd import Vector, sigmoid, tanh
from charrnn.engine.tile import W
from charrnn.model.config import ModelConfig
from charrnn.model.layer import Layer, implement_cell, order_of

GATES = order_of(0, 1, 2)  # r, z, n
RESET_UPDATE = order_of(0, 1)
CANDIDATE = order_of(2)


def after_forward(a_n: Vector, a_r: Vector, a_z: Vector, m: Vector, h_prev: Vector) -> tuple[Vector, ...]:
    """n = tanh(a_n + r m) with m = h_prev W_n + b_hn. Returns n, r, z, h."""
    r, z = sigmoid(a_r), sigmoid(a_z)
    n = tanh(a_n + r * m)
    return n, r, z, (1.0 - z) * n + z * h_prev


def after_backward(
    n: Vector, r: Vector, z: Vector, m: Vector, h_prev: Vector, dh: Vector, carry: Vector
) -> tuple[Vector, ...]:
    """Gradients of a_n, a_r, a_z, m, and of h_prev along the direct path z h_prev."""
    dh = dh + carry
    da_n = dh * (1.0 - z) * (1.0 - n * n)
    da_z = dh * (h_prev - n) * z * (1.0 - z)
    return da_n, da_n * m * r * (1.0 - r), da_z, da_n * r, dh * z


def before_gates(a_r: Vector, a_z: Vector, h_prev: Vector) -> tuple[Vector, ...]:
    """Returns r, z and r h_prev, which the candidate's product needs."""
    r = sigmoid(a_r)
    return r, sigmoid(a_z), r * h_prev


def before_output(a_n: Vector, z: Vector, h_prev: Vector) -> tuple[Vector, ...]:
    """n = tanh(a_n), in which (r h_prev) W_n is included. Returns n, h."""
    n = tanh(a_n)
    return n, (1.0 - z) * n + z * h_prev


def before_output_backward(n: Vector, z: Vector, h_prev: Vector, dh: Vector, carry: Vector) -> tuple[Vector, ...]:
    """Gradients of a_n, a_z, and of h_prev along the direct path z h_prev."""
    dh = dh + carry
    da_n = dh * (1.0 - z) * (1.0 - n * n)
    return da_n, dh * (h_prev - n) * z * (1.0 - z), dh * z


def before_gates_backward(r: Vector, h_prev: Vector, d_rh: Vector, carry: Vector) -> tuple[Vector, ...]:
    """Gradients of a_r, and of h_prev with what comes through r h_prev added."""
    return d_rh * h_prev * r * (1.0 - r), carry + d_rh * r


after_forward_kernel = pointwise(after_forward)
after_backward_kernel = pointwise(after_backward)
before_gates_kernel = pointwise(before_gates)
before_output_kernel = pointwise(before_output)
before_output_backward_kernel = pointwise(before_output_backward)
before_gates_backward_kernel = pointwise(before_gates_backward)


class AfterArrays(NamedTuple):
    """Weights and buffers of a GRU layer, reset after; N = T * B rows, P panels of hidden units."""

    w_h: Array  # [3P, P * W, W] of r, z, n
    w_h_t: Array  # [P, 3P * W, W]
    m_start: Array  # (P * W,): what m begins with, b_hn unless it is normalised
    gates: Array  # [4P, N, W]: n, r, z, m
    recurrent: Array  # [3P, N, W]: r, z, m, a view of gates
    h: Array  # [P, B + N, W]
    dh: Array  # [P, N, W]
    carry: Array  # [P, B, W]: gradient of h that does not pass through the weights


class BeforeArrays(NamedTuple):
    """Weights and buffers of a GRU layer, reset before; N = T * B rows, P panels of hidden units."""

    w_h: Array  # [3P, P * W, W] of r, z, n
    w_rz_t: Array  # [P, 2P * W, W]
    w_n_t: Array  # [P, P * W, W]
    gates: Array  # [3P, N, W]: n, r, z
    candidate: Array  # [P, N, W]: n, a view of gates
    reset_update: Array  # [2P, N, W]: r, z, a view of gates
    rh: Array  # [P, N, W]: r h_prev
    h: Array  # [P, B + N, W]
    dh: Array  # [P, N, W]
    d_rh: Array  # [P, B, W]
    carry: Array  # [P, B, W]: gradient of h that does not pass through W_r and W_z


def _after_forward_products(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    panels = s.h.shape[0]
    add_products(s.h, row, rows, s.w_h, j, panels, 2, s.recurrent, row)
    panel_product(s.h, row, rows, s.w_h, 2 * panels + j, s.recurrent, 2 * panels + j, row, s.m_start, j * W, 0)


def _after_forward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    n, step = (j * s.gates.shape[1] + row) * W, s.h.shape[0] * s.gates.shape[1] * W
    r, z, m = n + step, n + 2 * step, n + 3 * step
    before = (j * s.h.shape[1] + row) * W
    after_forward_kernel(
        (s.gates, s.gates, s.gates, s.gates, s.h, s.gates, s.gates, s.gates, s.h),
        (n, r, z, m, before, n, r, z, before + batch * W),
        (),
        rows * W,
    )


def _after_backward_products(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
    if not latest:
        add_products(arrays.recurrent, row + batch, rows, arrays.w_h_t, j, 1, 1, arrays.dh, row)


def _after_backward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    n, step = (j * s.gates.shape[1] + row) * W, s.h.shape[0] * s.gates.shape[1] * W
    r, z, m = n + step, n + 2 * step, n + 3 * step
    before = (j * s.h.shape[1] + row) * W
    carry = (j * batch + row % batch) * W
    after_backward_kernel(
        (s.gates, s.gates, s.gates, s.gates, s.h, s.dh, s.carry, s.gates, s.gates, s.gates, s.gates, s.carry),
        (n, r, z, m, before, n, carry, n, r, z, m, carry),
        (),
        rows * W,
    )


def _before_forward_products(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    panels = s.h.shape[0]
    if stage == 0:
        add_products(s.h, row, rows, s.w_h, j, panels, 2, s.reset_update, row)
    else:
        n = (j * s.gates.shape[1] + row) * W
        panel_product(s.rh, row, rows, s.w_h, 2 * panels + j, s.candidate, j, row, s.candidate, n, W)


def _before_forward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    n, step = (j * s.gates.shape[1] + row) * W, s.h.shape[0] * s.gates.shape[1] * W
    r, z = n + step, n + 2 * step
    before = (j * s.h.shape[1] + row) * W
    if stage == 0:
        before_gates_kernel((s.gates, s.gates, s.h, s.gates, s.gates, s.rh), (r, z, before, r, z, n), (), rows * W)
    else:
        before_output_kernel((s.gates, s.gates, s.h, s.gates, s.h), (n, z, before, n, before + batch * W), (), rows * W)


def _before_backward_products(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
    s = arrays
    if stage == 1:
        s.d_rh[j, row % batch : row % batch + rows] = 0
        add_products(s.candidate, row, rows, s.w_n_t, j, 1, 1, s.d_rh, row % batch)
    elif not latest:
        add_products(s.reset_update, row + batch, rows, s.w_rz_t, j, 1, 1, s.dh, row)


def _before_backward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    n, step = (j * s.gates.shape[1] + row) * W, s.h.shape[0] * s.gates.shape[1] * W
    r, z = n + step, n + 2 * step
    before = (j * s.h.shape[1] + row) * W
    carry = (j * batch + row % batch) * W
    if stage == 0:
        before_output_backward_kernel(
            (s.gates, s.gates, s.h, s.dh, s.carry, s.gates, s.gates, s.carry),
            (n, z, before, n, carry, n, z, carry),
            (),
            rows * W,
        )
    else:
        before_gates_backward_kernel(
            (s.gates, s.h, s.d_rh, s.carry, s.gates, s.carry),
            (r, before, carry, carry, r, carry),
            (),
            rows * W,
        )


implement_cell(
    AfterArrays,
    _after_forward_products,
    _after_forward_equations,
    _after_backward_products,
    _after_backward_equations,
)
implement_cell(
    BeforeArrays,
    _before_forward_products,
    _before_forward_equations,
    _before_backward_products,
    _before_backward_equations,
)


class GRU(Layer):
    """The recurrent half of a GRU layer, reset gate after the recurrent product."""

    gates = ("r", "z", "n")
    input_order = (2, 0, 1)
    slots = 4
    extra_slots = ("hn",)
    forward_slots = ((0, 4),)
    backward_slots = ((0, 4),)

    def __init__(self, config: ModelConfig, dtype: DTypeLike) -> None:
        super().__init__(config, dtype)
        self.w_h_t = self.transposed(3)

    def pack(self, W_h: Array) -> None:
        pack(W_h, 3, GATES, self.w_h)
        pack_transposed(W_h, 3, GATES, self.w_h_t)

    def cell_arrays(self, batch: int, steps: int) -> AfterArrays:
        gates = self.slot_rows(batch * steps)
        return AfterArrays(
            self.w_h,
            self.w_h_t,
            self.extra_bias,
            gates,
            recurrent=gates[self.panels :],
            h=self.rows(batch + batch * steps),
            dh=self.rows(batch * steps),
            carry=self.rows(batch),
        )

    def carried_gradient(self, cell: Any, batch: int) -> Array:
        carry: Array = cell.carry
        return carry

    def weight_gradient(self, cell: Any, rows: int, dW_h: Array) -> None:
        self._packed_gradient(cell.h, cell.recurrent, rows)
        unpack(self.d_w_h, 3, GATES, dW_h)

    def state_gradient(self, cell: Any, batch: int) -> dict[str, Array]:
        through = self._through_weights(cell.recurrent, self.w_h_t, batch)
        return {"h": through + rows_of(cell.carry, self.hidden)}


class ResetBeforeGRU(Layer):
    """The recurrent half of a GRU layer, reset gate before the candidate's recurrent product."""

    gates = ("r", "z", "n")
    input_order = (2, 0, 1)
    slots = 3
    forward_slots = ((1, 3), (0, 1))
    backward_slots = ((0, 1), (1, 3))

    def __init__(self, config: ModelConfig, dtype: DTypeLike) -> None:
        super().__init__(config, dtype)
        self.w_rz_t, self.w_n_t = self.transposed(2), self.transposed(1)

    def pack(self, W_h: Array) -> None:
        pack(W_h, 3, GATES, self.w_h)
        pack_transposed(W_h, 3, RESET_UPDATE, self.w_rz_t)
        pack_transposed(W_h, 3, CANDIDATE, self.w_n_t)

    def cell_arrays(self, batch: int, steps: int) -> BeforeArrays:
        n = batch * steps
        gates = self.slot_rows(n)
        return BeforeArrays(
            self.w_h,
            self.w_rz_t,
            self.w_n_t,
            gates,
            candidate=gates[: self.panels],
            reset_update=gates[self.panels :],
            rh=self.rows(n),
            h=self.rows(batch + n),
            dh=self.rows(n),
            d_rh=self.rows(batch),
            carry=self.rows(batch),
        )

    def carried_gradient(self, cell: Any, batch: int) -> Array:
        carry: Array = cell.carry
        return carry

    def weight_gradient(self, cell: Any, rows: int, dW_h: Array) -> None:
        self._packed_gradient(cell.h, cell.reset_update, rows)
        self._packed_gradient(cell.rh, cell.candidate, rows, first=2 * self.panels)
        unpack(self.d_w_h, 3, GATES, dW_h)

    def state_gradient(self, cell: Any, batch: int) -> dict[str, Array]:
        through = self._through_weights(cell.reset_update, self.w_rz_t, batch)
        return {"h": through + rows_of(cell.carry, self.hidden)}
