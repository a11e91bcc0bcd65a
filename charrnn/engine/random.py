"""Random numbers from counters: each is a function of (seed, purpose, step, index) and of nothing else.

So they depend neither on the order nor on the number of threads, and a resumed run draws the same numbers as an
uninterrupted one. The mixing function is the finaliser of SplitMix64 (Steele, Lea & Flood 2014). It is applied once for
each counter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.engine.kernel import subroutine

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
PURPOSES = {
    **{"initialise": np.uint64(1), "sample": np.uint64(2), "dropout": np.uint64(3)},
    **{"length": np.uint64(4), "reset": np.uint64(5), "shuffle": np.uint64(6)},
}
BLOCK = 1 << 14  # numbers that are made at once


def _mix(z: Any) -> Any:
    """The finaliser: every bit of the result depends on every bit of z, a uint64 or an array of them."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


mix = subroutine()(_mix)


@subroutine()
def mix_counters(seed, purpose, step, index):  # type: ignore[no-untyped-def]
    """64 random bits from four uint64 counters."""
    z = mix(seed + GOLDEN)
    z = mix(z + (purpose + np.uint64(1)) * GOLDEN)
    z = mix(z + (step + np.uint64(1)) * GOLDEN)
    return mix(z + (index + np.uint64(1)) * GOLDEN)


@subroutine()
def uniform(seed, purpose, step, index):  # type: ignore[no-untyped-def]
    """One number in [0, 1), a multiple of 2^-53, from four uint64 counters."""
    z = mix_counters(seed, purpose, step, index)
    return np.float64(z >> np.uint64(11)) * 2.0**-53


def normal(radius: Any, angle: Any) -> Any:
    """Normal numbers of mean 0 and variance 1 from two arrays of numbers in [0, 1) (Box & Muller 1958)."""
    return np.sqrt(-2.0 * np.log(1.0 - radius)) * np.cos(2.0 * np.pi * angle)


def fill_uniform(
    x: NDArray[np.floating], low: float, high: float, seed: np.uint64, purpose: np.uint64, step: np.uint64
) -> None:
    """Fill the flat array x with numbers in [low, high); in float32 one in 2^25 rounds to high.

    Element k is made from `uniform` of counter k.
    """
    with np.errstate(over="ignore"):
        z = _mix(seed + GOLDEN)
        for counter in (purpose, step):
            z = _mix(z + (counter + np.uint64(1)) * GOLDEN)
    for first in range(0, x.size, BLOCK):
        block = x[first : first + BLOCK]
        index = np.arange(first + 1, first + 1 + block.size, dtype=np.uint64)
        block[:] = low + (high - low) * ((_mix(z + index * GOLDEN) >> np.uint64(11)) * 2.0**-53)
