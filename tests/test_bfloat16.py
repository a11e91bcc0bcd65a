"""Products in bfloat16: rounding, the tiles against NumPy in float64, and on tiles with their instructions written out.

The ways that this CPU does not take by itself run in processes of their own, `test_every_way_passes_these_tests`.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from processes import run_tests
from rounding import rounded, widened
from test_product import SHAPES, packed_rows
from thorough import first_of_all

from charrnn.engine import bfloat16
from charrnn.engine.panels import activations, panels_for, rows_of, zeros
from charrnn.engine.product import add_product, product, sum_over_rows
from charrnn.engine.rounded import (
    pack_rounded,
    pack_transposed_rounded,
    pair_rows,
    round_rows,
    turn_rows,
)
from charrnn.engine.simd import W
from charrnn.engine.tile import load_tiles

TOLERANCE = 1e-5  # of the largest number
INSIDE = "CHARRNN_TEST_INSIDE"  # set in the processes that run one way


@pytest.fixture(autouse=True)
def tiles():
    load_tiles("bfloat16")
    if INSIDE in os.environ:
        assert bfloat16.way() == os.environ["CHARRNN_BFLOAT16"]


def rounded_rows(a):
    packed = packed_rows(a)
    low = zeros(packed.shape, np.uint16)
    round_rows(packed, 0, len(a), low, 0)
    return low


def nearest(x):
    """What the nearest bfloat16 numbers are, in float64."""
    return widened(rounded(x)).astype(np.float64)


def packed_weights(w, gates=1, order=(0,)):
    hidden = w.shape[1] // gates
    out = zeros((len(order) * panels_for(hidden), panels_for(w.shape[0]) * W, W), np.uint16)
    pack_rounded(w, gates, np.array(order), out)
    return out


def assert_close(got, want):
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


def test_numbers_are_rounded_to_nearest_and_ties_to_even():
    exact = np.array([1.0, -0.75, 0.0, 1 + 2**-7, 2.0**127, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(widened(rounded(exact)), exact)
    one_up = np.float32(1 + 2**-7)
    halfway = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 1 + 2**-8 - 2**-20], np.float32)
    np.testing.assert_array_equal(widened(rounded(halfway)), [1, 1 + 2**-6, one_up, 1])


def test_kernels_round_as_numpy_does():
    bits = np.random.default_rng(0).integers(0, 2**32, 64 * W * 3, dtype=np.uint32)
    special = [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF]
    bits[: len(special)] = special
    x = bits.view(np.float32).reshape(-1, 3 * W)
    np.testing.assert_array_equal(rows_of(rounded_rows(x), 3 * W), rounded(x))
    assert np.isnan(widened(rounded(x)))[np.isnan(x)].all()


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize(("rows", "inner", "columns"), [*SHAPES, (50, 512, 70), (33, 300, 33)])
def test_product(rows, inner, columns, tasks):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(rows + 2, inner)).astype(np.float32)
    w = rng.normal(size=(inner, columns)).astype(np.float32)
    bias = zeros((panels_for(columns) * W,), np.float32)
    bias[:columns] = rng.normal(size=columns)
    c = activations(columns, rows, np.float32)
    low, packed = rounded_rows(a), packed_weights(w)
    product(low, 2, rows, packed, bias, c, tasks)
    dots = nearest(a)[2:] @ nearest(w)
    assert_close(rows_of(c, columns), dots + bias[:columns])
    add_product(low, 2, rows, packed, c, tasks)
    assert_close(rows_of(c, columns), 2 * dots + bias[:columns])


@pytest.mark.parametrize("rows", [1, 2, 16, 17, 50])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(rows):
    rng = np.random.default_rng(3)
    a = rng.normal(size=(50, 200)).astype(np.float32)
    packed, none = packed_weights(rng.normal(size=(200, 100)).astype(np.float32)), zeros((128,), np.float32)
    low, whole, part = rounded_rows(a), activations(100, 50, np.float32), activations(100, 50, np.float32)
    product(low, 0, 50, packed, none, whole, 2)
    product(low, 50 - rows, rows, packed, none, part, 1)
    np.testing.assert_array_equal(rows_of(whole, 100)[50 - rows :], rows_of(part, 100)[:rows])


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize(("rows", "inner", "columns"), [*SHAPES, (600, 40, 70), (1100, 33, 33)])
def test_sum_over_rows(rows, inner, columns, tasks):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(rows + 3, inner)).astype(np.float32)
    d = rng.normal(size=(rows, columns)).astype(np.float32)
    whole = -(-rows // W) * W
    turned = zeros((whole // W, panels_for(inner) * W, W), np.uint16) + np.uint16(0x7FC0)  # what is left over is NaN
    paired = zeros((panels_for(columns), whole, W), np.uint16) + np.uint16(0x7FC0)
    turn_rows(rounded_rows(a), 3, rows, turned)
    pair_rows(rounded_rows(d), rows, paired)
    dw = zeros((panels_for(columns), panels_for(inner) * W, W), np.float32)
    sum_over_rows(turned, paired, rows, zeros((W,), np.float32), dw, tasks)
    assert_close(dw.transpose(1, 0, 2).reshape(dw.shape[1], -1)[:inner, :columns], nearest(a)[3:].T @ nearest(d))


@pytest.mark.parametrize(("inner", "hidden"), [(1, 1), (5, 40), (64, 64), (33, 70)])
def test_weights_are_packed_both_ways(inner, hidden):
    w = np.random.default_rng(2).normal(size=(inner, 3 * hidden)).astype(np.float32)
    order = np.array([2, 0])
    forwards = packed_weights(w, 3, order)
    stride = panels_for(hidden) * W
    backwards = zeros((panels_for(inner), 2 * stride, W), np.uint16)
    pack_transposed_rounded(w, 3, order, backwards)
    gates = [rounded(w[:, gate * hidden : (gate + 1) * hidden]) for gate in order]
    for slot, gate in enumerate(gates):
        panels = panels_for(hidden)
        plain = plain_weights(forwards[slot * panels : (slot + 1) * panels])
        np.testing.assert_array_equal(plain[:inner, :hidden], gate)
        assert not plain[inner:].any() and not plain[:, hidden:].any()
        turned = plain_weights(backwards)[slot * stride : (slot + 1) * stride]
        np.testing.assert_array_equal(turned[:hidden, :inner], gate.T)
        assert not turned[hidden:].any() and not turned[:, inner:].any()


def plain_weights(packed):
    """[N / W, K, W] in pairs as a plain (K, N) array."""
    panels, k, _ = packed.shape
    return packed.reshape(panels, k // 2, W, 2).transpose(1, 3, 0, 2).reshape(k, panels * W)


def test_infinities_and_nan_pass_through():
    a, w = np.ones((2, 64), np.float32), np.ones((64, 40), np.float32)
    a[0, 3], a[1, 7] = np.inf, np.nan
    c = activations(40, 2, np.float32)
    product(rounded_rows(a), 0, 2, packed_weights(w), zeros((64,), np.float32), c, 1)
    got = rows_of(c, 40)
    assert np.isposinf(got[0]).all() and np.isnan(got[1]).all()


@pytest.mark.skipif(INSIDE in os.environ, reason="this is one of the processes")
@pytest.mark.parametrize("way", first_of_all(["amx-emulated", "emulated", "amx", "avx512"], "amx-emulated", "emulated"))
def test_every_way_passes_these_tests(way):
    if way == bfloat16.way():
        pytest.skip("this process has run them this way")
    variables = {"CHARRNN_BFLOAT16": way, INSIDE: "1"}
    if way in ("amx", "avx512"):
        question = [sys.executable, "-c", "from charrnn.engine import bfloat16; bfloat16.way()"]
        if subprocess.run(question, env=os.environ | variables, capture_output=True, check=False).returncode:
            pytest.skip(f"this CPU has no {way}")
    run_tests(__file__, **variables)


def test_the_setting_is_obeyed():
    code = (
        "from charrnn.engine import bfloat16, tile_code as t; print(bfloat16.way(), t.BFLOAT16_TILE_ROWS < t.TILE_ROWS)"
    )
    environment = os.environ | {"CHARRNN_BFLOAT16": "emulated"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["emulated", "True"]
