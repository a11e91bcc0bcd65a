"""The recurrent half of a layer: packed weights, buffers for a chunk, the two passes through time."""

from __future__ import annotations

from functools import cache
from string import digits

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine import panels, recurrence
from charrnn.engine.panels import Array, pack, pack_transposed, panels_for, rows_of, unpack
from charrnn.engine.product import column_sums, gradient_product, product
from charrnn.engine.recurrence import LayerArrays, arrays_type
from charrnn.engine.tile import W
from charrnn.errors import ConfigError
from charrnn.model.cell import Cell
from charrnn.model.cells import cell_of
from charrnn.model.config import ModelConfig
from charrnn.model.programs import Programs
from charrnn.model.state_masks import StateMasks
from charrnn.model.step import Beside, Step

GIVEN = ("single_bias", "units", "gain", "bias", "inside", "hidden")  # arrays that are attributes of the layer
Shapes = dict[str, tuple[int, ...]]


def order_of(*gates: int) -> Array:
    """A gate order as the packing kernels take it."""
    return np.array(gates, np.int64)


def programs_of(config: ModelConfig) -> Programs:
    """What a time step of the model's layers does."""
    beside = Beside(config.layer_norm, config.has_zoneout, config.stateless)
    cell = cell_of(config)
    if config.zoneout_cell and len(cell.states) == 1:
        raise ConfigError(f"expected --zoneout-cell with a cell of two states, got {cell.name}; try --zoneout")
    return _programs(cell, beside)


@cache
def _programs(cell: Cell, beside: Beside) -> Programs:
    return Programs(Step(cell, beside))


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
        config: of the model.
        dtype: float32 or float64.

    Attributes:
        programs, step, plan: what a time step does.
        gates: how many gates.
        input_order: the gate of each slot that the input adds to.
        weights, d_weights: for each stage the packed recurrent weights [filled slots * P, P * W, W], their gradients.
        weights_t: for each stage the packed transpose [P, filled slots * P * W, W].
    """

    def __init__(self, config: ModelConfig, dtype: DTypeLike) -> None:
        self.config, self.hidden, self.dtype = config, config.hidden, np.dtype(dtype)
        self.programs = programs_of(config)
        self.step, self.plan = self.programs.step, self.programs.plan
        cell, slots = self.step.cell, self.step.slots
        self.panels, self.gates = panels_for(self.hidden), len(cell.gates)
        self.input_order = order_of(*(cell.gates.index(slot.gate) for slot in self.step.inputs))
        filled = [[slots[k].gate for k in self.step.filled(stage)] for stage in range(self.step.stages)]
        self.orders = [order_of(*map(cell.recurrent.index, gates)) for gates in filled]
        self.weights = [self.room_for_weights(len(order)) for order in self.orders]
        self.d_weights = [self.room_for_weights(len(order)) for order in self.orders]
        self.weights_t = [self.room_for_transposed(len(order)) for order in self.orders]
        self.zero = panels.zeros((len(slots) * self.panels * W,), dtype)
        self.bias, self.gain, self.d_vector = (panels.zeros(self.zero.shape, dtype) for _ in range(3))
        self.units, self.d_units = (panels.zeros((len(cell.units) * self.panels * W,), dtype) for _ in range(2))
        self.inside = panels.zeros((self.panels * W,), dtype)
        self.inside[: self.hidden] = 1
        # Normalised sums begin with nothing: the bias comes after the normalisation.
        self._start = self.zero if config.layer_norm else self.bias
        self._inputs = self.gates * self.panels * W

    @property
    def states(self) -> tuple[str, ...]:
        """Their names."""
        return self.step.cell.states

    @property
    def input_start(self) -> Array:
        """What the input's share of the gates begins with: (gates * P * W,)."""
        return self._start[: self._inputs]

    @property
    def single_bias(self) -> Array:
        """What products by themselves begin with."""
        return self._start[self._inputs :]

    def room_for_weights(self, slots: int) -> Array:
        """Room for a packed (H, slots * H) weight matrix: [slots * P, P * W, W]."""
        return panels.zeros((slots * self.panels, self.panels * W, W), self.dtype)

    def room_for_transposed(self, slots: int) -> Array:
        """Room for its packed transpose: [P, slots * P * W, W]."""
        return panels.zeros((self.panels, slots * self.panels * W, W), self.dtype)

    def rows(self, count: int, slots: int = 1) -> Array:
        """Room for `count` rows of H numbers in each of the slots: [slots * P, count, W]."""
        return panels.zeros((slots * self.panels, count, W), self.dtype)

    def pack(self, W_h: Array) -> None:
        """Take over the plain recurrent weights (H, recurrent gates * H)."""
        gates = len(self.step.cell.recurrent)
        for order, weights, weights_t in zip(self.orders, self.weights, self.weights_t, strict=True):
            if len(order):
                pack(W_h, gates, order, weights)
                pack_transposed(W_h, gates, order, weights_t)

    def pack_vectors(self, vectors: dict[str, Array]) -> None:
        """Take over biases, gains and the units' numbers, see `layer_shapes`."""
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

    def vector_gradient(self, name: str, d: Array, rows: int, ones: Array, gradients: dict[str, Array]) -> None:
        """Write the gradients of "b" or "gain": the sums of d [slots * P, >= rows, W] over its rows."""
        column_sums(d, rows, ones, self.zero, self.d_vector, numba.get_num_threads())
        unpack(self._slots_of(self.d_vector), self.gates, self.input_order, gradients[name][None, :])
        for place, gate in self._single_places():
            gradients[f"{name}_h{gate}"][:] = self.d_vector[place]

    def unit_gradients(self, d: Array, rows: int, ones: Array, gradients: dict[str, Array]) -> None:
        """Write the gradients of the units' numbers: the sums of d [vectors * P, >= rows, W] over its rows."""
        column_sums(d, rows, ones, self.zero, self.d_units, numba.get_num_threads())
        for k, unit in enumerate(self.step.cell.units):
            gradients[f"p_{unit}"][:] = self.d_units[self._place(k)]

    def weight_gradient(self, arrays: LayerArrays, rows: int, dW_h: Array) -> None:
        """Write the gradient of the plain recurrent weights, after the backward pass."""
        gates, threads = len(self.step.cell.recurrent), numba.get_num_threads()
        for stage, order in enumerate(self.orders):
            if len(order):
                operand, d = getattr(arrays, f"operand{stage}"), getattr(arrays, f"filled{stage}")
                gradient_product(operand, 0, d, rows, self.zero, self.d_weights[stage], threads)
                unpack(self.d_weights[stage], gates, order, dW_h)

    def through_weights(self, arrays: LayerArrays, batch: int) -> Array:
        """The plain (B, H) gradient that reaches h before the first step through products with it."""
        result = self.rows(batch)
        if len(self.orders[0]):
            product(arrays.filled0, 0, batch, self.weights_t[0], self.zero, result, 1)
        return rows_of(result, self.hidden)


def layer_arrays(layer: Layer, batch: int, steps: int) -> LayerArrays:
    """Buffers for `batch` streams of up to `steps` time steps, with the layer's weights; see recurrence.py."""
    fields = layer.plan.fields
    arrays = {name: _room(layer, name.rstrip(digits), batch, batch * steps) for name in fields if name not in GIVEN}
    arrays["operand0"] = arrays["state0"]
    for k in range(layer.step.stages):
        filled = layer.step.filled(k)
        arrays[f"filled{k}"] = arrays["gates"][filled.start * layer.panels : filled.stop * layer.panels]
        arrays[f"weights{k}"], arrays[f"weights_t{k}"] = layer.weights[k], layer.weights_t[k]
    arrays |= {name: getattr(layer, name) for name in GIVEN if name in fields}
    return arrays_type(fields)(**arrays)


def _room(layer: Layer, kind: str, batch: int, n: int) -> Array:
    """Room for an array of one kind, for n = T * B rows; of a kind that is a view or a weight matrix for no row."""
    slots = len(layer.step.slots)
    if kind in ("alive", "scale", "mean", "slope"):
        return panels.zeros((1 if kind == "alive" else slots, n), layer.dtype)
    rows = {"state": batch + n} | dict.fromkeys(("carried", "d_operand", "partial"), batch)
    rows |= dict.fromkeys(("filled", "weights", "weights_t"), 0)
    several = {"d_units": len(layer.step.cell.units), "partial": layer.programs.partial}
    several |= dict.fromkeys(("gates", "x", "d_scaled"), slots)
    return layer.rows(rows.get(kind, n), several.get(kind, 1))


class UnrolledLayer:
    """The buffers of one layer for a chunk, and its passes through time.

    Args:
        layer: the layer.
        batch, steps: B and T.

    Attributes:
        arrays: the buffers.
        masks: what zoneout keeps, and where lines end.
    """

    def __init__(self, layer: Layer, batch: int, steps: int) -> None:
        self.layer, self.batch = layer, batch
        self.arrays = layer_arrays(layer, batch, steps)
        self.masks = StateMasks(layer.config, self.states, self.arrays, batch)

    @property
    def states(self) -> dict[str, Array]:
        """The buffers of the states by name: each [P, B + N, W]."""
        return {name: getattr(self.arrays, f"state{k}") for k, name in enumerate(self.layer.states)}

    @property
    def _carried(self) -> dict[str, Array]:
        """For states that gradients reach other than through products with h, the buffers of these gradients."""
        places = {name: f"carried{k}" for k, name in enumerate(self.layer.states)}
        return {name: getattr(self.arrays, place) for name, place in places.items() if place in self.layer.plan.fields}

    @property
    def input_slots(self) -> Array:
        """The part of the gates' buffer that the layer's input adds to: a view [gates * P, N, W]."""
        view: Array = self.arrays.gates[: self.layer.gates * self.layer.panels]
        return view

    @property
    def output(self) -> tuple[Array, int]:
        """What the layer gives to those above it: a buffer, and the row where it begins."""
        return (self.arrays.output, 0) if self.layer.step.beside.lines else (self.arrays.state0, self.batch)

    def forward(self, steps: int) -> None:
        """Run through time; the input's share of the gates is in place."""
        recurrence.forward(self.layer.plan, self.arrays, steps, self.batch)

    def backward(self, steps: int) -> None:
        """Run back through time; dh holds the gradient from above. In the slots the gates' gradients replace the gates.

        What flows back from beyond the chunk's end is zero: the truncation of TBPTT.
        """
        for carried in self._carried.values():
            carried[:] = 0
        recurrence.backward(self.layer.plan, self.arrays, steps, self.batch)

    def gradients(self, rows: int, ones: Array, gradients: dict[str, Array]) -> None:
        """Write the gradients of W_h and of all vectors, after `backward`."""
        layer, a = self.layer, self.arrays
        if "W_h" in gradients:
            layer.weight_gradient(a, rows, gradients["W_h"])
        if layer.step.cell.units:
            layer.unit_gradients(a.d_units, rows, ones, gradients)
        if not layer.config.layer_norm:
            layer.vector_gradient("b", a.gates, rows, ones, gradients)
            return
        layer.vector_gradient("b", a.d_scaled, rows, ones, gradients)
        np.multiply(a.x[:, :rows], a.d_scaled[:, :rows], out=a.x[:, :rows])
        layer.vector_gradient("gain", a.x, rows, ones, gradients)

    def state_gradient(self) -> dict[str, Array]:
        """Gradients of the state before the chunk, after `backward`: each plain (B, H)."""
        gradient = {name: np.zeros((self.batch, self.layer.hidden), self.layer.dtype) for name in self.layer.states}
        gradient["h"] += self.layer.through_weights(self.arrays, self.batch)
        for name, carried in self._carried.items():
            gradient[name] += rows_of(carried, self.layer.hidden)
        for d in gradient.values():
            d[self.masks.fresh] = 0
        return gradient
