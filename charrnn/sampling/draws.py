"""The next symbols of all streams, from the state of the top layer: the same kernel for every model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange
from numpy.typing import DTypeLike

from charrnn.engine.kernel import kernel, subroutine
from charrnn.engine.native import Native
from charrnn.engine.panels import Array, panels_for
from charrnn.engine.product import add_products, affine, release_tiles
from charrnn.engine.random import PURPOSES, uniform
from charrnn.engine.simd import W
from charrnn.engine.subnormals import flush_subnormals, restore_mode
from charrnn.sampling.constraints import ENDS, FORBIDDEN
from charrnn.sampling.rule import PARTS, PROBS, SPARE, copy, draw, forbid, log_prob, log_prob_of_end, penalise

SAMPLE = PURPOSES["sample"]
NUMBER, POSITION, STATE = range(3)  # columns of `marks`
PLAIN = PARTS  # the row of `scratch` with the unchanged logits, after the rows that a draw works in


class Draws(NamedTuple):
    """What is known about each stream in addition to the network's state."""

    scratch: Array  # [B, PARTS + 1, n], n = V rounded up to panels
    bits: Array  # the same memory as integers
    marks: (
        Array  # (B, 3) int64: number of the text, symbols drawn of it, state of the constraint (-1: nothing may follow)
    )
    recent: Array  # (B, N) int32, the last N symbols, or -1; N is 0 without a repetition penalty
    counts: Array  # (B, V) int32, how often each symbol stands in `recent`; (B, 0) without
    follows: Array  # (S, V) int32, see Constraint; (0, 0) without
    log_probs: Array  # (T, B) float64, written: ln of the probability of each symbol or end, without rules; or (0, B)


def memory_of_draws(streams: int, symbols: int, window: int) -> int:
    """How many bytes the buffers of `draws_for` take with float32, without those of a constraint."""
    counts = window + symbols if window else 0
    return 4 * streams * ((PARTS + 1) * panels_for(symbols) * W + counts)


def draws_for(streams: int, symbols: int, dtype: DTypeLike, window: int, follows: Array, steps: int) -> Draws:
    """Buffers for B streams of V symbols.

    Args:
        streams, symbols, dtype: B, V and the type of the logits.
        window: N, how many symbols back a repetition penalty looks; 0 without a penalty.
        follows: the automaton of a constraint.
        steps: how many symbols of one call have their log-probabilities kept; 0 for none.
    """
    scratch = np.zeros((streams, PARTS + 1, panels_for(symbols) * W), dtype)
    marks = np.zeros((streams, 3), np.int64)
    marks[:, NUMBER] = np.arange(streams)
    return Draws(
        scratch=scratch,
        bits=scratch.view(np.int32 if scratch.dtype == np.float32 else np.int64),
        marks=marks,
        recent=np.full((streams, window), -1, np.int32),
        counts=np.zeros((streams, symbols if window else 0), np.int32),
        follows=follows,
        log_probs=np.zeros((steps, streams)),
    )


@subroutine()
def _prepare(z, b, rule, draws):  # type: ignore[no-untyped-def]
    """Penalise the symbols that stream b has drawn recently, and forbid the symbols that its constraint forbids."""
    if draws.counts.shape[1] > 0:
        penalise(z, draws.counts[b], rule.repetition_penalty)
    if draws.follows.shape[0] > 0:
        state = draws.marks[b, STATE]
        if state >= 0:
            forbid(z, draws.follows[state])
        else:
            z[:] = -np.inf


@subroutine()
def _remember(b, symbol, draws):  # type: ignore[no-untyped-def]
    """Record that stream b has drawn a symbol."""
    marks, recent, counts = draws.marks, draws.recent, draws.counts
    if draws.follows.shape[0] > 0:
        marks[b, STATE] = draws.follows[marks[b, STATE], symbol]
    if counts.shape[1] > 0:
        place = marks[b, POSITION] % recent.shape[1]
        oldest = recent[b, place]
        if oldest >= 0:
            counts[b, oldest] -= 1
        recent[b, place] = symbol
        counts[b, symbol] += 1
    marks[b, POSITION] += 1


@kernel()
def _draw(logits, b, t, draws, rule, seed):  # type: ignore[no-untyped-def]
    """The next symbol of stream b from logits[:, b]."""
    numbers = draws.scratch[b]
    p, spare, plain = numbers[PROBS], numbers[SPARE], numbers[PLAIN]
    for panel in range(logits.shape[0]):
        for c in range(W):
            p[panel * W + c] = logits[panel, b, c]
    wants_log_probs = draws.log_probs.shape[0] > 0
    if wants_log_probs:
        copy(p, plain)
    _prepare(p, b, rule, draws)
    u = uniform(seed, SAMPLE, np.uint64(draws.marks[b, POSITION]), np.uint64(draws.marks[b, NUMBER]))
    symbol = draw(numbers, draws.bits[b], rule, u)
    if symbol >= 0 and draws.follows.shape[0] > 0 and draws.follows[draws.marks[b, STATE], symbol] == ENDS:
        if wants_log_probs:
            draws.log_probs[t, b] = log_prob_of_end(plain, spare, draws.follows[draws.marks[b, STATE]])
        draws.marks[b, STATE] = FORBIDDEN
        return ENDS
    if symbol >= 0:
        _remember(b, symbol, draws)
        if wants_log_probs:
            draws.log_probs[t, b] = log_prob(plain, spare, symbol)
    return symbol


draw_one = Native(_draw)
_draw_by_symbol = draw_one.call


@subroutine()
def _draw_some(h, row, w_y, b_y, begun, logits, out, t, draws, rule, seed, low, high):  # type: ignore[no-untyped-def]
    """`next_symbols` for the streams low <= b < high."""
    if begun:
        add_products(h, row + low, high - low, w_y, 0, 1, w_y.shape[0], logits, low)
    else:
        affine(h, row + low, high - low, w_y, b_y, 0, w_y.shape[0], logits, low)
    for b in range(low, high):
        out[t, b] = _draw_by_symbol(logits, b, t, draws, rule, seed)


@subroutine(parallel=True)
def _draw_shared(h, row, w_y, b_y, begun, logits, out, t, draws, rule, seed, tasks):  # type: ignore[no-untyped-def]
    """`_draw_some` for all streams, divided among threads."""
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * out.shape[1] // tasks, (task + 1) * out.shape[1] // tasks
        _draw_some(h, row, w_y, b_y, begun, logits, out, t, draws, rule, seed, low, high)
        release_tiles(w_y)
        restore_mode(mode)


@kernel()
def next_symbols(h, row, w_y, b_y, begun, logits, out, t, draws, rule, seed, tasks):  # type: ignore[no-untyped-def]
    """out[t, b] for all streams b, from the state h[:, row + b] of the top layer.

    The symbol is ENDS where a constraint ends the text, and -1 where the constraint leaves no symbol.

    Args:
        h, row: [P, rows, W], P panels of hidden units, and the row of stream 0.
        w_y, b_y: the output's weights and bias, packed.
        begun: whether the logits already hold the bias and the contributions of the layers below.
        logits: [panels, B, W], scratch.
        out: (T, B) int32, written.
        t: which row of `out`.
        draws: `Draws`.
        rule: `Rule`.
        seed: of the random numbers.
        tasks: how many threads share the streams.
    """
    if tasks > 1:
        _draw_shared(h, row, w_y, b_y, begun, logits, out, t, draws, rule, seed, tasks)
    else:
        _draw_some(h, row, w_y, b_y, begun, logits, out, t, draws, rule, seed, 0, out.shape[1])
