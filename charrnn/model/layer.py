"""What every recurrent layer has: its packed weights, its buffers, its place in a stack.

A cell's gates stand side by side in `slots`, each P = panels_for(H) panels wide. The layer's input adds
to the first slots; `input_order` says which gate stands in each of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine import panels, recurrence
from charrnn.engine.panels import Array, activations, panels_for
from charrnn.engine.product import gradient_product, product
from charrnn.engine.tile import W


def order_of(*gates: int) -> Array:
    """A gate order as the packing kernels take it."""
    return np.array(gates, np.int64)


class Layer(ABC):
    """The recurrent half of one layer: h_t = cell(input's share of the gates, h_{t-1}).

    Args:
        hidden: H.
        dtype: float32 or float64.
    """

    gates: ClassVar[tuple[str, ...]]  # in the order in which they stand in W_x, W_h and b
    input_order: ClassVar[tuple[int, ...]]
    slots: ClassVar[int]
    states: ClassVar[tuple[str, ...]] = ("h",)
    extra_parameters: ClassVar[tuple[str, ...]] = ()  # further vectors of H numbers
    forward_phases: ClassVar[int] = 1
    backward_phases: ClassVar[int] = 1

    def __init__(self, hidden: int, dtype: DTypeLike) -> None:
        self.hidden, self.dtype = hidden, np.dtype(dtype)
        self.panels = panels_for(hidden)
        self.zero = panels.zeros((len(self.gates) * self.panels * W,), dtype)
        self.w_h = self.weights(len(self.gates))
        self.d_w_h = self.weights(len(self.gates))

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

    def input_slots(self, arrays: Any) -> Array:
        """The part of the gates' buffer that the layer's input adds to: a view [input slots * P, rows, W]."""
        view: Array = arrays.gates[: len(self.input_order) * self.panels]
        return view

    @abstractmethod
    def pack(self, W_h: Array, extra: dict[str, Array]) -> None:
        """Take over the plain recurrent weights (H, gates * H) and the extra vectors (H,)."""

    @abstractmethod
    def arrays(self, batch: int, steps: int) -> Any:
        """Buffers for `batch` streams of up to `steps` time steps, with the weights: the cell's NamedTuple."""

    def forward(self, arrays: Any, steps: int, batch: int) -> None:
        """Run through time; the input's share of the gates is in place."""
        recurrence.forward(arrays, self.forward_phases, steps, batch)

    def backward(self, arrays: Any, steps: int, batch: int) -> None:
        """Run back through time; dh holds the gradient from above, the gates give way to theirs."""
        self.forget_future(arrays)
        recurrence.backward(arrays, self.backward_phases, steps, batch)

    def forget_future(self, arrays: Any) -> None:  # noqa: B027  (most cells carry nothing but h)
        """Set what flows back into the chunk from beyond its end to zero: the truncation of TBPTT."""

    @abstractmethod
    def weight_gradient(self, arrays: Any, rows: int, dW_h: Array, d_extra: dict[str, Array], ones: Array) -> None:
        """Write the gradients of the plain recurrent weights and extra vectors, after `backward`."""

    @abstractmethod
    def state_gradient(self, arrays: Any, batch: int) -> dict[str, Array]:
        """Gradients of the state before the chunk, after `backward`: each plain (B, H)."""

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
