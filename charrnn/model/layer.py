"""The recurrent half of a layer: packed weights, buffers for a chunk, the two passes through time."""

from __future__ import annotations

from functools import cache
from string import digits

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine import panels, recurrence
from charrnn.engine.panels import Array, pack, panels_for, rows_of, unpack
from charrnn.engine.product import column_sums, product
from charrnn.engine.recurrence import LayerArrays, arrays_type
from charrnn.engine.rounded import round_rows
from charrnn.engine.simd import W
from charrnn.errors import ConfigError
from charrnn.model.cell import Cell
from charrnn.model.cells import cell_of
from charrnn.model.config import ModelConfig
from charrnn.model.dense import BFLOAT16, Dense, RowSums
from charrnn.model.programs import Programs
from charrnn.model.state_masks import StateMasks
from charrnn.model.step import Beside, Step

GIVEN = ("single_bias", "units", "gain", "bias", "inside", "hidden")  # arrays that are attributes of the layer
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


def layer_arrays(layer: Layer, batch: int, steps: int) -> LayerArrays:
    """Buffers for `batch` streams of up to `steps` time steps, with the layer's weights; see recurrence.py."""
    fields = layer.plan.fields
    arrays = {name: _room(layer, name.rstrip(digits), batch, batch * steps) for name in fields if name not in GIVEN}
    arrays["operand0"] = arrays["state0"]
    for k, dense in enumerate(layer.recurrent):
        filled = layer.step.filled(k)
        for name in {"", layer.plan.multiplied("")}:
            slots = arrays[f"{name}gates"]
            arrays[f"{name}filled{k}"] = slots[filled.start * layer.panels : filled.stop * layer.panels]
        arrays[f"weights{k}"], arrays[f"weights_t{k}"] = dense.forwards, dense.backwards
    arrays |= {name: getattr(layer, name) for name in GIVEN if name in fields}
    return arrays_type(fields)(**arrays)


def _room(layer: Layer, kind: str, batch: int, n: int) -> Array:
    """Memory for an array of one kind, for n = T * B rows. Views and weight matrices get no rows here."""
    slots = len(layer.step.slots)
    if kind in ("alive", "scale", "mean", "slope"):
        return panels.zeros((1 if kind == "alive" else slots, n), layer.dtype)
    rows = dict.fromkeys(("state", "rounded_operand"), batch + n)
    rows |= dict.fromkeys(("carried", "d_operand", "partial"), batch)
    rows |= dict.fromkeys(("filled", "rounded_filled", "weights", "weights_t"), 0)
    several = {"d_units": len(layer.step.cell.units), "partial": layer.programs.partial}
    several |= dict.fromkeys(("gates", "rounded_gates", "x", "d_scaled"), slots)
    return layer.rows(rows.get(kind, n), several.get(kind, 1), BFLOAT16 if kind.startswith("rounded") else None)


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
        """The buffers of the gradients that reach a state, but not through products with h, by the state's name."""
        places = {name: f"carried{k}" for k, name in enumerate(self.layer.states)}
        return {name: getattr(self.arrays, place) for name, place in places.items() if place in self.layer.plan.fields}

    @property
    def input_slots(self) -> Array:
        """The part of the gates' buffer that the layer's input is added to: a view [gates * P, N, W]."""
        view: Array = self.arrays.gates[: self.layer.gates * self.layer.panels]
        return view

    @property
    def output(self) -> tuple[Array, int]:
        """What the layer gives to those above it: a buffer, and the row where it begins."""
        return (self.arrays.output, 0) if self.layer.step.beside.lines else (self.arrays.state0, self.batch)

    @property
    def multiplied_output(self) -> tuple[Array, int]:
        """The same in the form that products take."""
        lines, plan = self.layer.step.beside.lines, self.layer.plan
        name, row = ("output", 0) if lines else ("operand0", self.batch)
        return getattr(self.arrays, plan.multiplied(name)), row

    @property
    def multiplied_gates(self) -> Array:
        """The gates' gradients in the form that products take, after `backward`: [slots * P, N, W]."""
        found: Array = getattr(self.arrays, self.layer.plan.multiplied("gates"))
        return found

    def begin(self) -> None:
        """Prepare the state before the first step. It may have been changed from outside."""
        if self.layer.plan.rounded:
            round_rows(self.arrays.state0, 0, self.batch, self.arrays.rounded_operand0, 0)

    def forward(self, steps: int) -> None:
        """Run through time. The gates must already hold the input's share."""
        self.begin()
        recurrence.forward(self.layer.plan, self.arrays, steps, self.batch)

    def backward(self, steps: int) -> None:
        """Run back through time. dh holds the gradient from above. In the slots, gradients replace the gates.

        No gradient comes from beyond the chunk's end: this is the truncation of TBPTT.
        """
        for carried in self._carried.values():
            carried[:] = 0
        recurrence.backward(self.layer.plan, self.arrays, steps, self.batch)

    def gradients(self, d: Array, rows: int, sums: RowSums, gradients: dict[str, Array]) -> None:
        """Write the gradients of W_h and of all vectors, after `backward`. `d` is the gates' gradient, prepared."""
        layer, a = self.layer, self.arrays
        if "W_h" in gradients:
            layer.weight_gradient(a, d, rows, sums, gradients["W_h"])
        if layer.step.cell.units:
            layer.unit_gradients(a.d_units, rows, gradients)
        if not layer.config.layer_norm:
            layer.vector_gradient("b", a.gates, rows, gradients)
            return
        layer.vector_gradient("b", a.d_scaled, rows, gradients)
        np.multiply(a.x[:, :rows], a.d_scaled[:, :rows], out=a.x[:, :rows])
        layer.vector_gradient("gain", a.x, rows, gradients)

    def state_gradient(self) -> dict[str, Array]:
        """Gradients of the state before the chunk, after `backward`: each plain (B, H)."""
        gradient = {name: np.zeros((self.batch, self.layer.hidden), self.layer.dtype) for name in self.layer.states}
        gradient["h"] += self.layer.through_weights(self.arrays, self.batch)
        for name, carried in self._carried.items():
            gradient[name] += rows_of(carried, self.layer.hidden)
        for d in gradient.values():
            d[self.masks.fresh] = 0
        return gradient
