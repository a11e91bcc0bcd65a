"""Weights as int8, each column with a scale of its own, for sampling: a quarter of the bytes of float32.

A packed matrix is [N / W, K + 4, W] of int8: K rows of whole numbers, and in the place of four more the W float32
scales of the panel's columns.
"""

from __future__ import annotations

import numpy as np

from charrnn.engine.panels import Array, panels_for
from charrnn.engine.tile import SCALE_BYTES, W

LARGEST = 127


def pack_quantised(w: Array, gates: int, order: Array, packed: Array) -> None:
    """Pack the gates of a weight matrix; see `panels.pack`.

    Each column is divided by its scale, its largest number in size over 127, and rounded.

    Args:
        w: (K, gates * H) float32.
        gates: how many gates stand side by side in w.
        order: (slots,) int64, which gate stands in each slot.
        packed: [slots * panels_for(H), panels_for(K) * W + 4, W] int8, written.
    """
    hidden, rows = w.shape[1] // gates, packed.shape[1] - SCALE_BYTES
    panels = panels_for(hidden)
    for slot, gate in enumerate(order):
        plain = np.zeros((rows, panels * W), np.float32)
        plain[: len(w), :hidden] = w[:, gate * hidden : (gate + 1) * hidden]
        scales = np.abs(plain).max(axis=0) / np.float32(LARGEST)
        divisors = np.where(scales > 0, scales, 1)
        target = packed[slot * panels : (slot + 1) * panels]
        target[:, :rows] = np.rint(plain / divisors).reshape(rows, panels, W).transpose(1, 0, 2)
        target[:, rows:] = scales.astype(np.float32).reshape(panels, W).view(np.int8).reshape(panels, SCALE_BYTES, W)
