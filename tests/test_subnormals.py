"""Subnormal numbers are flushed inside the kernels, and nowhere else."""

import numpy as np
import pytest
from numba import njit

from charrnn.engine.optimisers import move_along
from charrnn.engine.product import product
from charrnn.engine.simd import ON_ARM, ON_X86, W
from charrnn.engine.subnormals import flush_subnormals, restore_mode


@njit
def halved(x, flush):
    mode = flush_subnormals() if flush else 0
    for k in range(x.size):
        x[k] *= 0.5
    if flush:
        restore_mode(mode)


@pytest.mark.skipif(not (ON_X86 or ON_ARM), reason="only x86 and 64-bit ARM have this mode")
def test_flushing_begins_and_ends_with_the_kernel():
    tiny = np.finfo(np.float32).tiny
    for flush, expected in ((False, tiny / 2), (True, 0), (False, tiny / 2)):
        x = np.full(64, tiny, np.float32)
        halved(x, flush)
        assert set(x.tolist()) == {float(expected)}
    assert np.float32(tiny) * np.float32(0.5) > 0  # NumPy's arithmetic is as before


@pytest.mark.skipif(not (ON_X86 or ON_ARM), reason="only x86 and 64-bit ARM have this mode")
def test_optimisers_and_products_count_subnormal_numbers_as_zero():
    small = np.float32(1.5) * np.finfo(np.float32).tiny
    p, direction = np.full(64, small), np.zeros(64, np.float32)
    move_along((p, direction), (p,), (0.5, 1.0))
    assert not p.any()
    a, c, w = np.full((1, 8, W), small), np.ones((1, 8, W), np.float32), np.eye(W, dtype=np.float32)[None] / 2
    product(a, 0, 8, w, np.zeros(W, np.float32), c, 2)
    assert not c.any()


def test_normal_numbers_are_not_changed():
    x = np.random.default_rng(0).normal(size=640).astype(np.float32)
    want = x * np.float32(0.5)
    halved(x, True)
    assert np.array_equal(x, want)
