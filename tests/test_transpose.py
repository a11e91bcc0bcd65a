"""Transposing a block in vector registers, against NumPy."""

import numba
import numpy as np
import pytest

from charrnn.engine.simd import W
from charrnn.engine.transpose import transpose_block


@numba.njit
def transpose(x, x_at, x_stride, out, out_at, out_stride):
    transpose_block(x, x_at, x_stride, out, out_at, out_stride)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_a_block_is_transposed_and_nothing_else_is_written(dtype):
    x = np.random.default_rng(0).integers(1, 60_000, (W + 3, W + 9)).astype(dtype)
    out = np.zeros((W + 2, W + 5), dtype)
    transpose(x, 2 * x.shape[1] + 7, x.shape[1], out, out.shape[1] + 3, out.shape[1])
    want = np.zeros_like(out)
    want[1 : W + 1, 3 : W + 3] = x[2 : W + 2, 7 : W + 7].T
    np.testing.assert_array_equal(out, want)
