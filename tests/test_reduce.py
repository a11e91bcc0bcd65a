"""Sums: against exact ones, and in an order that neither the width of the vectors nor the CPU changes."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import KINDS, make
from test_int8 import packed_weights
from test_product import packed_rows
from thorough import first_of_all

from charrnn.engine.kernel import kernel
from charrnn.engine.optimisers import BLOCK, sums_of_squares
from charrnn.engine.panels import activations, zeros
from charrnn.engine.product import product
from charrnn.engine.reduce import inner_product, row_dot, row_maximum, row_sum, sum_of_chosen, total
from charrnn.engine.tile import load_tiles
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import Optimiser


@kernel()
def all_of(a, b, r, found):
    found[0], found[1], found[2] = row_maximum(a, r), row_sum(a, r), row_dot(a, b, r)
    found[3], found[4] = total(a), inner_product(a, b)


def numbers(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("panels", [1, 2, 7])
def test_sums_and_products_are_those_of_all_numbers(dtype, panels):
    a, b = numbers((panels, 3, 32), dtype), numbers((panels, 3, 32), dtype, seed=1)
    found = np.zeros(5, dtype)
    all_of(a, b, 2, found)
    row, other = a[:, 2].astype(float), b[:, 2].astype(float)
    exact = [row.max(), math.fsum(row.ravel()), math.fsum((row * other).ravel())]
    exact += [math.fsum(a.astype(float).ravel()), math.fsum((a.astype(float) * b).ravel())]
    np.testing.assert_allclose(found, exact, rtol=0, atol=20 * np.finfo(dtype).eps * np.sqrt(a.size))


@kernel()
def chosen(weights, order, count, least, found):
    found[0] = sum_of_chosen(weights[:count], order[:count], least)


@pytest.mark.parametrize(("dtype", "integers"), [(np.float32, np.int32), (np.float64, np.int64)])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 95])
def test_only_chosen_numbers_are_summed(dtype, integers, count):
    weights, found = numbers(96, dtype), np.zeros(1)
    order = np.random.default_rng(2).integers(-50, 50, 96).astype(integers)
    for least in (-60, 0, 60):
        chosen(weights, order, count, least, found)
        exact = math.fsum(weights[:count][order[:count] >= least].astype(float))
        assert found[0] == pytest.approx(exact, rel=1e-14, abs=1e-14)


def digest():
    """A hash of sums over many numbers, and of a product with weights as int8."""
    a, b, found = numbers((9, 3, 32)), numbers((9, 3, 32), seed=1), np.zeros(5, np.float32)
    all_of(a, b, 1, found)
    squares = np.zeros(3)
    sums_of_squares(numbers((2 * BLOCK + 64,)), squares)
    load_tiles("int8")
    product_of_int8 = activations(70, 5, np.float32)
    rows, weights = packed_rows(numbers((5, 100))), packed_weights(numbers((100, 70)))
    product(rows, 0, 5, weights, zeros((96,), np.float32), product_of_int8, 1)
    return hashlib.sha256(found.tobytes() + squares.tobytes() + product_of_int8.tobytes()).hexdigest()


def trained_digest(kind):
    """A hash of a model's parameters after some updates with clipping."""
    m = make(kind, np.float32, hidden=70, symbols=90, batch=5, steps=9)
    optimiser = Optimiser(TrainConfig(clip_norm=0.1), m.network.parameters)
    for _ in range(4):
        m.unrolled.carried.set(m.state)
        m.unrolled.forward(m.inputs)
        m.unrolled.loss(m.targets)
        m.unrolled.backward()
        norm = optimiser.norm(m.network.gradients)
        optimiser.update(m.network.parameters, m.network.gradients, norm, 0.01)
        m.network.pack()
    return hashlib.sha256(m.network.parameters.flat.tobytes()).hexdigest()


def with_narrow_vectors(call):
    """What a function of this file returns in a process whose vectors have 128 bits."""
    code = f"import conftest, test_reduce; print(test_reduce.{call})"
    environment = os.environ | {"CHARRNN_VECTOR_BITS": "128"}
    command = [sys.executable, "-c", code]
    here = Path(__file__).parent
    return subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, check=True).stdout.strip()


def test_sums_have_the_same_bits_with_vectors_of_any_width():
    assert with_narrow_vectors("digest()") == digest()


@pytest.mark.parametrize("kind", first_of_all(KINDS))
def test_training_has_the_same_bits_with_vectors_of_any_width(kind):
    assert with_narrow_vectors(f"trained_digest({kind!r})") == trained_digest(kind)
