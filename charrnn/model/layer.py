"""What all recurrent layers have in common: packed weights, buffers for a chunk, the two passes through time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine import panels, recurrence
from charrnn.engine.panels import Array, activations, pack, panels_for, unpack
from charrnn.engine.product import column_sums, gradient_product, product
from charrnn.engine.tile import W
from charrnn.model.carry import Carry, implement_carried
from charrnn.model.config import ModelConfig
from charrnn.model.normalise import PARTS, implement_normalised, normalised_arrays


def order_of(*gates: int) -> Array:
    """A gate order as the packing kernels take it."""
    return np.array(gates, np.int64)


def implement_cell(arrays_class: type, *steps: Any) -> None:
    """Let these four functions be the steps of a cell, with and without what may be done beside them.

    Args:
        arrays_class: the NamedTuple of the cell's arrays.
        steps: see `recurrence.implement`.
    """
    recurrence.implement(arrays_class, steps)
    implement_normalised(arrays_class)
    implement_normalised(implement_carried(arrays_class))


class Layer(ABC):
    """The recurrent half of one layer: h_t = cell(input's share of the gates, h_{t-1}).

    Args:
        config: of the model.
        dtype: float32 or float64.
    """

    gates: ClassVar[tuple[str, ...]]  # in the order in which they stand in W_x, W_h and b
    input_order: ClassVar[tuple[int, ...]]  # the gate of each slot that the input adds to
    slots: ClassVar[int]  # of the gates' buffer; those beyond the input's have parameters of their own
    states: ClassVar[tuple[str, ...]] = ("h",)
    extra_slots: ClassVar[tuple[str, ...]] = ()  # names of the slots beyond the input's
    forward_slots: ClassVar[tuple[tuple[int, int], ...]]  # for each stage, the slots that its products complete
    backward_slots: ClassVar[tuple[tuple[int, int], ...]]

    def __init__(self, config: ModelConfig, dtype: DTypeLike) -> None:
        self.config, self.hidden, self.dtype = config, config.hidden, np.dtype(dtype)
        self.panels = panels_for(self.hidden)
        self.zero = panels.zeros((len(self.gates) * self.panels * W,), dtype)
        self.w_h = self.weights(len(self.gates))
        self.d_w_h = self.weights(len(self.gates))
        self.bias = panels.zeros((self.slots * self.panels * W,), dtype)
        self.gain = panels.zeros(self.bias.shape, dtype)
        self.d_vector = panels.zeros(self.bias.shape, dtype)
        # Normalised sums begin with nothing: the bias comes after the normalisation.
        self._start = panels.zeros(self.bias.shape, dtype) if config.layer_norm else self.bias
        self._inputs = len(self.input_order) * self.panels * W

    @classmethod
    def vector_shapes(cls, config: ModelConfig) -> dict[str, tuple[int, ...]]:
        """The parameters besides the weights: biases and, if the gates are normalised, gains."""
        shapes: dict[str, tuple[int, ...]] = {}
        for vector in ("b", "gain") if config.layer_norm else ("b",):
            shapes[vector] = (len(cls.gates) * config.hidden,)
            shapes |= {f"{vector}_{slot}": (config.hidden,) for slot in cls.extra_slots}
        return shapes

    @property
    def stages(self) -> int:
        """Stages of a time step."""
        return len(self.forward_slots)

    @property
    def phases(self) -> int:
        """Phases of a time step, forwards and backwards."""
        return self.stages * (PARTS if self.config.layer_norm else 1)

    @property
    def input_bias(self) -> Array:
        """What the input's share of the gates begins with: (input slots * P * W,)."""
        return self._start[: self._inputs]

    @property
    def extra_bias(self) -> Array:
        """What the sums in the slots beyond the input's begin with."""
        return self._start[self._inputs :]

    def weights(self, slots: int) -> Array:
        """Room for a packed (H, slots * H) weight matrix: [slots * P, P * W, W]."""
        return panels.zeros((slots * self.panels, self.panels * W, W), self.dtype)

    def transposed(self, slots: int) -> Array:
        """Room for its packed transpose: [P, slots * P * W, W]."""
        return panels.zeros((self.panels, slots * self.panels * W, W), self.dtype)

    def rows(self, count: int) -> Array:
        """Room for `count` rows of H numbers: [P, count, W]."""
        return activations(self.hidden, count, self.dtype)

    def slot_rows(self, count: int) -> Array:
        """Room for `count` rows of all slots: [slots * P, count, W]."""
        return panels.zeros((self.slots * self.panels, count, W), self.dtype)

    @abstractmethod
    def pack(self, W_h: Array) -> None:
        """Take over the plain recurrent weights (H, gates * H)."""

    def pack_vectors(self, vectors: dict[str, Array]) -> None:
        """Take over biases and gains, see `vector_shapes`."""
        self._pack_vector("b", vectors, self.bias)
        if self.config.layer_norm:
            self._pack_vector("gain", vectors, self.gain)

    def _pack_vector(self, name: str, vectors: dict[str, Array], packed: Array) -> None:
        pack(vectors[name][None, :], len(self.gates), order_of(*self.input_order), self._slots_of(packed))
        for k, slot in enumerate(self.extra_slots):
            start = self._inputs + k * self.panels * W
            packed[start : start + self.hidden] = vectors[f"{name}_{slot}"]

    def _slots_of(self, packed: Array) -> Array:
        view: Array = packed[: self._inputs].reshape(-1, 1, W)
        return view

    def vector_gradient(self, name: str, d: Array, rows: int, ones: Array, gradients: dict[str, Array]) -> None:
        """Write the gradients of "b" or "gain": the sums of d [slots * P, >= rows, W] over its rows."""
        column_sums(d, rows, ones, self.zero, self.d_vector, numba.get_num_threads())
        d_slots = self._slots_of(self.d_vector)
        unpack(d_slots, len(self.gates), order_of(*self.input_order), gradients[name][None, :])
        for k, slot in enumerate(self.extra_slots):
            start = self._inputs + k * self.panels * W
            gradients[f"{name}_{slot}"][:] = self.d_vector[start : start + self.hidden]

    @abstractmethod
    def cell_arrays(self, batch: int, steps: int) -> Any:
        """Buffers for `batch` streams of up to `steps` time steps, with the weights: the cell's NamedTuple."""

    @abstractmethod
    def weight_gradient(self, cell: Any, rows: int, dW_h: Array) -> None:
        """Write the gradient of the plain recurrent weights, after the backward pass."""

    @abstractmethod
    def state_gradient(self, cell: Any, batch: int) -> dict[str, Array]:
        """What reaches the state before the chunk through the cell, after the backward pass: each plain (B, H)."""

    def carried_gradient(self, cell: Any, batch: int) -> Array:
        """The buffer [P, B, W] in which the cell takes gradients back past the weights; of most cells nothing."""
        return self.rows(batch)

    def _packed_gradient(self, a: Array, d: Array, rows: int, first: int = 0) -> None:
        """d_w_h[first:] = a^T d for as many panels as d has."""
        threads = numba.get_num_threads()
        target = self.d_w_h[first : first + d.shape[0]]
        gradient_product(a, 0, d, rows, self.zero, target, threads)

    def _through_weights(self, d: Array, w_transposed: Array, batch: int) -> Array:
        """Plain (B, H) product of the first B rows of gate gradients with the transposed weights."""
        result = self.rows(batch)
        product(d, 0, batch, w_transposed, self.zero, result, 1)
        return panels.rows_of(result, self.hidden)


class LayerBuffers:
    """The buffers of one layer for a chunk, and its passes through time.

    Args:
        layer: the layer.
        batch, steps: B and T.

    Attributes:
        cell: the cell's arrays.
        arrays: what runs through time: the cell's arrays, perhaps extended.
        carry, norm: what they are extended with.
        carried: see `Layer.carried_gradient`.
    """

    def __init__(self, layer: Layer, batch: int, steps: int) -> None:
        config = layer.config
        self.layer, self.batch = layer, batch
        self.cell = self.arrays = layer.cell_arrays(batch, steps)
        self.carry = self.norm = None
        self.carried = layer.carried_gradient(self.cell, batch)
        if config.zoneout or config.zoneout_cell or config.stateless:
            rates = {"h": config.zoneout, "c": config.zoneout_cell}
            self.carry = Carry(layer, self.cell, self.carried, batch, steps, rates)
            self.arrays = self.carry.arrays
        if config.layer_norm:
            self.norm = self.arrays = normalised_arrays(layer, self.arrays, batch * steps, layer.dtype)

    @property
    def states(self) -> dict[str, Array]:
        """The buffers of the states by name: each [P, B + N, W]."""
        return {name: getattr(self.cell, name) for name in self.layer.states}

    @property
    def input_slots(self) -> Array:
        """The part of the gates' buffer that the layer's input adds to: a view [input slots * P, N, W]."""
        view: Array = self.cell.gates[: len(self.layer.input_order) * self.layer.panels]
        return view

    @property
    def output(self) -> tuple[Array, int]:
        """What the layer gives to those above it: a buffer, and the row where it begins."""
        return (self.cell.h, self.batch) if self.carry is None else (self.carry.arrays.y, 0)

    def forward(self, steps: int) -> None:
        """Run through time; the input's share of the gates is in place."""
        recurrence.forward(self.cell, self.arrays, self.layer.phases, steps, self.batch)

    def backward(self, steps: int) -> None:
        """Run back through time; dh holds the gradient from above, the gates give way to theirs.

        What flows back from beyond the chunk's end is zero: the truncation of TBPTT.
        """
        self.carried[:] = 0
        if self.carry is not None:
            self.carry.forget_future()
        recurrence.backward(self.cell, self.arrays, self.layer.phases, steps, self.batch)

    def gradients(self, rows: int, ones: Array, gradients: dict[str, Array]) -> None:
        """Write the gradients of W_h, biases and gains, after `backward`."""
        self.layer.weight_gradient(self.cell, rows, gradients["W_h"])
        if self.norm is None:
            self.layer.vector_gradient("b", self.cell.gates, rows, ones, gradients)
            return
        self.layer.vector_gradient("b", self.norm.d_affine, rows, ones, gradients)
        np.multiply(self.norm.x[:, :rows], self.norm.d_affine[:, :rows], out=self.norm.x[:, :rows])
        self.layer.vector_gradient("gain", self.norm.x, rows, ones, gradients)

    def state_gradient(self) -> dict[str, Array]:
        """Gradients of the state before the chunk, after `backward`: each plain (B, H)."""
        gradient = self.layer.state_gradient(self.cell, self.batch)
        if self.carry is not None:
            self.carry.add_to(gradient)
        return gradient
