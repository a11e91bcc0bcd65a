"""Dropout (Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014), with masks that are never stored.

Whether a unit is kept is a function of counters. So the backward pass computes the mask of the forward pass again, and
the mask depends neither on threads nor on whether a run was resumed. One hash gives 16 bits to each of four units, so a
rate is rounded to a multiple of 2^-16. Single weights can be dropped too (Wan, Zeiler, Zhang, LeCun & Fergus 2013).
Merity, Keskar & Socher (2018) drop those of recurrent products.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from charrnn.engine.kernel import kernel
from charrnn.engine.random import GOLDEN, PURPOSES, mix, mix_counters
from charrnn.engine.simd import W

DROPOUT = PURPOSES["dropout"]
LEVELS = 1 << 16


def threshold_and_scale(rate: float) -> tuple[np.uint64, float]:
    """The 16-bit number below which a unit is dropped, and the factor of the units that are kept."""
    threshold = min(round(rate * LEVELS), LEVELS - 1)
    return np.uint64(threshold), LEVELS / (LEVELS - threshold)


@kernel(parallel=True)
def drop_units(x, x_row, y, rows, period, threshold, scale, seed, step, site):  # type: ignore[no-untyped-def]
    """y[:, r] = mask_r * scale * x[:, x_row + r] for r in range(rows).

    Args:
        x: [panels, >= x_row + rows, W].
        y: [panels, >= rows, W], written. It may be x itself if x_row is 0.
        period: rows r and r + period have the same mask. If it is the batch, all time steps have one mask (Gal &
            Ghahramani 2016). If it is the number of all rows, each time step has its own mask.
        threshold, scale: see `threshold_and_scale`.
        seed, step, site: counters of the mask.
    """
    key = mix_counters(seed, DROPOUT, step, site)
    for panel in prange(x.shape[0]):
        for r in range(rows):
            number = np.uint64((panel * period + r % period) * (W // 4))
            source, target = x[panel, x_row + r], y[panel, r]
            for quarter in range(W // 4):
                bits = mix(key + (number + np.uint64(quarter + 1)) * GOLDEN)
                for lane in range(4):
                    c = 4 * quarter + lane
                    kept = (bits >> np.uint64(16 * lane)) & np.uint64(LEVELS - 1) >= threshold
                    target[c] = source[c] * scale if kept else x.dtype.type(0)


@kernel()
def drop_rows(weights, places, threshold, scale, seed, step, site):  # type: ignore[no-untyped-def]
    """weights[r] = scale or 0: whole rows are kept or dropped, those with equal places alike.

    Args:
        weights: (>= rows,), written.
        places: (rows,) int64, not negative.
        threshold, scale, seed, step, site: as in `drop_units`.
    """
    key = mix_counters(seed, DROPOUT, step, site)
    for r in range(places.size):
        bits = mix(key + np.uint64(places[r] + 1) * GOLDEN) & np.uint64(LEVELS - 1)
        weights[r] = scale if bits >= threshold else 0.0


@kernel(parallel=True)
def drop_weights(w, out, threshold, scale, seed, step, site):  # type: ignore[no-untyped-def]
    """out = mask * scale * w, number by number, for flat arrays; arguments as in `drop_units`."""
    key = mix_counters(seed, DROPOUT, step, site)
    for quarter in prange((w.size + 3) // 4):
        bits = mix(key + np.uint64(quarter + 1) * GOLDEN)
        for k in range(4 * quarter, min(4 * quarter + 4, w.size)):
            kept = (bits >> np.uint64(16 * (k % 4))) & np.uint64(LEVELS - 1) >= threshold
            out[k] = w[k] * scale if kept else w.dtype.type(0)
