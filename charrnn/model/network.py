"""The network: input table -> stacked cells -> affine softmax; its parameters and their packed copies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine.panels import Array
from charrnn.engine.simd import W
from charrnn.model.affine import ONE_GATE, Output, upper_input
from charrnn.model.config import ModelConfig
from charrnn.model.dense import Dense
from charrnn.model.inputs import Embedding, Input, OneHot
from charrnn.model.layer import Layer, layer_shapes
from charrnn.model.parameters import Parameters, Shapes

NO_SYMBOL = -1
PRECISIONS = ("float32", "bfloat16", "int8")

Value = TypeVar("Value")

State = dict[str, Array]  # for each state of the cell, such as "h": (L, B, H)


def parameter_shapes(config: ModelConfig) -> Shapes:
    """Name and shape of every parameter, in the order in which they are stored."""
    hidden = config.hidden
    shapes: Shapes = {"embed": (config.symbols, config.embed)} if config.embed else {}
    for layer in range(config.layers):
        below = hidden if layer else config.embed or config.symbols
        own = layer_shapes(config, below)
        if config.input_skips and layer:
            own["W_skip"] = (config.embed or config.symbols, own["W_x"][1])
        if config.output_skips and layer < config.layers - 1:
            own["W_y"] = (hidden, config.symbols)
        shapes |= {f"layer{layer}.{name}": shape for name, shape in own.items()}
    if not config.tied:
        shapes["W_y"] = (hidden, config.symbols)
    return shapes | {"b_y": (config.symbols,)}


def readers_of_input(config: ModelConfig) -> list[str]:
    """The matrices that read one-hot characters or their embedding."""
    return ["layer0.W_x", *(name for name in parameter_shapes(config) if name.endswith(".W_skip"))]


def symbol_axes(config: ModelConfig) -> dict[str, int]:
    """The parameters that have a row or a column for each symbol, and along which axis."""
    names = parameter_shapes(config)
    by_row = ["embed"] if config.embed else readers_of_input(config)
    by_column = [name for name in names if name.split(".")[-1] == "W_y"]
    return dict.fromkeys((*by_row, "b_y"), 0) | dict.fromkeys(by_column, 1)


def of_layer(index: int, named: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """The parameters, gradients or shapes of one layer. The layer's prefix is removed from their names."""
    prefix = f"layer{index}."
    return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}


class Network:
    """Parameters, their gradients, and the packed copies that the kernels read.

    Args:
        config: the shapes.
        dtype: float32 to train, float64 to check gradients.
        line_break: with `config.stateless`, the symbol before which the state is set to zeros.
        precision: the precision of products. "float32": both factors have the network's dtype. "bfloat16": both factors
            are rounded to bfloat16, but not in the product that makes an embedding's table. "int8": see engine/int8.py;
            then there is no backward pass. Sums and everything else have the dtype. With "bfloat16" and "int8", the
            dtype is float32.
    """

    def __init__(
        self,
        config: ModelConfig,
        dtype: DTypeLike = np.float32,
        line_break: int = NO_SYMBOL,
        precision: str = "float32",
    ) -> None:
        if precision not in PRECISIONS or (precision != "float32" and np.dtype(dtype) != np.float32):
            raise ValueError(f"expected one of {', '.join(PRECISIONS)} with float32, got {precision} with {dtype}")
        self.config, self.dtype, self.rounded = config, np.dtype(dtype), precision == "bfloat16"
        self.line_break = line_break if config.stateless else NO_SYMBOL
        self.parameters = Parameters(parameter_shapes(config), dtype)
        self.gradients = self.parameters.like()
        self.layer_parameters = [of_layer(index, self.parameters.items()) for index in range(config.layers)]
        self.layer_gradients = [of_layer(index, self.gradients.items()) for index in range(config.layers)]
        self.layers = [Layer(config, dtype, precision) for _ in range(config.layers)]
        gates, order = self.layers[0].gates, self.layers[0].input_order
        slot_panels = self.layers[0].input_start.size // W
        sizes = (gates, order, slot_panels, dtype)

        def of_characters(name: str) -> Input:
            if config.embed:
                return Embedding(name, config.symbols, config.embed, *sizes)
            return OneHot(name, config.symbols, *sizes)

        self.input = of_characters("layer0.W_x")
        above = range(1, config.layers if config.input_skips else 1)
        self.skips = [of_characters(f"layer{layer}.W_skip") for layer in above]
        self.upper_inputs = [upper_input(layer) for layer in self.layers[1:]]
        self.output = Output(config.hidden, config.symbols, dtype, precision)
        below = range(config.layers - 1 if config.output_skips else 0)
        self.lower_outputs = [Dense(config.hidden, config.symbols, 1, ONE_GATE, dtype, precision) for _ in below]
        self.d_output_weights: Array = (  # (H, V); its transpose is added to the gradient of a tied embedding
            np.empty((config.hidden, config.symbols), dtype) if config.tied else self.gradients["W_y"]
        )

    def output_weights(self) -> Array:
        """W_y (H, V)."""
        return np.ascontiguousarray(self.parameters["embed"].T) if self.config.tied else self.parameters["W_y"]

    def pack(self) -> None:
        """Copy the parameters into the packed copies. This is needed after every change of the parameters."""
        self.input.pack(self.parameters)
        for index, layer in enumerate(self.layers):
            parameters = self.layer_parameters[index]
            if index > 0:
                self.upper_inputs[index - 1].pack(parameters["W_x"])
            if "W_h" in parameters:
                layer.pack(parameters["W_h"])
            layer.pack_vectors(parameters)
        self.output.pack(self.output_weights())
        self.output.pack_bias(self.parameters["b_y"])
        for skip in self.skips:
            skip.pack(self.parameters)
        for parameters, output in zip(self.layer_parameters, self.lower_outputs, strict=False):
            output.pack(parameters["W_y"])
