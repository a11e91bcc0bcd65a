"""Weights as int8: packing, products, and what a model with them says and samples."""

import numpy as np
import pytest
from networks import make
from oracle import log_softmax
from test_product import SHAPES, packed_rows

from charrnn.engine.int8 import CHUNK, LARGEST, SCALE_ROWS, pack_bytes
from charrnn.engine.panels import activations, panels_for, rows_of, zeros
from charrnn.engine.product import add_product, product
from charrnn.engine.simd import W
from charrnn.engine.tile import load_tiles
from charrnn.sampling.sampler import Sampler


@pytest.fixture(autouse=True)
def tiles():
    load_tiles("int8")


def quantised(w):
    """What the weights become: each column in steps of its largest number over 127, in float64."""
    scales = np.abs(w).max(axis=0).astype(np.float64) / 127
    return np.rint(w / np.where(scales > 0, scales, 1)) * scales


def rounded_rows(a):
    """What rows become: each part of CHUNK numbers in steps of its largest one over LARGEST, in float64."""
    parts = []
    for start in range(0, a.shape[1], CHUNK):
        part = a[:, start : start + CHUNK]
        peak = np.abs(part).max(axis=1, keepdims=True)
        steps = np.rint(part * (np.float32(LARGEST) / np.where(peak > 0, peak, np.float32(1))))
        parts.append(steps.astype(np.float64) * peak / LARGEST)
    return np.concatenate(parts, axis=1)


def packed_weights(w, gates=1, order=(0,)):
    panels = len(order) * panels_for(w.shape[1] // gates)
    out = zeros((panels, panels_for(w.shape[0]) * W + SCALE_ROWS, W), np.int8)
    pack_bytes(w, gates, np.array(order), out)
    return out


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize(("rows", "inner", "columns"), [*SHAPES, (5, 2 * CHUNK + 70, 70), (2, CHUNK, 33)])
def test_product(rows, inner, columns, tasks):
    rng = np.random.default_rng(0)
    a, w = rng.normal(size=(rows + 2, inner)).astype(np.float32), rng.normal(size=(inner, columns)).astype(np.float32)
    w[:, 0], a[2] = 0, 0
    bias = zeros((panels_for(columns) * W,), np.float32)
    bias[:columns] = rng.normal(size=columns)
    c, packed = activations(columns, rows, np.float32), packed_weights(w)
    product(packed_rows(a), 2, rows, packed, bias, c, tasks)
    dots = rounded_rows(a[2:]) @ quantised(w)
    np.testing.assert_allclose(rows_of(c, columns), dots + bias[:columns], atol=1e-6 * np.abs(dots).max() + 1e-6)
    add_product(packed_rows(a), 2, rows, packed, c, tasks)
    np.testing.assert_allclose(rows_of(c, columns), 2 * dots + bias[:columns], atol=2e-6 * np.abs(dots).max() + 2e-6)


@pytest.mark.parametrize("inner", [CHUNK, 3 * CHUNK])
def test_the_largest_numbers_do_not_overflow(inner):
    a, w = np.ones((1, inner), np.float32), np.ones((inner, 40), np.float32)
    w[:, 1::2] = -1
    c = activations(40, 1, np.float32)
    product(packed_rows(a), 0, 1, packed_weights(w), zeros((2 * W,), np.float32), c, 1)
    np.testing.assert_allclose(rows_of(c, 40), inner * w[:1], rtol=1e-6)


def test_what_is_no_number_stays_no_number():
    """A state that has broken is not hidden."""
    a = np.ones((2, 64), np.float32)
    a[0, 3], a[1, 40] = np.nan, np.inf
    c = activations(40, 2, np.float32)
    product(packed_rows(a), 0, 2, packed_weights(np.ones((64, 40), np.float32)), zeros((2 * W,), np.float32), c, 1)
    assert not np.isfinite(rows_of(c, 40)).any()


def test_a_row_has_the_same_bits_alone_and_among_others():
    rng = np.random.default_rng(3)
    a = packed_rows(rng.normal(size=(30, 200)).astype(np.float32))
    packed, none = packed_weights(rng.normal(size=(200, 100)).astype(np.float32)), zeros((128,), np.float32)
    whole, alone = activations(100, 30, np.float32), activations(100, 1, np.float32)
    product(a, 0, 30, packed, none, whole, 2)
    for row in (0, 17, 29):
        product(a, row, 1, packed, none, alone, 1)
        np.testing.assert_array_equal(rows_of(whole, 100)[row], rows_of(alone, 100)[0])


def test_gates_are_packed_in_order_each_column_with_its_scale():
    w = np.random.default_rng(2).normal(size=(33, 3 * 40)).astype(np.float32)
    packed = packed_weights(w, 3, (2, 0))
    rows = packed.shape[1] - SCALE_ROWS
    for slot, gate in enumerate((2, 0)):
        panels = packed[slot * 2 : slot * 2 + 2]
        numbers = panels[:, :rows].reshape(2, rows // 4, W, 4).transpose(1, 3, 0, 2).reshape(rows, 2 * W)
        scales = np.ascontiguousarray(panels[:, rows:]).view(np.float32).reshape(-1)
        plain = w[:, gate * 40 : gate * 40 + 40]
        assert np.abs(numbers).max() == 127
        np.testing.assert_allclose(scales[:40], np.abs(plain).max(axis=0) / 127, rtol=1e-6)
        assert (np.abs(numbers[:33, :40] * scales[:40] - plain) <= 0.501 * scales[:40]).all()
        assert not numbers[33:].any() and not numbers[:, 40:].any() and not scales[40:].any()


def test_the_loss_moves_by_little():
    losses = []
    for precision in ("float32", "int8"):
        m = make("lstm", np.float32, hidden=64, batch=4, steps=20, precision=precision)
        m.unrolled.forward(m.inputs)
        losses.append(m.unrolled.loss(m.targets))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.01)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("further", [{}, {"residual": True, "input_skips": True, "output_skips": True}])
def test_a_text_is_the_same_alone_and_among_others_and_follows_the_forward_pass(precision, further, threads):
    """The log-probabilities of what is drawn are those of a forward pass over the same text."""
    texts = []
    for count, tasks in ((1, 1), (5, 2)):
        threads(tasks)
        m = make("lstm", np.float32, hidden=70, symbols=30, precision=precision, **further)
        sampler = Sampler(m.network, count, seed=3)
        sampler.feed(np.array([1, 2, 3]))
        texts.append(sampler.take(40)[:, 0])
    np.testing.assert_array_equal(*texts)
    m = make("lstm", np.float32, hidden=70, symbols=30, batch=1, steps=42, precision=precision, **further)
    text = np.concatenate([[1, 2, 3], texts[0]]).astype(np.int32)
    m.unrolled.carried.reset()
    m.unrolled.forward(text[:-1, None])
    sampler = Sampler(m.network, 1, seed=3, wants_log_probs=True)
    sampler.feed(text[:3])
    assert (sampler.take(40)[:, 0] == texts[0]).all()
    log_probs = log_softmax(rows_of(m.unrolled.logits, 30)[2:])
    np.testing.assert_allclose(sampler.log_probs[:, 0], log_probs[np.arange(40), texts[0]], atol=2e-5)
