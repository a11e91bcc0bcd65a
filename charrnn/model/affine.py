"""The affine maps outside the recurrences: the inputs of upper layers, and the output; weights packed both ways."""

from __future__ import annotations

from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, activations, pack, pack_transposed, zeros
from charrnn.engine.softmax import padding
from charrnn.engine.tile import W
from charrnn.model.layer import Layer, order_of

ONE_GATE = order_of(0)


class UpperInput:
    """The input product of a layer above the first: W_x (H, gates * H)."""

    def __init__(self, layer: Layer) -> None:
        self.gates, self.order = layer.gates, layer.input_order
        self.w_x = layer.room_for_weights(self.gates)
        self.d_w_x = layer.room_for_weights(self.gates)
        self.w_x_t = layer.room_for_transposed(self.gates)

    def pack(self, W_x: Array) -> None:
        """Take over the plain weights."""
        pack(W_x, self.gates, self.order, self.w_x)
        pack_transposed(W_x, self.gates, self.order, self.w_x_t)


class Output:
    """The map from the top layer to the logits: W_y (H, V), b_y (V,)."""

    def __init__(self, hidden: int, symbols: int, dtype: DTypeLike) -> None:
        top, below = activations(symbols, 1, dtype).shape[0], activations(hidden, 1, dtype).shape[0]
        self.w_y = zeros((top, below * W, W), dtype)
        self.d_w_y = zeros(self.w_y.shape, dtype)
        self.w_y_t = zeros((below, top * W, W), dtype)
        self.b_y = zeros((top * W,), dtype)
        self.b_y[:] = padding(symbols, top)
        self.d_b_y = zeros(self.b_y.shape, dtype)
        self.symbols = symbols

    def pack(self, W_y: Array, b_y: Array) -> None:
        """Take over the plain weights and biases."""
        pack(W_y, 1, ONE_GATE, self.w_y)
        pack_transposed(W_y, 1, ONE_GATE, self.w_y_t)
        self.b_y[: self.symbols] = b_y
