"""Softmax, its cross-entropy and the gradient of both, in one visit to each row of logits."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from charrnn.engine.kernel import kernel, subroutine
from charrnn.engine.pointwise import pointwise
from charrnn.engine.reduce import row_maximum, row_sum
from charrnn.engine.simd import Vector, W, exp


def _shifted_exp(z: Vector, *, peak: Vector) -> Vector:
    return exp(z - peak)


def _scaled(x: Vector, *, factor: Vector, less: Vector) -> Vector:
    return x * factor - less


shifted_exp = pointwise(_shifted_exp)
scaled = pointwise(_scaled)


@subroutine()
def exponentiate_row(logits, r, peak):  # type: ignore[no-untyped-def]
    """Put exp(z - peak) in place of row r; return its sum."""
    rows = logits.shape[1]
    for panel in range(logits.shape[0]):
        at = (panel * rows + r) * W
        shifted_exp((logits, logits), (at, at), (peak,), W)
    return row_sum(logits, r)


@kernel(parallel=True)
def cross_entropy(logits, targets, losses, first, scale, smoothing, symbols, tasks):  # type: ignore[no-untyped-def]
    """Losses of all rows, -ln softmax(logits)[target] in nats; their gradient replaces the logits.

    With smoothing e the gradient is that of the cross-entropy with 1 - e of the target and e of the uniform
    distribution (Szegedy et al. 2016, section 7). The losses do not include the smoothing.

    Args:
        logits: [panels, >= R, W]; padding columns hold -inf. Afterwards scale * (softmax - target distribution).
        targets: (R,) int32.
        losses: (R,), written.
        first: rows before it have neither loss nor gradient.
        scale: the factor of the gradient of each row's loss.
        smoothing: e.
        symbols: V.
        tasks: how many threads share the rows.
    """
    count, rows, uniform = targets.shape[0] - first, logits.shape[1], scale * smoothing / symbols
    for task in prange(tasks):
        for r in range(task * first // tasks, (task + 1) * first // tasks):
            logits[:, r] = 0
        for r in range(first + task * count // tasks, first + (task + 1) * count // tasks):
            target = targets[r]
            peak = row_maximum(logits, r)
            wanted = logits[target // W, r, target % W]
            total = exponentiate_row(logits, r, peak)
            losses[r] = math.log(total) + (peak - wanted)
            for panel in range(logits.shape[0]):
                at = (panel * rows + r) * W
                scaled((logits, logits), (at, at), (scale / total, uniform), W)
            logits[-1, r, symbols - (logits.shape[0] - 1) * W :] = 0
            logits[target // W, r, target % W] -= scale * (1.0 - smoothing)


def padding(columns: int, panels: int) -> np.ndarray:
    """A bias that gives padding columns the probability 0: (panels * W,) of 0 and -inf."""
    values = np.zeros(panels * W)
    values[columns:] = -np.inf
    return values
