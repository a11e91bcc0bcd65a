"""The LSTM: Hochreiter & Schmidhuber (1997), with the forget gate of Gers, Schmidhuber & Cummins (2000)."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, pack, pack_transposed, rows_of, unpack
from charrnn.engine.pointwise import pointwise
from charrnn.engine.product import add_products
from charrnn.engine.simd import Vector, sigmoid, tanh
from charrnn.engine.tile import W
from charrnn.model.config import ModelConfig
from charrnn.model.layer import Layer, implement_cell, order_of

GATES = order_of(0, 1, 2, 3)  # i, f, g, o


def forward_equations(a_i: Vector, a_f: Vector, a_g: Vector, a_o: Vector, c_prev: Vector) -> tuple[Vector, ...]:
    """c = f c_prev + i g; h = o tanh(c). Returns i, f, g, o, c, h."""
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), tanh(a_g), sigmoid(a_o)
    c = f * c_prev + i * g
    return i, f, g, o, c, o * tanh(c)


def backward_equations(
    i: Vector, f: Vector, g: Vector, o: Vector, c_prev: Vector, dh: Vector, dc: Vector
) -> tuple[Vector, ...]:
    """Gradients of the four pre-activations and of c_prev, given those of h and c."""
    t = tanh(f * c_prev + i * g)
    dc = dc + dh * o * (1.0 - t * t)
    da_i = dc * g * i * (1.0 - i)
    da_f = dc * c_prev * f * (1.0 - f)
    da_g = dc * i * (1.0 - g * g)
    da_o = dh * t * o * (1.0 - o)
    return da_i, da_f, da_g, da_o, dc * f


lstm_forward = pointwise(forward_equations)
lstm_backward = pointwise(backward_equations)


class LSTMArrays(NamedTuple):
    """Weights and buffers of an LSTM layer; N = T * B rows, P panels of hidden units."""

    w_h: Array  # [4P, P * W, W]
    w_h_t: Array  # [P, 4P * W, W]
    gates: Array  # [4P, N, W]: pre-activations, then i, f, g, o, then their gradients
    h: Array  # [P, B + N, W]
    c: Array  # [P, B + N, W]
    dh: Array  # [P, N, W]
    dc: Array  # [P, B, W]


def _forward_products(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    add_products(s.h, row, rows, s.w_h, j, s.h.shape[0], 4, s.gates, row)


def _forward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    i, step = (j * s.gates.shape[1] + row) * W, s.h.shape[0] * s.gates.shape[1] * W
    f, g, o = i + step, i + 2 * step, i + 3 * step
    before = (j * s.h.shape[1] + row) * W
    now = before + batch * W
    lstm_forward(
        (s.gates, s.gates, s.gates, s.gates, s.c, s.gates, s.gates, s.gates, s.gates, s.c, s.h),
        (i, f, g, o, before, i, f, g, o, now, now),
        (),
        rows * W,
    )


def _backward_products(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
    if not latest:
        add_products(arrays.gates, row + batch, rows, arrays.w_h_t, j, 1, 1, arrays.dh, row)


def _backward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
    s = arrays
    i, step = (j * s.gates.shape[1] + row) * W, s.h.shape[0] * s.gates.shape[1] * W
    f, g, o = i + step, i + 2 * step, i + 3 * step
    before = (j * s.h.shape[1] + row) * W
    dh, dc = (j * s.dh.shape[1] + row) * W, (j * batch + row % batch) * W
    lstm_backward(
        (s.gates, s.gates, s.gates, s.gates, s.c, s.dh, s.dc, s.gates, s.gates, s.gates, s.gates, s.dc),
        (i, f, g, o, before, dh, dc, i, f, g, o, dc),
        (),
        rows * W,
    )


implement_cell(LSTMArrays, _forward_products, _forward_equations, _backward_products, _backward_equations)


class LSTM(Layer):
    """The recurrent half of an LSTM layer."""

    gates = ("i", "f", "g", "o")
    input_order = (0, 1, 2, 3)
    slots = 4
    states = ("h", "c")
    forward_slots = ((0, 4),)
    backward_slots = ((0, 4),)

    def __init__(self, config: ModelConfig, dtype: DTypeLike) -> None:
        super().__init__(config, dtype)
        self.w_h_t = self.transposed(4)

    def pack(self, W_h: Array) -> None:
        pack(W_h, 4, GATES, self.w_h)
        pack_transposed(W_h, 4, GATES, self.w_h_t)

    def cell_arrays(self, batch: int, steps: int) -> LSTMArrays:
        n = batch * steps
        return LSTMArrays(
            self.w_h,
            self.w_h_t,
            gates=self.slot_rows(n),
            h=self.rows(batch + n),
            c=self.rows(batch + n),
            dh=self.rows(n),
            dc=self.rows(batch),
        )

    def carried_gradient(self, cell: Any, batch: int) -> Array:
        dc: Array = cell.dc
        return dc

    def weight_gradient(self, cell: Any, rows: int, dW_h: Array) -> None:
        self._packed_gradient(cell.h, cell.gates, rows)
        unpack(self.d_w_h, 4, GATES, dW_h)

    def state_gradient(self, cell: Any, batch: int) -> dict[str, Array]:
        dh = self._through_weights(cell.gates, self.w_h_t, batch)
        return {"h": dh, "c": rows_of(cell.dc, self.hidden)}
