"""Elementary functions on vectors: within a few units in the last place over the whole range."""

import numpy as np
import pytest
from numba import njit

from charrnn.engine.pointwise import pointwise
from charrnn.engine.simd import Vector, clip, exp, maximum, positive, sigmoid, sqrt, tanh, where

ULPS = 4
exp_kernel, tanh_kernel, sigmoid_kernel, sqrt_kernel = (pointwise(f) for f in (exp, tanh, sigmoid, sqrt))


def _operators(x: Vector, y: Vector, *, k: Vector):
    total = 2.0 * x + y - k
    return total, 1.0 / (x * x + 1.0), 3.0 - x / 4.0, -x, where(positive(x), y, 0.0), clip(maximum(x, y), -1.0, 1.0)


operators_kernel = pointwise(_operators)


@njit
def run_exp(x, out):
    exp_kernel((x, out), (0, 0), (), x.size)


@njit
def run_tanh(x, out):
    tanh_kernel((x, out), (0, 0), (), x.size)


@njit
def run_sigmoid(x, out):
    sigmoid_kernel((x, out), (0, 0), (), x.size)


@njit
def run_sqrt(x, out):
    sqrt_kernel((x, out), (0, 0), (), x.size)


@njit
def run_operators(x, y, outs, k):
    operators_kernel((x, y, outs[0], outs[1], outs[2], outs[3], outs[4], outs[5]), (0,) * 8, (k,), x.size)


def exact_sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


FUNCTIONS = {"exp": (run_exp, np.exp), "tanh": (run_tanh, np.tanh), "sigmoid": (run_sigmoid, exact_sigmoid)}
BOUNDS = {np.float32: (-86.9, 88.7), np.float64: (-707.9, 709.7)}  # where exp is twice the least normal number or more


def arguments(dtype):
    low, high = BOUNDS[dtype]
    small = np.concatenate([s * np.geomspace(1e-30, 1, 20_000) for s in (-1, 1)])
    wide = np.linspace(low, high, 200_000)
    middle = np.linspace(-12, 12, 100_000)
    x = np.concatenate([small, wide, middle]).astype(dtype)
    return x[: x.size // 64 * 64]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_within_a_few_units_in_the_last_place(name, dtype):
    run, exact = FUNCTIONS[name]
    x = arguments(dtype)
    out = np.empty_like(x)
    run(x, out)
    want = exact(x.astype(np.longdouble))
    errors = np.abs(out.astype(np.longdouble) - want) / np.spacing(np.abs(want).astype(dtype))
    assert errors.max() < ULPS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_and_nan(dtype):
    x = np.tile(
        np.array([np.inf, -np.inf, np.nan, 0.0, 1e30, -1e30, np.finfo(dtype).max, np.finfo(dtype).min], dtype), 8
    )
    expected = {
        "exp": [np.inf, 0, np.nan, 1, np.inf, 0, np.inf, 0],
        "tanh": [1, -1, np.nan, 0, 1, -1, 1, -1],
        "sigmoid": [1, 0, np.nan, 0.5, 1, 0, 1, 0],
    }
    for name, (run, _) in FUNCTIONS.items():
        out = np.empty_like(x)
        run(x, out)
        np.testing.assert_array_equal(out[:8], np.array(expected[name], dtype), name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operators_are_those_of_numpy(dtype):
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 3, (2, 640)).astype(dtype)
    x[3], y[5] = np.nan, np.nan
    outs = np.empty((6, 640), dtype)
    run_operators(x, y, tuple(outs), 0.5)
    tolerance = 4 * np.finfo(dtype).eps
    expected = (2 * x + y - 0.5, 1 / (x * x + 1), 3 - x / 4, -x, np.where(x <= 0, 0, y))
    for out, want in zip(outs, expected, strict=False):
        np.testing.assert_allclose(out, want, rtol=tolerance, atol=20 * tolerance)
    known = ~np.isnan(y)
    np.testing.assert_array_equal(outs[5][known], np.clip(np.maximum(x, y), -1, 1)[known])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_square_root_is_correctly_rounded(dtype):
    x = np.random.default_rng(1).exponential(1, 6400).astype(dtype)
    out = np.empty_like(x)
    run_sqrt(x, out)
    np.testing.assert_array_equal(out, np.sqrt(x))
