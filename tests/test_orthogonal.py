"""The nearest orthogonal matrices against NumPy in float64, and by what they promise of singular values."""

import numpy as np
import pytest

from charrnn.engine.orthogonal import COEFFICIENTS, orthogonalise
from charrnn.engine.panels import pack, panels_for, unpack, zeros
from charrnn.engine.simd import W


def through_engine(w, tasks):
    """The orthogonal matrices near the square matrices side by side in w."""
    height, gates = w.shape[0], w.shape[1] // w.shape[0]
    panels, order = panels_for(height), np.arange(gates)
    x, *scratch = (zeros((gates * panels, panels * W, W), w.dtype) for _ in range(4))
    pack(w, gates, order, x)
    result = orthogonalise(x, gates, zeros((W,), w.dtype), tuple(scratch), tasks)
    out = np.empty_like(w)
    unpack(result, gates, order, out)
    return out


def by_definition(matrix):
    """The three polynomials applied to the singular values."""
    u, s, vt = np.linalg.svd(matrix)
    s = s / (s**4).sum() ** 0.25
    for a, b, c in COEFFICIENTS:
        s = a * s + b * s**3 + c * s**5
    return u * s @ vt


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("height, gates", [(1, 1), (7, 3), (32, 1), (33, 4), (100, 2)])
def test_singular_values_are_mapped_and_singular_vectors_kept(height, gates, dtype, bound):
    w = np.random.default_rng(height).normal(size=(height, gates * height)).astype(dtype)
    found = through_engine(w.copy(), tasks=2)
    for gate in range(gates):
        columns = slice(gate * height, (gate + 1) * height)
        np.testing.assert_allclose(found[:, columns], by_definition(w[:, columns].astype(float)), atol=bound)


def test_the_polynomials_bring_singular_values_near_1():
    s = np.geomspace(0.01, 1, 10_001)
    for a, b, c in COEFFICIENTS:
        s = a * s + b * s**3 + c * s**5
    assert 0.729 < s.min() < 0.731
    assert 1.269 < s.max() < 1.271


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_the_size_of_the_matrix_does_not_matter(scale):
    w = np.random.default_rng(1).normal(size=(40, 40)).astype(np.float32)
    np.testing.assert_allclose(through_engine(w * np.float32(scale), 1), through_engine(w.copy(), 1), atol=1e-5)


def test_zeros_stay_zeros():
    assert not through_engine(np.zeros((40, 80), np.float32), 1).any()


def test_the_same_bits_on_any_number_of_threads(threads):
    w = np.random.default_rng(2).normal(size=(100, 300)).astype(np.float32)
    found = []
    for count in (1, 2):
        threads(count)
        found.append(through_engine(w.copy(), count))
    assert found[0].tobytes() == found[1].tobytes()
