"""The recurrent half of a layer: its packed weights, and their gradients."""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine import panels
from charrnn.engine.panels import Array, pack, panels_for, rows_of, unpack
from charrnn.engine.product import column_sums, product
from charrnn.engine.recurrence import LayerArrays
from charrnn.engine.simd import W
from charrnn.errors import ConfigError
from charrnn.model.cell import Cell
from charrnn.model.cells import cell_of
from charrnn.model.config import ModelConfig
from charrnn.model.dense import Dense, RowSums
from charrnn.model.programs import Programs
from charrnn.model.step import Beside, Step

Shapes = dict[str, tuple[int, ...]]


def order_of(*gates: int) -> Array:
    """A gate order in the form that the packing kernels take."""
    return np.array(gates, np.int64)


def programs_of(config: ModelConfig, rounded: bool = False) -> Programs:
    """What a time step of the model's layers does, with products in bfloat16 or not."""
    beside = Beside(config.layer_norm, config.has_zoneout, config.stateless)
    cell = cell_of(config)
    if config.zoneout_cell and len(cell.states) == 1:
        raise ConfigError(f"expected --zoneout-cell with a cell of two states, got {cell.name}; try --zoneout")
    return _programs(cell, beside, rounded)


@cache
def _programs(cell: Cell, beside: Beside, rounded: bool) -> Programs:
    return Programs(Step(cell, beside), rounded)


def layer_shapes(config: ModelConfig, below: int) -> Shapes:
    """Name and shape of a layer's parameters.

    Args:
        below: the width of its input.
    """
    step, hidden = programs_of(config).step, config.hidden
    cell = step.cell
    shapes: Shapes = {"W_x": (below, len(cell.gates) * hidden)}
    if cell.recurrent:
        shapes["W_h"] = (hidden, len(cell.recurrent) * hidden)
    for vector in ("b", "gain") if config.layer_norm else ("b",):
        shapes[vector] = (len(cell.gates) * hidden,)
        shapes |= {f"{vector}_h{slot.gate}": (hidden,) for slot in step.singles}
    return shapes | {f"p_{unit}": (hidden,) for unit in cell.units}


class Layer:
    """The recurrent half of one layer: h_t = cell(input's share of the gates, h_{t-1}).

    Args:
        config: the model.
        dtype: float32 or float64.
        precision: the precision of products, see `Network`.

    Attributes:
        programs, step, plan: what a time step does.
        gates: how many gates there are.
        input_order: the gate of each slot that the input is added to.
        recurrent: the recurrent weights of each stage.
        panels: P.
        bias, gain, zero: (slots * P * W,) packed biases and gains, and zeros.
        units: (units * P * W,) the numbers that the units learn.
        d_vector, d_units: room for gradients of these.
        inside: (P * W,) 1 for hidden units, 0 in the padding.
    """

    def __init__(self, config: ModelConfig, dtype: DTypeLike, precision: str = "float32") -> None:
        self.config, self.hidden, self.dtype = config, config.hidden, np.dtype(dtype)
        self.precision = precision
        self.programs = programs_of(config, rounded=precision == "bfloat16")
        self.step, self.plan = self.programs.step, self.programs.plan
        cell, slots = self.step.cell, self.step.slots
        self.panels, self.gates = panels_for(self.hidden), len(cell.gates)
        self.input_order = order_of(*(cell.gates.index(slot.gate) for slot in self.step.inputs))
        filled = [[slots[k].gate for k in self.step.filled(stage)] for stage in range(self.step.stages)]
        orders = [order_of(*map(cell.recurrent.index, gates)) for gates in filled]
        sizes = (self.hidden, self.hidden, len(cell.recurrent))
        self.recurrent = [Dense(*sizes, order, dtype, precision) for order in orders]
        self.zero = panels.zeros((len(slots) * self.panels * W,), dtype)
        self.bias, self.gain, self.d_vector = (panels.zeros(self.zero.shape, dtype) for _ in range(3))
        self.units, self.d_units = (panels.zeros((len(cell.units) * self.panels * W,), dtype) for _ in range(2))
        self.inside = panels.zeros((self.panels * W,), dtype)
        self.inside[: self.hidden] = 1
        # Normalised sums begin at 0, because the bias is added after the normalisation.
        self._start = self.zero if config.layer_norm else self.bias
        self._inputs = self.gates * self.panels * W

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states."""
        return self.step.cell.states

    @property
    def input_start(self) -> Array:
        """The start values of the input's share of the gates: (gates * P * W,)."""
        return self._start[: self._inputs]

    @property
    def single_bias(self) -> Array:
        """The start values of separate products, see step.py."""
        return self._start[self._inputs :]

    def rows(self, count: int, slots: int = 1, dtype: DTypeLike | None = None) -> Array:
        """Room for `count` rows of H numbers in each of the slots: [slots * P, count, W]."""
        return panels.zeros((slots * self.panels, count, W), self.dtype if dtype is None else dtype)

    def pack(self, W_h: Array) -> None:
        """Copy the plain recurrent weights (H, recurrent gates * H) into the packed ones."""
        for dense in self.recurrent:
            dense.pack(W_h)

    def pack_vectors(self, vectors: dict[str, Array]) -> None:
        """Copy biases, gains and the units' numbers into the packed vectors, see `layer_shapes`."""
        both = {"b": self.bias, "gain": self.gain} if self.config.layer_norm else {"b": self.bias}
        for name, packed in both.items():
            pack(vectors[name][None, :], self.gates, self.input_order, self._slots_of(packed))
            for place, gate in self._single_places():
                packed[place] = vectors[f"{name}_h{gate}"]
        for k, unit in enumerate(self.step.cell.units):
            self.units[self._place(k)] = vectors[f"p_{unit}"]

    def _slots_of(self, packed: Array) -> Array:
        view: Array = packed[: self._inputs].reshape(-1, 1, W)
        return view

    def _place(self, slot: int) -> slice:
        """Where the numbers of a slot stand in a vector of all slots."""
        start = slot * self.panels * W
        return slice(start, start + self.hidden)

    def _single_places(self) -> list[tuple[slice, str]]:
        return [(self._place(self.gates + k), slot.gate) for k, slot in enumerate(self.step.singles)]

    def vector_gradient(self, name: str, d: Array, rows: int, gradients: dict[str, Array]) -> None:
        """Write the gradients of "b" or "gain": the sums of d [slots * P, >= rows, W] over its rows."""
        column_sums(d, rows, self.d_vector, numba.get_num_threads())
        unpack(self._slots_of(self.d_vector), self.gates, self.input_order, gradients[name][None, :])
        for place, gate in self._single_places():
            gradients[f"{name}_h{gate}"][:] = self.d_vector[place]

    def unit_gradients(self, d: Array, rows: int, gradients: dict[str, Array]) -> None:
        """Write the gradients of the units' numbers: the sums of d [vectors * P, >= rows, W] over its rows."""
        column_sums(d, rows, self.d_units, numba.get_num_threads())
        for k, unit in enumerate(self.step.cell.units):
            gradients[f"p_{unit}"][:] = self.d_units[self._place(k)]

    def weight_gradient(self, arrays: LayerArrays, d: Array, rows: int, sums: RowSums, dW_h: Array) -> None:
        """Write the gradient of the plain recurrent weights, after the backward pass.

        Args:
            d: the gradients of all slots, see `RowSums.prepared`.
        """
        for stage, dense in enumerate(self.recurrent):
            filled = self.step.filled(stage)
            part = d[filled.start * self.panels : filled.stop * self.panels]
            sums.write(getattr(arrays, self.plan.multiplied(f"operand{stage}")), 0, part, rows, dense, dW_h)

    def through_weights(self, arrays: LayerArrays, batch: int) -> Array:
        """The part of the gradient of the first h that comes through products with this h: plain (B, H).

        The first h is the one before the first time step.
        """
        result, dense = self.rows(batch), self.recurrent[0]
        if len(dense.order):
            filled = getattr(arrays, self.plan.multiplied("filled0"))
            product(filled, 0, batch, dense.backwards, self.zero, result, 1)
        return rows_of(result, self.hidden)
