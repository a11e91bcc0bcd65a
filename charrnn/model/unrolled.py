"""The network unrolled over the time steps of a chunk: the forward pass, the loss, and the backward pass."""

from __future__ import annotations

import numba
import numpy as np

from charrnn.engine.panels import Array, activations, zeros
from charrnn.engine.product import add_product, column_sums, product
from charrnn.engine.rounded import round_rows
from charrnn.engine.rows import add_differences, add_rows
from charrnn.engine.softmax import cross_entropy
from charrnn.engine.table import add_looked_up, lookup
from charrnn.model.carried import CarriedState
from charrnn.model.dense import BFLOAT16, RowSums
from charrnn.model.inputs import flat_symbols
from charrnn.model.network import Network, State
from charrnn.model.noise import Noise, Objective
from charrnn.model.unrolled_layer import UnrolledLayer

NO_NOISE = Noise()


class Unrolled:
    """The network unrolled over B streams of up to T time steps: buffers for a chunk's activations, and its passes.

    Row t * B + b of a buffer is stream b at time step t. A buffer of states has B rows more: its first B rows hold the
    state before the chunk.

    Args:
        network: the network whose parameters are used.
        batch: B.
        steps: T, the most time steps that one call takes.
        noise: dropout in training.
        objective: what is minimised in addition to the cross-entropy.

    Attributes:
        logits: [panels_for(V), T * B, W]; after `loss`, their gradients.
        losses: (T * B,) nats.
        given: for each layer [P, T * B, W], its output after dropout and residual connection; no rows if nothing
            changes it.
        input_weights, ones: (T * B,) factors of the input, with and without dropout.
        symbols: (t * B,) int32, the inputs of the last forward pass.
        steps: t, the time steps of the last forward pass.
        carried: the state, which continues from chunk to chunk.
        past: how many of its first time steps do not count in the loss.
        present, draw: the noise of the last forward pass, and the number of its random masks.
    """

    def __init__(
        self,
        network: Network,
        batch: int,
        steps: int,
        noise: Noise | None = None,
        objective: Objective | None = None,
    ) -> None:
        if batch < 1 or steps < 1:
            raise ValueError(f"expected a chunk of at least one stream and one time step, got {batch} and {steps}")
        self.network, self.batch, self.most_steps = network, batch, steps
        self.noise, self.objective = noise or NO_NOISE, objective or Objective()
        self.present, self.draw = self.noise, 0  # the noise of the present pass, and the number of its draw
        config, dtype, rows = network.config, network.dtype, batch * steps
        self.layers = [UnrolledLayer(layer, batch, steps) for layer in network.layers]
        self.logits = activations(config.symbols, rows, dtype)
        self.losses = zeros((rows,), dtype)
        self.ones = zeros((rows,), dtype) + 1
        self.input_weights = self.ones.copy()
        self.given = [layer.rows(rows if self._is_changed(k) else 0) for k, layer in enumerate(network.layers)]
        # The factors of products. In bfloat16 they are copies.
        self.multiplied_given, self.multiplied_logits = self.given, self.logits
        if network.rounded:
            self.multiplied_given = [zeros(given.shape, BFLOAT16) for given in self.given]
            self.multiplied_logits = zeros(self.logits.shape, BFLOAT16)
        self.sums = RowSums(network.rounded)
        self.d_above = network.layers[0].rows(rows if config.residual else 0)
        self.symbols = np.zeros(rows, np.int32)
        self.carried = CarriedState(self.layers, batch, config.hidden)
        self.steps = self.past = 0

    def forward(self, inputs: Array, draw: int | None = None) -> None:
        """Run the network over the next t time steps; the logits stay in the buffer.

        The next chunk begins after them, unless `carried.advance` is set to fewer steps.

        Args:
            inputs: (t, B) symbols, t at most T.
            draw: the number of the noise's draw; None for no noise.
        Raises:
            ValueError: the inputs have another shape, or numbers that are not symbols.
        """
        self.carried.make_room()
        self.present, self.draw = (NO_NOISE, 0) if draw is None else (self.noise, draw)
        self.symbols = flat_symbols(inputs, self.batch, self.most_steps, self.network.config.symbols)
        self.steps = self.carried.advance = inputs.shape[0]
        self._prepare_layers(draw)
        for index, layer in enumerate(self.layers):
            self.input_forward(index, inputs.size)
            self.recurrence_forward(layer)
            self._give(index, inputs.size)
        self.output_forward(inputs.size)

    def loss(self, targets: Array, past: int = 0) -> float:
        """Mean cross-entropy in nats per character. The gradient of the smoothed one replaces the logits.

        `backward` adds the gradients of the penalties.

        Args:
            targets: (t, B) symbols, the ones that follow the inputs.
            past: how many of the first time steps do not count.
        Raises:
            ValueError: the targets do not have the shape of the inputs, or have numbers that are not symbols.
        """
        symbols = self.network.config.symbols
        wanted = flat_symbols(targets, self.batch, self.steps, symbols)
        if len(targets) != self.steps or not 0 <= past < self.steps:
            raise ValueError(f"expected targets of {self.steps} time steps, got {len(targets)}, {past} of them past")
        self.past, first = past, past * self.batch
        count = wanted.size - first
        threads = numba.get_num_threads()
        cross_entropy(self.logits, wanted, self.losses, first, 1.0 / count, self.objective.smoothing, symbols, threads)
        return float(self.losses[first : wanted.size].sum(dtype=np.float64)) / count

    def backward(self) -> None:
        """Write the gradients of the objective into network.gradients; gradients stop at the chunk's start."""
        rows = self.steps * self.batch
        if self.network.config.embed:
            self.network.gradients["embed"][:] = 0
        self.output_gradient(rows)
        self.output_backward(rows)
        for index in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[index]
            self._take(index, rows)
            self.recurrence_backward(layer)
            self.layer_gradient(index, layer, rows)
            if index > 0:
                self.input_backward(index, rows)
        if self.network.config.tied:
            d_embed = self.network.gradients["embed"]
            d_embed += self.network.d_output_weights.T

    def given_by_top(self) -> tuple[Array, int]:
        """What the top layer gives to the output layer, after `forward`: a buffer, and the row where it begins."""
        return self._given(len(self.layers) - 1)

    def state_gradient(self) -> list[State]:
        """Gradient of the objective with respect to the state before the chunk, for each layer, after `backward`."""
        return [layer.state_gradient() for layer in self.layers]

    # Between a layer and the one above it: dropout. Residual connections also add what the layer below gives.

    def _rate(self, index: int) -> float:
        return self.present.rate(index, len(self.network.layers))

    def _has_residual(self, index: int) -> bool:
        return self.network.config.residual and index > 0

    def _is_changed(self, index: int) -> bool:
        """Whether what a layer gives to the one above differs from its output."""
        return self._rate(index) > 0 or self._has_residual(index)

    def _given(self, index: int) -> tuple[Array, int]:
        """What a layer gives to what is above it: a buffer, and the row where it begins."""
        return (self.given[index], 0) if self._is_changed(index) else self.layers[index].output

    def _multiplied(self, index: int) -> tuple[Array, int]:
        """The same in the form that products take."""
        return (self.multiplied_given[index], 0) if self._is_changed(index) else self.layers[index].multiplied_output

    def _give(self, index: int, rows: int) -> None:
        """Compute what `_given` returns from a layer's output."""
        if not self._is_changed(index):
            return
        given, _ = self._given(index)
        output, row = self.layers[index].output
        if self._rate(index):
            self.noise.drop(self._rate(index), index, self.draw, output, row, given, rows, self.batch)
        else:
            given[:, :rows] = output[:, row : row + rows]
        if self._has_residual(index):
            add_rows(*self._given(index - 1), given, 0, rows, 1.0)
        if self.network.rounded:
            round_rows(given, 0, rows, self.multiplied_given[index], 0)

    def _take(self, index: int, rows: int) -> None:
        """The backward pass of `_give`: dh holds the gradient of what the layer gives, then that of its output."""
        dh, top = self.layers[index].arrays.dh, index == len(self.layers) - 1
        if self.network.config.residual:
            if not top:
                add_rows(self.d_above, 0, dh, 0, rows, 1.0)
            if index > 0:
                self.d_above[:, :rows] = dh[:, :rows]
        if self._rate(index):
            self.noise.drop(self._rate(index), index, self.draw, dh, 0, dh, rows, self.batch)
        if top:
            self._add_temporal_penalty(dh, rows)

    def _add_activation_penalty(self, d: Array, rows: int) -> None:
        """Add the penalty's gradient to d, the gradient of what the top layer gives; see `Objective`."""
        first = self.past * self.batch
        if self.objective.activation:
            given, row = self.given_by_top()
            factor = 2.0 * self.objective.activation / ((rows - first) * self.network.config.hidden)
            add_rows(given, row + first, d, first, rows - first, factor)

    def _add_temporal_penalty(self, dh: Array, rows: int) -> None:
        """Add the penalty's gradient to dh, the gradient of the top layer's output; see `Objective`."""
        first = max(0, self.past - 1) * self.batch
        count = rows - first - self.batch
        if self.objective.temporal and count > 0:
            output, row = self.layers[-1].output
            factor = 2.0 * self.objective.temporal / (count * self.network.config.hidden)
            add_differences(output, row + first, dh, first, rows - first, self.batch, factor)

    def _prepare_layers(self, draw: int | None) -> None:
        """Prepare the layers: drop recurrent weights, make zoneout's masks, and find where lines begin."""
        network = self.network
        for index, layer in enumerate(self.layers):
            if self.present.weights and "W_h" in network.layer_parameters[index]:
                w_h = network.layer_parameters[index]["W_h"]
                dropped = np.empty_like(w_h)
                self.noise.drop_weights(index, self.draw, w_h, dropped)
                network.layers[index].pack(dropped)
            layer.masks.begin(index, self.noise, draw, self.steps)
            layer.masks.begin_lines(self.symbols.reshape(self.steps, self.batch) == network.line_break)

    # The phases of a chunk, which `charrnn bench` measures one by one.

    def input_forward(self, index: int, rows: int) -> None:
        """Compute the input's share of a layer's gates. The first layer looks it up; upper layers need a product."""
        network, threads = self.network, numba.get_num_threads()
        slots, bias = self.layers[index].input_slots, network.layers[index].input_start
        if index == 0:
            if self.present.input:
                self.noise.input_weights(self.draw, self.input_weights, self.symbols[:rows], self.batch)
            lookup(network.input.table, bias, self.symbols, self._weights_of_input(), slots)
        else:
            below, row = self._multiplied(index - 1)
            product(below, row, rows, network.upper_inputs[index - 1].forwards, bias, slots, threads)
            if network.skips:
                add_looked_up(network.skips[index - 1].table, self.symbols, self._weights_of_input(), slots)

    def _weights_of_input(self) -> Array:
        return self.input_weights if self.present.input else self.ones

    def recurrence_forward(self, layer: UnrolledLayer) -> None:
        """Run a layer through time."""
        layer.forward(self.steps)

    def output_forward(self, rows: int) -> None:
        """Compute the logits."""
        output = self.network.output
        top, row = self._multiplied(len(self.layers) - 1)
        product(top, row, rows, output.forwards, output.b_y, self.logits, numba.get_num_threads())
        for index, lower in enumerate(self.network.lower_outputs):
            add_product(*self._multiplied(index), rows, lower.forwards, self.logits, numba.get_num_threads())

    def output_gradient(self, rows: int) -> None:
        """Compute the gradients of W_y and b_y from those of the logits."""
        network, output = self.network, self.network.output
        if network.rounded:
            round_rows(self.logits, 0, rows, self.multiplied_logits, 0)
        d = self.sums.prepared(self.multiplied_logits, rows)
        top, row = self._multiplied(len(self.layers) - 1)
        self.sums.write(top, row, d, rows, output, network.d_output_weights)
        for index, lower in enumerate(network.lower_outputs):
            below, row = self._multiplied(index)
            self.sums.write(below, row, d, rows, lower, network.layer_gradients[index]["W_y"])
        column_sums(self.logits, rows, output.d_b_y, numba.get_num_threads())
        network.gradients["b_y"][:] = output.d_b_y[: output.symbols]

    def output_backward(self, rows: int) -> None:
        """Compute the gradient of what the top layer gives from the gradient of the logits."""
        zero, threads = self.network.layers[-1].zero, numba.get_num_threads()
        dh = self.layers[-1].arrays.dh
        product(self.multiplied_logits, 0, rows, self.network.output.backwards, zero, dh, threads)
        self._add_activation_penalty(dh, rows)

    def recurrence_backward(self, layer: UnrolledLayer) -> None:
        """Run a layer back through time. The gates' gradients replace the gates."""
        layer.backward(self.steps)

    def layer_gradient(self, index: int, layer: UnrolledLayer, rows: int) -> None:
        """Write the gradients of a layer's weights, biases and gains, and of all that makes its table of characters."""
        network, gradients = self.network, self.network.layer_gradients[index]
        d = self.sums.prepared(layer.multiplied_gates, rows)
        layer.gradients(d, rows, self.sums, gradients)
        if self.present.weights and "W_h" in gradients:
            self.noise.drop_weights(index, self.draw, gradients["W_h"], gradients["W_h"])
        if index == 0:
            network.input.backward(layer.input_slots, self.symbols, self._weights_of_input(), network.gradients)
        else:
            below, row = self._multiplied(index - 1)
            d = d[: len(layer.input_slots)]
            self.sums.write(below, row, d, rows, network.upper_inputs[index - 1], gradients["W_x"])
            if network.skips:
                skip = network.skips[index - 1]
                skip.backward(layer.input_slots, self.symbols, self._weights_of_input(), network.gradients)

    def input_backward(self, index: int, rows: int) -> None:
        """Compute the gradient of what the layer below gives from the gradient of a layer's gates."""
        layer, upper = self.layers[index], self.network.upper_inputs[index - 1]
        slots, dh = layer.multiplied_gates[: len(layer.input_slots)], self.layers[index - 1].arrays.dh
        threads = numba.get_num_threads()
        product(slots, 0, rows, upper.backwards, self.network.layers[index].zero, dh, threads)
        if self.network.lower_outputs:
            lower = self.network.lower_outputs[index - 1]
            add_product(self.multiplied_logits, 0, rows, lower.backwards, dh, threads)
