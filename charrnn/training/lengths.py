"""Random lengths of chunks."""

from __future__ import annotations

import numpy as np

from charrnn.engine.random import PURPOSES, fill_uniform, normal
from charrnn.training.config import SPREAD, longest

HALVED = 0.05  # share of chunks whose mean length is half
LEAST = 5


def random_length(seq_len: int, seed: int, draw: int) -> int:
    """Time steps of the chunk with this draw (Merity, Keskar & Socher 2018, section 4.1).

    The lengths are normally distributed around seq_len, and for one chunk in twenty around half of it. So the chunks
    of each epoch begin at other places.
    """
    numbers = np.empty(3)
    fill_uniform(numbers, 0.0, 1.0, np.uint64(seed), PURPOSES["length"], np.uint64(draw))
    halved, radius, angle = numbers
    mean = (0.5 if halved < HALVED else 1.0) * seq_len
    length = round(float(mean + SPREAD * seq_len * normal(radius, angle)))
    return min(max(length, min(LEAST, seq_len)), longest(seq_len))
