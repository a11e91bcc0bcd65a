"""The kernel that generates text: it repeats the network's step and the draw of the next symbol."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import prange

from charrnn.engine.kernel import kernel, subroutine
from charrnn.engine.panels import Array
from charrnn.engine.product import add_products, affine, release_tiles
from charrnn.engine.recurrence import Plan, kernels_for
from charrnn.engine.rounded import round_numbers
from charrnn.engine.simd import W
from charrnn.engine.subnormals import flush_subnormals, restore_mode
from charrnn.sampling.draws import next_symbols


class Weights(NamedTuple):
    """The packed weights outside the recurrent products."""

    table: Array  # [panels, V, W], what each symbol adds to the first layer's gates
    biases: Array  # (L, n), what each layer's gates begin with
    upper_w_x: Array  # [L - 1, panels, K, W], inputs of the layers above the first
    skips: Array  # [L - 1, panels, V, W] with --input-skips, else empty
    lower_w_y: Array  # [L - 1, panels, K, W], outputs of the layers below the top with --output-skips, else empty
    w_y: Array  # the top layer's output
    b_y: Array


@subroutine()
def _input_row(table, bias, symbol, gates, row):  # type: ignore[no-untyped-def]
    """gates[:, row] = bias + table[:, symbol]."""
    for panel in range(table.shape[0]):
        for c in range(W):
            gates[panel, row, c] = bias[panel * W + c] + table[panel, symbol, c]


@subroutine()
def _add_input_row(table, symbol, gates, row):  # type: ignore[no-untyped-def]
    """gates[:, row] += table[:, symbol]."""
    for panel in range(table.shape[0]):
        for c in range(W):
            gates[panel, row, c] += table[panel, symbol, c]


@subroutine()
def _give(h, row, given, anew):  # type: ignore[no-untyped-def]
    """given += the rows of h from `row` on; with `anew`, given = these rows."""
    for panel in range(given.shape[0]):
        for b in range(given.shape[1]):
            for c in range(W):
                given[panel, b, c] = h[panel, row + b, c] + (0 if anew else given[panel, b, c])


@subroutine()
def _round_given(given, rounded):  # type: ignore[no-untyped-def]
    """rounded = given in bfloat16."""
    round_numbers((given, rounded), (0, 0), (), given.size)


@subroutine()
def _leave_given(given, rounded):  # type: ignore[no-untyped-def]
    """Do nothing: this takes the place of `_round_given` in float32."""


@subroutine(parallel=True)
def _shared_affine(a, row, rows, w, bias, c, c_row, tasks):  # type: ignore[no-untyped-def]
    """`affine` for all panels, divided among threads."""
    panels = w.shape[0]
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * panels // tasks, (task + 1) * panels // tasks
        affine(a, row, rows, w, bias, low, high - low, c, c_row)
        release_tiles(w)
        restore_mode(mode)


@subroutine()
def _affine(a, row, rows, w, bias, c, c_row, tasks):  # type: ignore[no-untyped-def]
    """c[:, c_row + i] = bias + a[:, row + i] @ w for i in range(rows)."""
    if tasks > 1:
        _shared_affine(a, row, rows, w, bias, c, c_row, tasks)
    else:
        affine(a, row, rows, w, bias, 0, w.shape[0], c, c_row)


_GENERATORS: dict[str, Any] = {}


def generator_for(plan: Plan) -> Any:
    """The kernel that generates text from layers that run a plan. It is made once for each plan.

    It is called as `generate(weights, layers, states, given, multiplied, line_break, logits, start, out, draws, rule,
    seed, tasks)`. It fills `out` with the next symbols of each stream. The state moves along the layers' rows.

        weights: `Weights`.
        layers: a tuple with the arrays of each layer.
        states: all buffers of states, one after the other.
        given: [panels, B, W], scratch for the sums of residual connections; [0, B, W] without them.
        multiplied: the same numbers in the form that products take: `given` itself, or in bfloat16 another array.
        line_break: the states are set to zeros before this symbol is read; -1 for none.
        logits: [panels, B, W], scratch.
        start: (B,) int32, the symbols that come before.
        out: (T, B) int32, written; negative where a constraint ended the text or left no symbol.
        draws: `Draws`, changed.
        rule: how symbols are drawn.
        seed: of the random numbers.
        tasks: how many threads share the work: first the hidden units of each step, then the draws of the streams.
    """
    if plan.name not in _GENERATORS:
        _GENERATORS[plan.name] = _generator(plan)
    return _GENERATORS[plan.name]


def _generator(plan: Plan) -> Any:
    kernels, phases = kernels_for(plan), plan.phases
    forward_phase, forward_by_panels = kernels.forward_phase, kernels.forward_by_panels
    operand = plan.fields.index(plan.multiplied("operand0"))
    round_given = _round_given if plan.rounded else _leave_given

    @kernel(plan.name)
    def generate(  # type: ignore[no-untyped-def]
        weights, layers, states, given, multiplied, line_break, logits, start, out, draws, rule, seed, tasks
    ):
        batch = out.shape[1]
        mode = flush_subnormals()
        for t in range(out.shape[0]):
            row = t * batch
            for b in range(batch):
                symbol = max(0, out[t - 1, b] if t else start[b])
                _input_row(weights.table, weights.biases[0], symbol, layers[0].gates, row + b)
                if symbol == line_break:
                    for index in range(len(states)):
                        states[index][:, row + b] = 0
                    for index in range(len(layers)):
                        layers[index][operand][:, row + b] = 0
            below, below_row = layers[0][operand], row + batch
            for index in range(len(layers)):
                arrays = layers[index]
                panels = arrays.dh.shape[0]
                if index > 0:
                    w_x, bias = weights.upper_w_x[index - 1], weights.biases[index]
                    _affine(below, below_row, batch, w_x, bias, arrays.gates, row, tasks)
                    if weights.skips.shape[0] > 0:
                        for b in range(batch):
                            symbol = max(0, out[t - 1, b] if t else start[b])
                            _add_input_row(weights.skips[index - 1], symbol, arrays.gates, row + b)
                if tasks > 1:
                    forward_by_panels(arrays, t, 1, batch, tasks)
                else:
                    for phase in range(phases):
                        forward_phase(arrays, phase, row, batch, batch, 0, panels)
                if given.shape[0] > 0:
                    _give(arrays.state0, row + batch, given, index == 0)
                    round_given(given, multiplied)
                    below, below_row = multiplied, 0
                else:
                    below, below_row = arrays[operand], row + batch
                if index < weights.lower_w_y.shape[0]:
                    w_y = weights.lower_w_y[index]
                    if index == 0:
                        affine(below, below_row, batch, w_y, weights.b_y, 0, w_y.shape[0], logits, 0)
                    else:
                        add_products(below, below_row, batch, w_y, 0, 1, w_y.shape[0], logits, 0)
            begun = weights.lower_w_y.shape[0] > 0
            next_symbols(
                below, below_row, weights.w_y, weights.b_y, begun, logits, out, t, draws, rule, seed, min(tasks, batch)
            )
        release_tiles(weights.w_y)
        restore_mode(mode)

    return generate
