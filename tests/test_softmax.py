"""Softmax, cross-entropy and their gradient."""

import numpy as np
import pytest

from charrnn.engine.panels import activations, rows_of
from charrnn.engine.softmax import cross_entropy


def logits_of(plain, dtype):
    packed = activations(plain.shape[1], plain.shape[0], dtype)
    packed[:] = -np.inf
    for r, row in enumerate(plain):
        for v, z in enumerate(row):
            packed[v // 32, r, v % 32] = z
    return packed


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("symbols", [1, 2, 31, 32, 33, 65, 5371])
def test_loss_and_gradient(symbols, dtype):
    rng = np.random.default_rng(symbols)
    z = rng.normal(0, 5, (7, symbols)).astype(dtype)
    targets = rng.integers(0, symbols, 7).astype(np.int32)
    packed, losses = logits_of(z, dtype), np.zeros(7, dtype)
    cross_entropy(packed, targets, losses, 0, 0.25, 0.0, symbols, 2)
    p = softmax(z.astype(np.longdouble))
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(losses, -np.log(p[np.arange(7), targets]), rtol=tolerance, atol=tolerance)
    p[np.arange(7), targets] -= 1
    np.testing.assert_allclose(rows_of(packed, symbols), 0.25 * p, atol=tolerance)
    assert not rows_of(packed, packed.shape[0] * 32)[:, symbols:].any()


def test_extreme_logits_neither_overflow_nor_lose_the_loss():
    z = np.array([[1e4, -1e4, 0], [-1e4, -1e4 + 1, -1e4]], np.float32)
    packed, losses = logits_of(z, np.float32), np.zeros(2, np.float32)
    cross_entropy(packed, np.array([1, 1], np.int32), losses, 0, 1.0, 0.0, 3, 1)
    np.testing.assert_allclose(losses, [2e4, np.log(1 + 2 * np.exp(-1))], rtol=1e-6)


@pytest.mark.parametrize("place", [0, 40, 64])
def test_nan_in_a_row_makes_its_loss_nan_and_no_other(place):
    z = np.zeros((2, 65), np.float32)
    z[1, place] = np.nan
    packed, losses = logits_of(z, np.float32), np.zeros(2, np.float32)
    cross_entropy(packed, np.zeros(2, np.int32), losses, 0, 1.0, 0.0, 65, 1)
    assert losses[0] == pytest.approx(np.log(65))
    assert np.isnan(losses[1])
