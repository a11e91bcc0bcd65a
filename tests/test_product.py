"""Packing and the matrix products on panels against NumPy in float64."""

import numpy as np
import pytest

from charrnn.engine import panels
from charrnn.engine.panels import activations, pack, pack_transposed, panels_for, rows_of, set_rows, unpack, zeros
from charrnn.engine.product import (
    GRADIENT_ROWS,
    GRADIENT_VISIT,
    LARGE_WEIGHTS,
    column_sums,
    gradient_product,
    product,
)
from charrnn.engine.simd import W

DTYPES = [np.float32, np.float64]
SHAPES = [
    (1, 1, 1),
    (1, 70, 200),
    (1, 33, 1),
    (2, 5, 3),
    (13, 32, 32),
    (14, 31, 65),
    (15, 33, 64),
    (29, 200, 40),
    (130, 129, 97),
]


def tolerance(dtype, terms):
    return 4 * np.finfo(dtype).eps * terms


def packed_weights(w, gates=1, order=(0,)):
    hidden = w.shape[1] // gates
    out = zeros((len(order) * panels_for(hidden), panels_for(w.shape[0]) * W, W), w.dtype)
    pack(w, gates, np.array(order), out)
    return out


def packed_rows(a):
    out = activations(a.shape[1], a.shape[0], a.dtype)
    set_rows(out, a)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize(("rows", "inner", "columns"), [*SHAPES, (70, 1500, 1500)])
def test_product(rows, inner, columns, tasks, dtype):
    rng = np.random.default_rng(0)
    a, w = rng.normal(size=(rows + 2, inner)).astype(dtype), rng.normal(size=(inner, columns)).astype(dtype)
    bias = zeros((panels_for(columns) * W,), dtype)
    bias[:columns] = rng.normal(size=columns)
    c = activations(columns, rows, dtype)
    product(packed_rows(a), 2, rows, packed_weights(w), bias, c, tasks)
    want = a[2:].astype(float) @ w.astype(float) + bias[:columns]
    np.testing.assert_allclose(rows_of(c, columns), want, atol=tolerance(dtype, inner), rtol=tolerance(dtype, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize(("rows", "inner", "columns"), [*SHAPES, (300, 40, 70), (4100, 40, 33)])
def test_gradient_product(rows, inner, columns, tasks, dtype):
    rng = np.random.default_rng(1)
    a, d = rng.normal(size=(rows + 3, inner)).astype(dtype), rng.normal(size=(rows, columns)).astype(dtype)
    dw = zeros((panels_for(columns), panels_for(inner) * W, W), dtype) + 7  # old content must not matter
    gradient_product(packed_rows(a), 3, packed_rows(d), rows, zeros((W,), dtype), dw, tasks)
    got = np.empty((inner, columns), dtype)
    unpack(dw, 1, np.array([0]), got)
    want = a[3:].astype(float).T @ d.astype(float)
    np.testing.assert_allclose(got, want, atol=tolerance(dtype, 4 * rows))


def test_the_largest_shapes_reach_every_branch():
    assert LARGE_WEIGHTS < 1500 * 1500 * 4
    assert max(GRADIENT_VISIT, GRADIENT_ROWS) < 4100


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (17, 40), (200, 96)])
def test_column_sums(rows, columns, dtype):
    d = np.random.default_rng(2).normal(size=(rows, columns)).astype(dtype)
    sums = zeros((panels_for(columns) * W,), dtype) + 7  # old content must not matter
    column_sums(packed_rows(d), rows, sums, 2)
    np.testing.assert_allclose(sums[:columns], d.astype(float).sum(0), atol=tolerance(dtype, rows))


@pytest.mark.parametrize(("gates", "order"), [(1, (0,)), (4, (0, 1, 2, 3)), (3, (2, 0, 1)), (3, (0, 1)), (3, (2,))])
@pytest.mark.parametrize("hidden", [1, 31, 32, 33, 70])
def test_packing_puts_every_gate_in_its_slot(gates, order, hidden):
    w = np.random.default_rng(3).normal(size=(hidden + 5, gates * hidden))
    wanted = np.concatenate([w[:, g * hidden : (g + 1) * hidden] for g in order], axis=1)
    packed = packed_weights(w, gates, order)
    per_slot = panels_for(hidden)
    for slot, gate in enumerate(order):
        got = rows_of(packed[slot * per_slot : (slot + 1) * per_slot, : hidden + 5], hidden)
        np.testing.assert_array_equal(got, w[:, gate * hidden : (gate + 1) * hidden])
    assert not packed[:, hidden + 5 :].any()
    back = np.zeros_like(w)
    unpack(packed, gates, np.array(order), back)
    for gate in order:
        columns = slice(gate * hidden, (gate + 1) * hidden)
        np.testing.assert_array_equal(back[:, columns], w[:, columns])
    transposed = zeros((panels_for(hidden + 5), len(order) * per_slot * W, W), np.float64)
    pack_transposed(w, gates, np.array(order), transposed)
    plain = rows_of(transposed, hidden + 5).reshape(len(order), per_slot * W, hidden + 5)
    np.testing.assert_array_equal(plain[:, :hidden].reshape(-1, hidden + 5), wanted.T)
    assert not plain[:, hidden:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_begin_on_a_cache_line(dtype):
    assert all(zeros((n,), dtype).ctypes.data % panels.CACHE_LINE == 0 for n in range(1, 40))
