"""Softmax, its cross-entropy and the gradient of both, in one visit to each row of logits."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from charrnn.engine.pointwise import pointwise
from charrnn.engine.reduce import row_maximum, row_sum
from charrnn.engine.simd import Vector, exp
from charrnn.engine.tile import W


def _shifted_exp(z: Vector, *, peak: Vector) -> Vector:
    return exp(z - peak)


def _scaled(x: Vector, *, factor: Vector) -> Vector:
    return x * factor


shifted_exp = pointwise(_shifted_exp)
scaled = pointwise(_scaled)


@njit
def exponentiate_row(logits, r, peak):  # type: ignore[no-untyped-def]
    """Put exp(z - peak) in place of row r; return its sum."""
    rows = logits.shape[1]
    for panel in range(logits.shape[0]):
        at = (panel * rows + r) * W
        shifted_exp((logits, logits), (at, at), (peak,), W)
    return row_sum(logits, r)


@njit(cache=True, parallel=True)
def cross_entropy(logits, targets, losses, scale, tasks):  # type: ignore[no-untyped-def]
    """Losses of all rows, -ln softmax(logits)[target] in nats; the logits give way to their gradient.

    Args:
        logits: [panels, >= R, W]; padding columns hold -inf. Afterwards scale * (softmax - one-hot).
        targets: (R,) int32.
        losses: (R,), written.
        scale: what the gradient of each row's loss is multiplied by.
        tasks: how many threads share the rows.
    """
    count, rows = targets.shape[0], logits.shape[1]
    for task in prange(tasks):
        for r in range(task * count // tasks, (task + 1) * count // tasks):
            target = targets[r]
            peak = row_maximum(logits, r)
            wanted = logits[target // W, r, target % W]
            total = exponentiate_row(logits, r, peak)
            losses[r] = math.log(total) + (peak - wanted)
            for panel in range(logits.shape[0]):
                at = (panel * rows + r) * W
                scaled((logits, logits), (at, at), (scale / total,), W)
            logits[target // W, r, target % W] -= scale


def padding(columns: int, panels: int) -> np.ndarray:
    """What a bias holds so that padding columns get probability 0: (panels * W,) of 0 and -inf."""
    values = np.zeros(panels * W)
    values[columns:] = -np.inf
    return values
