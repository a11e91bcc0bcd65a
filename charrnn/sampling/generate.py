"""The kernel that generates text: the network's step and the draw of the next symbol, over and over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from charrnn.engine.kernel import kernel
from charrnn.engine.product import add_products, affine
from charrnn.engine.random import PURPOSES, uniform
from charrnn.engine.recurrence import Plan, kernels_for
from charrnn.engine.reduce import row_maximum
from charrnn.engine.softmax import exponentiate_row
from charrnn.engine.subnormals import flush_subnormals, restore_mode
from charrnn.engine.tile import W

SAMPLE = PURPOSES["sample"]


@njit
def draw(logits, r, symbols, temperature, u):  # type: ignore[no-untyped-def]
    """A symbol from softmax(logits[:, r] / temperature) by inversion; the row is used up.

    Args:
        logits: [panels, rows, W].
        symbols: V.
        temperature: 0 for the most likely symbol, the first of them in a tie.
        u: a uniform number in [0, 1).
    """
    if temperature == 0.0:
        best = 0
        for v in range(symbols):
            if logits[v // W, r, v % W] > logits[best // W, r, best % W]:
                best = v
        return best
    peak = row_maximum(logits, r)
    for panel in range(logits.shape[0]):
        for c in range(W):
            logits[panel, r, c] = (logits[panel, r, c] - peak) / temperature
    wanted = u * exponentiate_row(logits, r, 0.0)
    total = 0.0
    last = 0
    for v in range(symbols):
        p = logits[v // W, r, v % W]
        if p > 0.0:
            total += p
            last = v
            if total > wanted:
                return v
    return last


@njit
def _input_row(table, bias, symbol, gates, row):  # type: ignore[no-untyped-def]
    """gates[:, row] = bias + table[:, symbol]."""
    for panel in range(table.shape[0]):
        for c in range(W):
            gates[panel, row, c] = bias[panel * W + c] + table[panel, symbol, c]


@njit
def _add_input_row(table, symbol, gates, row):  # type: ignore[no-untyped-def]
    """gates[:, row] += table[:, symbol]."""
    for panel in range(table.shape[0]):
        for c in range(W):
            gates[panel, row, c] += table[panel, symbol, c]


@njit
def _give(h, row, given, anew):  # type: ignore[no-untyped-def]
    """given += the rows of h from `row` on, or = them."""
    for panel in range(given.shape[0]):
        for b in range(given.shape[1]):
            for c in range(W):
                given[panel, b, c] = h[panel, row + b, c] + (0 if anew else given[panel, b, c])


@njit(parallel=True)
def _shared_affine(a, row, rows, w, bias, c, c_row, tasks):  # type: ignore[no-untyped-def]
    """`affine` for all panels, shared by threads."""
    panels = w.shape[0]
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * panels // tasks, (task + 1) * panels // tasks
        affine(a, row, rows, w, bias, low, high - low, c, c_row)
        restore_mode(mode)


@njit
def _affine(a, row, rows, w, bias, c, c_row, tasks):  # type: ignore[no-untyped-def]
    """c[:, c_row + i] = bias + a[:, row + i] @ w for i in range(rows)."""
    if tasks > 1:
        _shared_affine(a, row, rows, w, bias, c, c_row, tasks)
    else:
        affine(a, row, rows, w, bias, 0, w.shape[0], c, c_row)


@njit
def _draws(h, row, w_y, b_y, begun, logits, out, t, symbols, temperature, seed, position, low, high):  # type: ignore[no-untyped-def]
    """out[t, b] from the last layer's state h[:, row + b], for the streams low <= b < high.

    If the logits are `begun`, they hold what comes from the layers below.
    """
    if begun:
        add_products(h, row + low, high - low, w_y, 0, 1, w_y.shape[0], logits, low)
    else:
        affine(h, row + low, high - low, w_y, b_y, 0, w_y.shape[0], logits, low)
    for b in range(low, high):
        u = uniform(seed, SAMPLE, np.uint64(position + t), np.uint64(b))
        out[t, b] = draw(logits, b, symbols, temperature, u)


@njit(parallel=True)
def _shared_draws(h, row, w_y, b_y, begun, logits, out, t, symbols, temperature, seed, position, tasks):  # type: ignore[no-untyped-def]
    """`_draws` for all streams, shared by threads."""
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * out.shape[1] // tasks, (task + 1) * out.shape[1] // tasks
        _draws(h, row, w_y, b_y, begun, logits, out, t, symbols, temperature, seed, position, low, high)
        restore_mode(mode)


_GENERATORS: dict[str, Any] = {}


def generator_for(plan: Plan) -> Any:
    """The kernel that generates text from layers that run a plan, made once.

    It is called as `generate(weights, layers, states, given, line_break, logits, start, out, temperature, seed,
    position, tasks)` and fills `out` with the next symbols of each stream; the state moves along the layers' rows.

        weights: (table, biases, upper_w_x, skips, lower_w_y, w_y, b_y), the packed weights outside the layers; skips
            and lower_w_y are empty without --input-skips and --output-skips.
        layers: a tuple with the arrays of each layer.
        states: all buffers of states, one after the other.
        given: [panels, B, W], scratch for the sums of residual connections; [0, B, W] without them.
        line_break: the symbol before which the states are set to zeros; -1 for none.
        logits: [panels, B, W], scratch.
        start: (B,) int32, the symbols that come before.
        out: (T, B) int32, written.
        temperature: of the softmax.
        seed, position: counters of the random numbers; position is that of out[0].
        tasks: how many threads share the hidden units of each step, and then the streams' draws.
    """
    if plan.name not in _GENERATORS:
        _GENERATORS[plan.name] = _generator(plan)
    return _GENERATORS[plan.name]


def _generator(plan: Plan) -> Any:
    kernels, phases = kernels_for(plan), plan.phases
    forward_phase, forward_by_panels = kernels.forward_phase, kernels.forward_by_panels

    @kernel(plan.name)
    def generate(  # type: ignore[no-untyped-def]
        weights, layers, states, given, line_break, logits, start, out, temperature, seed, position, tasks
    ):
        table, biases, upper_w_x, skips, lower_w_y, w_y, b_y = weights
        batch, symbols = out.shape[1], table.shape[1]
        mode = flush_subnormals()
        for t in range(out.shape[0]):
            row = t * batch
            for b in range(batch):
                symbol = out[t - 1, b] if t else start[b]
                _input_row(table, biases[0], symbol, layers[0].gates, row + b)
                if symbol == line_break:
                    for index in range(len(states)):
                        states[index][:, row + b] = 0
            below, below_row = layers[0].state0, row + batch
            for index in range(len(layers)):
                arrays = layers[index]
                panels = arrays.dh.shape[0]
                if index > 0:
                    _affine(below, below_row, batch, upper_w_x[index - 1], biases[index], arrays.gates, row, tasks)
                    if skips.shape[0] > 0:
                        for b in range(batch):
                            symbol = out[t - 1, b] if t else start[b]
                            _add_input_row(skips[index - 1], symbol, arrays.gates, row + b)
                if tasks > 1:
                    forward_by_panels(arrays, t, 1, batch, tasks)
                else:
                    for phase in range(phases):
                        forward_phase(arrays, phase, row, batch, batch, 0, panels)
                if given.shape[0] > 0:
                    _give(arrays.state0, row + batch, given, index == 0)
                    below, below_row = given, 0
                else:
                    below, below_row = arrays.state0, row + batch
                if index < lower_w_y.shape[0]:
                    if index == 0:
                        affine(below, below_row, batch, lower_w_y[0], b_y, 0, w_y.shape[0], logits, 0)
                    else:
                        add_products(below, below_row, batch, lower_w_y[index], 0, 1, w_y.shape[0], logits, 0)
            begun = lower_w_y.shape[0] > 0
            share = min(tasks, batch)
            if share > 1:
                _shared_draws(
                    below, below_row, w_y, b_y, begun, logits, out, t, symbols, temperature, seed, position, share
                )
            else:
                _draws(
                    below, below_row, w_y, b_y, begun, logits, out, t, symbols, temperature, seed, position, 0, batch
                )
        restore_mode(mode)

    return generate
