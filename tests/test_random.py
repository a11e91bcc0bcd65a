"""Random numbers from counters."""

import numpy as np
import pytest
from numba import njit

from charrnn.engine.random import BLOCK, PURPOSES, fill_uniform, uniform

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def exact_uniform(seed, *counters):
    z = mix((seed + GOLDEN) & MASK)
    for counter in counters:
        z = mix((z + (counter + 1) * GOLDEN) & MASK)
    return (z >> 11) / 2**53


@pytest.mark.parametrize("counters", [(0, 0, 0, 0), (1, 2, 3, 4), (2**64 - 1, 7, 2**40, 5), (42, 1, 0, 99)])
def test_uniform_is_splitmix_of_its_counters(counters):
    @njit
    def draw(seed, purpose, step, index):
        return uniform(seed, purpose, step, index)

    assert draw(*map(np.uint64, counters)) == exact_uniform(*counters)


def test_splitmix_gives_its_published_first_output():
    """The first output of SplitMix64 with seed 0 is the mixed golden ratio."""
    assert mix(GOLDEN) == 0xE220A8397B1DCDAF


def test_numbers_in_bulk_are_those_of_their_counters():
    counters = (np.uint64(2**64 - 3), PURPOSES["reset"], np.uint64(2**63))
    x = np.empty(BLOCK + 9)
    fill_uniform(x, -0.5, 2.0, *counters)
    for k in (0, 1, BLOCK - 1, BLOCK, BLOCK + 8):
        assert x[k] == -0.5 + 2.5 * exact_uniform(*map(int, counters), k)


def test_numbers_are_uniform_and_purposes_and_steps_independent():
    n = 200_000
    drawn = []
    for purpose, step in (("initialise", 0), ("initialise", 1), ("sample", 0)):
        x = np.empty(n)
        fill_uniform(x, 0.0, 1.0, np.uint64(5), PURPOSES[purpose], np.uint64(step))
        counts = np.histogram(x, 100, (0, 1))[0]
        chi_square = ((counts - n / 100) ** 2 / (n / 100)).sum()
        assert 50 < chi_square < 165  # 99 degrees of freedom: outside with probability 1e-5
        assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 5 / np.sqrt(n)
        drawn.append(x)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(drawn[one], drawn[two])[0, 1]) < 5 / np.sqrt(n)
