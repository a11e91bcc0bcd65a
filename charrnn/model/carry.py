"""The way of the state from one time step to the next, where it is more than being kept: zoneout, independent lines.

Zoneout (Krueger et al. 2017): a unit keeps its previous value instead of taking the new one, k s_prev + (1 - k) s, with
k = 1 or 0 by chance in training, and k the rate itself otherwise. Independent lines: the state is set to zeros where a
line begins, while what the layer gave to those above it stays, in a buffer of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from charrnn.engine.panels import Array, rows_of
from charrnn.engine.pointwise import pointwise
from charrnn.engine.recurrence import implement, steps_of
from charrnn.engine.simd import Vector
from charrnn.engine.tile import W
from charrnn.model.extend import EXTENDED, extend
from charrnn.model.noise import Noise


def blend(new: Vector, before: Vector, keep: Vector) -> Vector:
    """The state after zoneout."""
    return keep * before + (1.0 - keep) * new


def split(d: Vector, kept: Vector, keep: Vector) -> tuple[Vector, ...]:
    """Gradients of the new state and of the one before it, given those that came through the cell and past it."""
    d = d + kept
    return (1.0 - keep) * d, keep * d


def split_carried(d: Vector, carried: Vector, kept: Vector, keep: Vector) -> tuple[Vector, ...]:
    """The same with a part that the cell has carried, which is then used up."""
    d, kept = split(d + carried, kept, keep)
    return d, carried * 0.0, kept


blend_kernel = pointwise(blend)
split_kernel = pointwise(split)
split_carried_kernel = pointwise(split_carried)


CARRIED = "Carried"
FIELDS = {  # what is added to a cell's arrays; N = T * B rows, P panels; without c, its panels are 0
    "last": "the cell's last stage",
    "c_state": "[P, B + N, W]: the cell's c",
    "y": "[P, N, W]: h as it was before a line's end set it to zeros",
    "keep_h": "[P, N, W]: k",
    "keep_c": "[P, N, W]",
    "ends": "(N,) bool: a line begins after this row",
    "d_state": "[P, B, W]: what the cell itself carries back, the gradient of c, or of h past the weights",
    "kept_h": "[P, B, W]: gradient that goes past the cell",
    "kept_c": "[P, B, W]",
    "saved": "[P, B, W]",
}


def _steps(cell_steps: Any) -> tuple[Any, ...]:
    """The steps of a cell with what goes on between them."""
    cell_forward_products, cell_forward_equations, cell_backward_products, cell_backward_equations = cell_steps
    forward, backward = njit(cell_forward_equations), njit(cell_backward_products)

    def forward_equations(arrays, stage, row, batch, rows, j):  # type: ignore[no-untyped-def]
        s = arrays
        forward(s, stage, row, batch, rows, j)
        if stage == s.last:
            before, keep = (j * s.h.shape[1] + row) * W, (j * s.y.shape[1] + row) * W
            now = before + batch * W
            blend_kernel((s.h, s.h, s.keep_h, s.h), (now, before, keep, now), (), rows * W)
            if s.c_state.shape[0] > 0:
                blend_kernel((s.c_state, s.c_state, s.keep_c, s.c_state), (now, before, keep, now), (), rows * W)
            for i in range(rows):
                s.y[j, row + i] = s.h[j, row + batch + i]
                if s.ends[row + i]:
                    s.h[j, row + batch + i] = 0
                    if s.c_state.shape[0] > 0:
                        s.c_state[j, row + batch + i] = 0

    def backward_products(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
        s = arrays
        first = row % batch
        if stage == 0:
            for i in range(rows):
                if s.ends[row + i]:
                    s.saved[j, first + i] = s.dh[j, row + i]
                    s.d_state[j, first + i] = 0
                    s.kept_h[j, first + i] = 0
                    if s.c_state.shape[0] > 0:
                        s.kept_c[j, first + i] = 0
        backward(s, stage, row, batch, rows, j, latest)
        if stage == 0:
            for i in range(rows):
                if s.ends[row + i]:
                    s.dh[j, row + i] = s.saved[j, first + i]
            _split(s, row, batch, rows, j)

    return cell_forward_products, forward_equations, backward_products, cell_backward_equations


@njit
def _split(arrays, row, batch, rows, j):  # type: ignore[no-untyped-def]
    """Divide the gradients of the states at these rows between the cell and what goes past it."""
    s = arrays
    at, of_stream = (j * s.y.shape[1] + row) * W, (j * batch + row % batch) * W
    if s.c_state.shape[0] > 0:
        split_kernel((s.dh, s.kept_h, s.keep_h, s.dh, s.kept_h), (at, of_stream, at, at, of_stream), (), rows * W)
        split_kernel(
            (s.d_state, s.kept_c, s.keep_c, s.d_state, s.kept_c),
            (of_stream, of_stream, at, of_stream, of_stream),
            (),
            rows * W,
        )
    else:
        split_carried_kernel(
            (s.dh, s.d_state, s.kept_h, s.keep_h, s.dh, s.d_state, s.kept_h),
            (at, of_stream, of_stream, at, at, of_stream, of_stream),
            (),
            rows * W,
        )


def implement_carried(cell_class: type) -> type:
    """Let there be a NamedTuple of a cell's arrays and those of FIELDS; returns it."""
    new = extend(cell_class, CARRIED, FIELDS)
    implement(new, _steps(steps_of(cell_class)))
    return new


class Carry:
    """Zoneout and independent lines of one layer.

    Args:
        layer: the layer.
        cell: its arrays.
        carried: [P, B, W], what the cell itself carries back.
        batch, steps: B and T.
        rates: k for each state.
    """

    def __init__(self, layer: Any, cell: Any, carried: Array, batch: int, steps: int, rates: dict[str, float]) -> None:
        n, has_c = batch * steps, "c" in layer.states
        nothing = cell.h[:0]
        self.batch, self.rates, self.masked = batch, rates, False
        self.arrays = EXTENDED[type(cell), CARRIED](
            *cell,
            last=layer.stages - 1,
            c_state=cell.c if has_c else nothing,
            y=layer.rows(n),
            keep_h=layer.rows(n),
            keep_c=layer.rows(n) if has_c else nothing,
            ends=np.zeros(n, np.bool_),
            d_state=carried,
            kept_h=layer.rows(batch),
            kept_c=layer.rows(batch) if has_c else nothing,
            saved=layer.rows(batch),
        )
        self.fresh = np.zeros(batch, np.bool_)
        self.expect()

    @property
    def keeps(self) -> dict[str, Array]:
        """For each state of a cell the buffer of k."""
        return {"h": self.arrays.keep_h} | ({"c": self.arrays.keep_c} if len(self.arrays.c_state) else {})

    def begin(self, layer: int, noise: Noise, draw: int | None, steps: int) -> None:
        """Set k for the next steps: masks of this draw, or without one the rates."""
        if draw is not None:
            for name, keep in self.keeps.items():
                if self.rates[name]:
                    noise.zoneout(name, self.rates[name], layer, draw, keep, steps * self.batch)
            self.masked = True
        elif self.masked:
            self.expect()

    def expect(self) -> None:
        """Zoneout in expectation: k is the rate."""
        for name, keep in self.keeps.items():
            keep[:] = self.rates[name]
        self.masked = False

    def begin_lines(self, begins: Array) -> None:
        """Set the states to zeros before a line begins.

        Args:
            begins: (t, B) bool, whether the input of this step begins a line.
        """
        steps, batch = begins.shape
        a = self.arrays
        a.ends[: (steps - 1) * batch] = begins[1:].reshape(-1)
        a.ends[(steps - 1) * batch : steps * batch] = False
        self.fresh = begins[0]
        for state in (a.h, a.c_state):
            state[:, :batch][:, self.fresh] = 0

    def no_lines(self) -> None:
        """No line begins inside the next steps."""
        self.arrays.ends[:] = False

    def forget_future(self) -> None:
        """No gradient comes from beyond the chunk's end."""
        self.arrays.kept_h[:] = 0
        self.arrays.kept_c[:] = 0

    def add_to(self, gradient: dict[str, Array]) -> None:
        """Add to the gradient of the state before the chunk what went past the cell; it is 0 where a line began."""
        for name, kept in (("h", self.arrays.kept_h), ("c", self.arrays.kept_c)):
            if name in gradient:
                gradient[name] += rows_of(kept, gradient[name].shape[1])
                gradient[name][self.fresh] = 0
