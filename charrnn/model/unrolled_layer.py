"""The recurrent half of a layer unrolled over a chunk: its buffers, and the two passes through time."""

from __future__ import annotations

from string import digits

import numpy as np

from charrnn.engine import panels, recurrence
from charrnn.engine.panels import Array, rows_of
from charrnn.engine.recurrence import LayerArrays, arrays_type
from charrnn.engine.rounded import round_rows
from charrnn.model.dense import BFLOAT16, RowSums
from charrnn.model.layer import Layer
from charrnn.model.state_masks import StateMasks

GIVEN = ("single_bias", "units", "gain", "bias", "inside", "hidden")  # arrays that are attributes of the layer


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
