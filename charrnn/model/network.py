"""The network: input table -> stacked cells -> affine softmax, for one chunk of time at a time."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine.panels import Array, activations, pack, pack_transposed, rows_of, set_rows, unpack, zeros
from charrnn.engine.product import column_sums, gradient_product, product
from charrnn.engine.softmax import cross_entropy, padding
from charrnn.engine.table import lookup
from charrnn.engine.tile import W
from charrnn.model.config import ModelConfig
from charrnn.model.gru import GRU, ResetBeforeGRU
from charrnn.model.inputs import Embedding, Input, OneHot
from charrnn.model.layer import Layer, order_of
from charrnn.model.lstm import LSTM
from charrnn.model.noise import Noise
from charrnn.model.parameters import Parameters, Shapes
from charrnn.model.rnn import ReluRNN, TanhRNN

ONE_GATE = order_of(0)

State = dict[str, Array]  # "h", and "c" for the LSTM: (L, B, H)


def layer_type(config: ModelConfig) -> type[Layer]:
    """The kind of layer that a configuration asks for."""
    if config.cell == "lstm":
        return LSTM
    if config.cell == "gru":
        return GRU if config.reset == "after" else ResetBeforeGRU
    return TanhRNN if config.nonlinearity == "tanh" else ReluRNN


def parameter_shapes(config: ModelConfig) -> Shapes:
    """Name and shape of every parameter, in the order in which they are stored."""
    kind, hidden = layer_type(config), config.hidden
    width = len(kind.gates) * hidden
    shapes: Shapes = {"embed": (config.symbols, config.embed)} if config.embed else {}
    for layer in range(config.layers):
        below = hidden if layer else config.embed or config.symbols
        shapes[f"layer{layer}.W_x"] = (below, width)
        shapes[f"layer{layer}.W_h"] = (hidden, width)
        shapes[f"layer{layer}.b"] = (width,)
        shapes |= {f"layer{layer}.{name}": (hidden,) for name in kind.extra_parameters}
    return shapes | {"W_y": (hidden, config.symbols), "b_y": (config.symbols,)}


def symbol_axes(config: ModelConfig) -> dict[str, int]:
    """The parameters that have a row or a column for each symbol, and along which axis."""
    return {"embed" if config.embed else "layer0.W_x": 0, "W_y": 1, "b_y": 0}


class UpperInput:
    """The input product of a layer above the first: W_x (H, gates * H), packed both ways."""

    def __init__(self, layer: Layer, dtype: DTypeLike) -> None:
        self.gates, self.order = len(layer.gates), order_of(*layer.input_order)
        self.w_x = layer.weights(self.gates)
        self.d_w_x = layer.weights(self.gates)
        self.w_x_t = layer.transposed(self.gates)

    def pack(self, W_x: Array) -> None:
        pack(W_x, self.gates, self.order, self.w_x)
        pack_transposed(W_x, self.gates, self.order, self.w_x_t)


class Output:
    """The affine map from the top layer to the logits: W_y (H, V), b_y (V,), packed both ways."""

    def __init__(self, hidden: int, symbols: int, dtype: DTypeLike) -> None:
        top, below = activations(symbols, 1, dtype).shape[0], activations(hidden, 1, dtype).shape[0]
        self.w_y = zeros((top, below * W, W), dtype)
        self.d_w_y = zeros(self.w_y.shape, dtype)
        self.w_y_t = zeros((below, top * W, W), dtype)
        self.b_y = zeros((top * W,), dtype)
        self.b_y[:] = padding(symbols, top)
        self.d_b_y = zeros(self.b_y.shape, dtype)
        self.symbols = symbols

    def pack(self, parameters: Parameters) -> None:
        pack(parameters["W_y"], 1, ONE_GATE, self.w_y)
        pack_transposed(parameters["W_y"], 1, ONE_GATE, self.w_y_t)
        self.b_y[: self.symbols] = parameters["b_y"]


class Network:
    """Parameters, their gradients, and the packed copies that the kernels read.

    Args:
        config: the shapes.
        dtype: float32 to train, float64 to check gradients.
    """

    def __init__(self, config: ModelConfig, dtype: DTypeLike = np.float32) -> None:
        self.config, self.dtype = config, np.dtype(dtype)
        self.parameters = Parameters(parameter_shapes(config), dtype)
        self.gradients = self.parameters.like()
        kind = layer_type(config)
        self.layers = [kind(config.hidden, dtype) for _ in range(config.layers)]
        gates, order = len(kind.gates), order_of(*kind.input_order)
        slot_panels = gates * self.layers[0].panels
        self.input: Input = (
            Embedding(config.symbols, config.embed, gates, order, slot_panels, dtype)
            if config.embed
            else OneHot(config.symbols, gates, order, slot_panels, dtype)
        )
        self.upper_inputs = [UpperInput(layer, dtype) for layer in self.layers[1:]]
        self.biases = [zeros((slot_panels * W,), dtype) for _ in self.layers]
        self.output = Output(config.hidden, config.symbols, dtype)

    def pack(self) -> None:
        """Take over the parameters into the packed copies; needed after every change of them."""
        self.input.pack(self.parameters)
        for index, upper in enumerate(self.upper_inputs, start=1):
            upper.pack(self.parameters[f"layer{index}.W_x"])
        for index, layer in enumerate(self.layers):
            extra = {name: self.parameters[f"layer{index}.{name}"] for name in layer.extra_parameters}
            layer.pack(self.parameters[f"layer{index}.W_h"], extra)
            bias = self.parameters[f"layer{index}.b"][None, :]
            slots = self.biases[index].reshape(-1, 1, W)
            pack(bias, len(layer.gates), order_of(*layer.input_order), slots)
        self.output.pack(self.parameters)


class Chunk:
    """The activations of one chunk: B streams of up to T time steps, with the state carried between chunks.

    Row t * B + b of every buffer is stream b at time step t.

    Args:
        network: whose parameters to use.
        batch: B.
        steps: T, the most time steps that one call takes.
        noise: dropout in training.
    """

    def __init__(self, network: Network, batch: int, steps: int, noise: Noise | None = None) -> None:
        self.network, self.batch = network, batch
        self.noise = noise or Noise()
        self.draw: int | None = None
        config, dtype, rows = network.config, network.dtype, batch * steps
        self.arrays: list[Any] = [layer.arrays(batch, steps) for layer in network.layers]
        self.logits = activations(config.symbols, rows, dtype)
        self.losses = zeros((rows,), dtype)
        self.ones = zeros((rows,), dtype) + 1
        self.input_weights = self.ones.copy()
        self.dropped = [layer.rows(rows if self._rate(index) else 0) for index, layer in enumerate(network.layers)]
        self.d_bias = zeros(network.biases[0].shape, dtype)
        self.symbols = np.zeros(rows, np.int32)
        self.steps = 0

    def state(self) -> State:
        """The state before the next chunk: for each of "h" (and "c") an array (L, B, H)."""
        self.make_room()
        hidden = self.network.config.hidden
        return {
            name: np.stack([rows_of(getattr(a, name)[:, : self.batch], hidden) for a in self.arrays])
            for name in self.network.layers[0].states
        }

    def set_state(self, state: State) -> None:
        """Begin the next chunk from this state, as `state` returns it."""
        self.steps = 0
        for name in self.network.layers[0].states:
            for arrays, plain in zip(self.arrays, state[name], strict=True):
                set_rows(getattr(arrays, name)[:, : self.batch], plain)

    def reset_state(self) -> None:
        """Begin the next chunk from a state of zeros."""
        self.steps = 0
        for name in self.network.layers[0].states:
            for arrays in self.arrays:
                getattr(arrays, name)[:, : self.batch] = 0

    def make_room(self) -> None:
        """Carry the state from the end of the last chunk to the front of the buffers."""
        end = self.steps * self.batch
        if end:
            for name in self.network.layers[0].states:
                for arrays in self.arrays:
                    buffer = getattr(arrays, name)
                    buffer[:, : self.batch] = buffer[:, end : end + self.batch].copy()
        self.steps = 0

    def _rate(self, index: int) -> float:
        return self.noise.rate(index, len(self.network.layers))

    def _drop(self, index: int, x: Array, x_row: int, y: Array) -> None:
        """Dropout on a layer's output, or on its gradient."""
        if self.draw is not None and self._rate(index):
            rows = self.steps * self.batch
            self.noise.drop(self._rate(index), index, self.draw, x, x_row, y, rows, self.batch)

    def _fed(self, index: int) -> tuple[Array, int]:
        """What a layer gives to what is above it: a buffer, and the row where it begins."""
        if self.draw is not None and self._rate(index):
            return self.dropped[index], 0
        return self.arrays[index].h, self.batch

    def forward(self, inputs: Array, draw: int | None = None) -> None:
        """Run the network over the next t time steps; the logits stay in the buffer.

        Args:
            inputs: (t, B) symbols, t at most T.
            draw: the number of the noise's draw; None for none.
        """
        self.make_room()
        self.draw = draw
        network = self.network
        self.steps, rows = inputs.shape[0], inputs.size
        self.symbols = np.ascontiguousarray(inputs, np.int32).reshape(-1)
        for index, (layer, arrays) in enumerate(zip(network.layers, self.arrays, strict=True)):
            self.input_forward(index, rows)
            self.recurrence_forward(layer, arrays)
            self._drop(index, arrays.h, self.batch, self.dropped[index])
        self.output_forward(rows)

    def loss(self, targets: Array) -> float:
        """Mean cross-entropy in nats per character; the logits give way to its gradient.

        Args:
            targets: (t, B) symbols, the ones that follow the inputs.
        """
        rows = targets.size
        wanted = np.ascontiguousarray(targets, np.int32).reshape(-1)
        cross_entropy(self.logits, wanted, self.losses, 1.0 / rows, numba.get_num_threads())
        return float(self.losses[:rows].sum(dtype=np.float64)) / rows

    def backward(self) -> None:
        """Write the gradients of the mean loss into network.gradients; gradients stop at the chunk's start."""
        rows = self.steps * self.batch
        self.output_gradient(rows)
        self.output_backward(rows)
        for index in range(len(self.network.layers) - 1, -1, -1):
            layer, arrays = self.network.layers[index], self.arrays[index]
            self.recurrence_backward(layer, arrays)
            self.layer_gradient(index, layer, arrays, rows)
            if index > 0:
                self.input_backward(index, rows)

    # The phases of a chunk, which `charrnn bench` measures one by one.

    def input_forward(self, index: int, rows: int) -> None:
        """The input's share of a layer's gates: looked up for the first layer, a product above it."""
        network, threads = self.network, numba.get_num_threads()
        slots, bias = network.layers[index].input_slots(self.arrays[index]), network.biases[index]
        if index == 0:
            if self.draw is not None and self.noise.input:
                self.noise.input_weights(self.draw, self.input_weights, rows, self.batch)
            lookup(network.input.table, bias, self.symbols, self._weights_of_input(), slots)
        else:
            below, row = self._fed(index - 1)
            product(below, row, rows, network.upper_inputs[index - 1].w_x, bias, slots, threads)

    def _weights_of_input(self) -> Array:
        return self.input_weights if self.draw is not None and self.noise.input else self.ones

    def recurrence_forward(self, layer: Layer, arrays: Any) -> None:
        """A layer through time."""
        layer.forward(arrays, self.steps, self.batch)

    def output_forward(self, rows: int) -> None:
        """The logits."""
        output = self.network.output
        top, row = self._fed(len(self.arrays) - 1)
        product(top, row, rows, output.w_y, output.b_y, self.logits, numba.get_num_threads())

    def output_gradient(self, rows: int) -> None:
        """Gradients of W_y and b_y from those of the logits."""
        output, gradients, threads = self.network.output, self.network.gradients, numba.get_num_threads()
        zero = self.network.layers[-1].zero
        top, row = self._fed(len(self.arrays) - 1)
        gradient_product(top, row, self.logits, rows, zero, output.d_w_y, threads)
        unpack(output.d_w_y, 1, ONE_GATE, gradients["W_y"])
        column_sums(self.logits, rows, self.ones, zero, output.d_b_y, threads)
        gradients["b_y"][:] = output.d_b_y[: output.symbols]

    def output_backward(self, rows: int) -> None:
        """The gradient of the top layer's h from that of the logits."""
        zero, threads = self.network.layers[-1].zero, numba.get_num_threads()
        dh = self.arrays[-1].dh
        product(self.logits, 0, rows, self.network.output.w_y_t, zero, dh, threads)
        self._drop(len(self.arrays) - 1, dh, 0, dh)

    def recurrence_backward(self, layer: Layer, arrays: Any) -> None:
        """A layer back through time; the gates give way to their gradients."""
        layer.backward(arrays, self.steps, self.batch)

    def layer_gradient(self, index: int, layer: Layer, arrays: Any, rows: int) -> None:
        """Gradients of a layer's weights and biases, and for the first layer of what makes its table."""
        gradients, threads = self.network.gradients, numba.get_num_threads()
        d_extra = {name: gradients[f"layer{index}.{name}"] for name in layer.extra_parameters}
        layer.weight_gradient(arrays, rows, gradients[f"layer{index}.W_h"], d_extra, self.ones)
        slots = layer.input_slots(arrays)
        column_sums(slots, rows, self.ones, layer.zero, self.d_bias, threads)
        d_b = gradients[f"layer{index}.b"][None, :]
        unpack(self.d_bias.reshape(-1, 1, W), len(layer.gates), order_of(*layer.input_order), d_b)
        if index == 0:
            self.network.input.backward(slots, self.symbols, self._weights_of_input(), gradients)
        else:
            upper = self.network.upper_inputs[index - 1]
            below, row = self._fed(index - 1)
            gradient_product(below, row, slots, rows, layer.zero, upper.d_w_x, threads)
            unpack(upper.d_w_x, upper.gates, upper.order, gradients[f"layer{index}.W_x"])

    def input_backward(self, index: int, rows: int) -> None:
        """The gradient of the h of the layer below from that of a layer's gates."""
        layer, upper = self.network.layers[index], self.network.upper_inputs[index - 1]
        slots, threads = layer.input_slots(self.arrays[index]), numba.get_num_threads()
        dh = self.arrays[index - 1].dh
        product(slots, 0, rows, upper.w_x_t, layer.zero, dh, threads)
        self._drop(index - 1, dh, 0, dh)

    def state_gradient(self) -> list[State]:
        """Gradient of the mean loss by the state before the chunk, layer by layer, after `backward`."""
        return [
            layer.state_gradient(arrays, self.batch)
            for layer, arrays in zip(self.network.layers, self.arrays, strict=True)
        ]
