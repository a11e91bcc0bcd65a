"""What a layer sees of a character: one row of W_x, or an embedding times W_x. In both cases it is a table row."""

from __future__ import annotations

from typing import Protocol

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, activations, pack, pack_transposed, rows_of, set_rows, unpack, zeros
from charrnn.engine.product import gradient_product, product
from charrnn.engine.simd import W
from charrnn.engine.table import add_to_table
from charrnn.model.parameters import Parameters


def flat_symbols(given: Array, batch: int, most: int, symbols: int) -> Array:
    """The symbols of some time steps as one vector. They are checked here, because the kernels do not check them.

    Args:
        given: (t, B) integers.
        batch: B.
        most: the largest t that is allowed.
        symbols: V.
    Returns:
        (t * B,) int32, which may share the memory of `given`.
    Raises:
        ValueError: the shape is wrong, or a number is not a symbol.
    """
    if given.ndim != 2 or given.shape[1] != batch or not 1 <= given.shape[0] <= most:
        raise ValueError(f"expected symbols of 1 to {most} time steps of {batch} streams, got shape {given.shape}")
    if given.min() < 0 or given.max() >= symbols:
        raise ValueError(f"expected symbols from 0 to {symbols - 1}, got {given.min()} to {given.max()}")
    return np.ascontiguousarray(given, np.int32).reshape(-1)


class Input(Protocol):
    """The product of a character and a layer's weights as a table [gates * P, V, W], without bias."""

    table: Array
    d_table: Array

    def pack(self, parameters: Parameters) -> None:
        """Make the table from the parameters."""

    def backward(self, d: Array, symbols: Array, weights: Array, gradients: Parameters) -> None:
        """Write the gradient of the weights, and add to the gradient of the embedding.

        Args:
            d: [slots * P, R, W], the gradients of the input slots.
            symbols: (R,) the symbols of these rows.
            weights: (>= R,) the factors of the symbols' table rows in the forward pass.
            gradients: written.
        """


class OneHot:
    """The table is W_x (V, gates * H) itself, packed.

    Args:
        name: the name of the weights among the parameters.
        symbols: V.
        gates: how many gates.
        order: (gates,) the gate in each input slot.
        slot_panels: input slots * P.
    """

    def __init__(self, name: str, symbols: int, gates: int, order: Array, slot_panels: int, dtype: DTypeLike) -> None:
        self.name, self.gates, self.order = name, gates, order
        self.table = zeros((slot_panels, symbols, W), dtype)
        self.d_table = zeros(self.table.shape, dtype)

    def pack(self, parameters: Parameters) -> None:
        pack(parameters[self.name], self.gates, self.order, self.table)

    def backward(self, d: Array, symbols: Array, weights: Array, gradients: Parameters) -> None:
        add_to_table(d, symbols, weights, self.d_table)
        unpack(self.d_table, self.gates, self.order, gradients[self.name])


class Embedding:
    """The table is embed (V, E) @ W_x (E, gates * H), computed once for every update. Usually V is below T * B.

    Args:
        width: E. The other arguments are those of OneHot.
    """

    def __init__(
        self, name: str, symbols: int, width: int, gates: int, order: Array, slot_panels: int, dtype: DTypeLike
    ) -> None:
        self.name, self.gates, self.order, self.width, self.symbols = name, gates, order, width, symbols
        self.embed = activations(width, symbols, dtype)
        self.d_embed = activations(width, symbols, dtype)
        padded = self.embed.shape[0] * W
        self.w_x = zeros((slot_panels, padded, W), dtype)
        self.d_w_x = zeros(self.w_x.shape, dtype)
        self.w_x_t = zeros((self.embed.shape[0], slot_panels * W, W), dtype)
        self.table = zeros((slot_panels, symbols, W), dtype)
        self.d_table = zeros(self.table.shape, dtype)
        self.zero = zeros((slot_panels * W + padded,), dtype)

    def pack(self, parameters: Parameters) -> None:
        set_rows(self.embed, parameters["embed"])
        pack(parameters[self.name], self.gates, self.order, self.w_x)
        pack_transposed(parameters[self.name], self.gates, self.order, self.w_x_t)
        product(self.embed, 0, self.symbols, self.w_x, self.zero, self.table, numba.get_num_threads())

    def backward(self, d: Array, symbols: Array, weights: Array, gradients: Parameters) -> None:
        threads = numba.get_num_threads()
        add_to_table(d, symbols, weights, self.d_table)
        gradient_product(self.embed, 0, self.d_table, self.symbols, self.zero, self.d_w_x, threads)
        unpack(self.d_w_x, self.gates, self.order, gradients[self.name])
        product(self.d_table, 0, self.symbols, self.w_x_t, self.zero, self.d_embed, threads)
        d_embed = gradients["embed"]
        d_embed += rows_of(self.d_embed, self.width)
