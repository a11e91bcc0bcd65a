"""The affine maps outside the recurrences: the inputs of upper layers, and the output."""

from __future__ import annotations

from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, panels_for, zeros
from charrnn.engine.simd import W
from charrnn.engine.softmax import padding
from charrnn.model.dense import Dense
from charrnn.model.layer import Layer, order_of

ONE_GATE = order_of(0)


def upper_input(layer: Layer) -> Dense:
    """The input product of a layer above the first: W_x (H, gates * H)."""
    sizes = (layer.hidden, layer.hidden, layer.gates)
    return Dense(*sizes, layer.input_order, layer.dtype, layer.precision)


class Output(Dense):
    """The map from a layer to the logits: W_y (H, V), b_y (V,)."""

    def __init__(self, hidden: int, symbols: int, dtype: DTypeLike, precision: str) -> None:
        super().__init__(hidden, symbols, 1, ONE_GATE, dtype, precision)
        self.b_y = zeros((panels_for(symbols) * W,), dtype)
        self.b_y[:] = padding(symbols, panels_for(symbols))
        self.d_b_y = zeros(self.b_y.shape, dtype)
        self.symbols = symbols

    def pack_bias(self, b_y: Array) -> None:
        """Copy the plain biases into the packed ones."""
        self.b_y[: self.symbols] = b_y
