"""Subnormal numbers are flushed inside the kernels, and nowhere else."""

import numpy as np
import pytest
from numba import njit

from charrnn.engine.subnormals import X86, flush_subnormals, restore_mode


@njit
def halved(x, flush):
    mode = flush_subnormals() if flush else 0
    for k in range(x.size):
        x[k] *= 0.5
    if flush:
        restore_mode(mode)


@pytest.mark.skipif(not X86, reason="only x86 has this mode")
def test_flushing_begins_and_ends_with_the_kernel():
    tiny = np.finfo(np.float32).tiny
    for flush, expected in ((False, tiny / 2), (True, 0), (False, tiny / 2)):
        x = np.full(64, tiny, np.float32)
        halved(x, flush)
        assert set(x.tolist()) == {float(expected)}
    assert np.float32(tiny) * np.float32(0.5) > 0  # NumPy's arithmetic is as before


def test_normal_numbers_are_not_changed():
    x = np.random.default_rng(0).normal(size=640).astype(np.float32)
    want = x * np.float32(0.5)
    halved(x, True)
    assert np.array_equal(x, want)
