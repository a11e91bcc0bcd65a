"""Optimiser sweeps against the published formulas in NumPy float64; clipping; norms."""

import math

import numpy as np
import pytest
from test_orthogonal import by_definition

from charrnn.cell import State, cell, tanh
from charrnn.engine.optimisers import BLOCK
from charrnn.model.cells import CELLS
from charrnn.model.config import ModelConfig
from charrnn.model.network import symbol_axes
from charrnn.model.parameters import Parameters
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import Optimiser, rate_factors

SHAPES = {"a": (3, 5), "b": (7,), "c": (40, 900)}  # over one block of the sweep, not a multiple of it


def adam(p, g, memory, t, lr):
    m = memory.get("m", 0) * 0.9 + 0.1 * g
    v = memory.get("v", 0) * 0.999 + 0.001 * g**2
    memory.update(m=m, v=v)
    return p - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def rmsprop(p, g, memory, t, lr):
    v = memory.get("v", 0) * 0.95 + 0.05 * g**2
    memory.update(v=v)
    return p - lr * g / (np.sqrt(v) + 1e-8)


def adagrad(p, g, memory, t, lr):
    v = memory.get("v", 0) + g**2
    memory.update(v=v)
    return p - lr * g / (np.sqrt(v) + 1e-8)


def sgd(p, g, memory, t, lr):
    m = memory.get("m", 0) * 0.8 + g
    memory.update(m=m)
    return p - lr * m


def nesterov(p, g, memory, t, lr):
    """In the form of Sutskever et al. (2013): the gradient is taken where momentum alone would lead."""
    m = memory.get("m", 0) * 0.8 + g
    memory.update(m=m)
    return p - lr * (g + 0.8 * m)


def muon(p, g, memory, t, lr):
    """For a matrix of H x H gates; the rates of the test are lr for vectors and 3 lr for matrices."""
    m = memory.get("m", 0) * 0.8 + g
    memory.update(m=m)
    look_ahead = g + 0.8 * m
    height = p.shape[0]
    gates = [look_ahead[:, k : k + height] for k in range(0, p.shape[1], height)]
    return p - 3 * lr * np.hstack([by_definition(gate) for gate in gates])


def clip(g, norm, value):
    length = np.linalg.norm(g)
    if norm and length > norm:
        g = g * norm / length
    return np.clip(g, -value, value) if value else g


def fill(parameters, rng):
    for _, view in parameters.items():
        view[:] = rng.normal(size=view.shape)


def joined(parameters):
    """All numbers but the padding, in float64."""
    return np.concatenate([view.reshape(-1) for _, view in parameters.items()]).astype(float)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clipping", [(0.0, 0.0), (1.0, 0.0), (1e9, 0.0), (0.0, 0.5), (10.0, 0.05)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("formula", [adam, rmsprop, adagrad, sgd, nesterov])
def test_updates_follow_the_formula(formula, weight_decay, clipping, dtype):
    rng = np.random.default_rng(0)
    config = TrainConfig(
        optimiser="sgd" if formula is nesterov else formula.__name__,
        nesterov=formula is nesterov,
        momentum=0.8,
        weight_decay=weight_decay,
        clip_norm=clipping[0],
        clip_value=clipping[1],
    )
    p, g = Parameters(SHAPES, dtype), Parameters(SHAPES, dtype)
    fill(p, rng)
    optimiser, memory = Optimiser(config, p), {}
    want = joined(p)
    for t in range(1, 6):
        fill(g, rng)
        want = want * (1 - 0.01 * weight_decay)
        want = formula(want, clip(joined(g), *clipping), memory, t, 0.01)
        optimiser.update(p, g, optimiser.norm(g), lr=0.01)
        np.testing.assert_allclose(joined(p), want, atol=30 * np.finfo(dtype).eps)
    for name, moment in optimiser.moments.items():
        np.testing.assert_allclose(joined(moment), memory[name], atol=30 * np.finfo(dtype).eps)
    assert np.count_nonzero(p.flat) == p.count  # nothing but the padding is zero


@pytest.mark.parametrize("clipping", [(0.0, 0.0), (1.0, 0.0), (0.0, 0.5)])
def test_muon_moves_hidden_matrices_along_orthogonal_ones_and_the_rest_as_adam(clipping):
    shapes = {"layer0.W_x": (5, 40), "layer0.W_h": (40, 120), "b": (7,), "layer1.W_x": (40, 80), "W_y": (40, 5)}
    of_muon = {"layer0.W_h", "layer1.W_x"}
    config = TrainConfig(
        optimiser="muon", lr=0.01, matrix_lr=0.03, momentum=0.8, weight_decay=0.3,
        clip_norm=clipping[0], clip_value=clipping[1],
    )  # fmt: skip
    p, g = Parameters(shapes, np.float64), Parameters(shapes, np.float64)
    rng = np.random.default_rng(0)
    fill(p, rng)
    want, memories = {name: view.copy() for name, view in p.items()}, {name: {} for name in shapes}
    optimiser = Optimiser(config, p)
    for t in range(1, 4):
        fill(g, rng)
        norm = math.sqrt(sum((view**2).sum() for _, view in g.items()))
        scale = clipping[0] / norm if clipping[0] else 1.0
        optimiser.update(p, g, norm, lr=0.005)  # half way down the schedule
        for name, view in g.items():
            formula, rate = (muon, 0.015) if name in of_muon else (adam, 0.005)
            clipped = clip(view * scale, 0, clipping[1])
            want[name] = formula(want[name] * (1 - 0.3 * rate), clipped, memories[name], t, 0.005)
            np.testing.assert_allclose(p[name], want[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "rmsprop", "adagrad", "sgd"])
def test_a_parameter_with_a_factor_moves_and_decays_as_if_the_rate_were_multiplied(name):
    config, rng = TrainConfig(optimiser=name, weight_decay=0.3, clip_norm=1.0), np.random.default_rng(0)
    p, g = Parameters(SHAPES, np.float64), Parameters(SHAPES, np.float64)
    fill(p, rng)
    factors = {"a": 4.0, "c": 0.5}
    rates = {name: 0.01 * factors.get(name, 1.0) for name in SHAPES}
    alone = {rate: Parameters(SHAPES, np.float64) for rate in rates.values()}
    for parameters in alone.values():
        parameters.flat[:] = p.flat
    optimisers = {rate: Optimiser(config, parameters) for rate, parameters in alone.items()}
    optimiser = Optimiser(config, p, factors)
    for _ in range(3):
        fill(g, rng)
        optimiser.update(p, g, optimiser.norm(g), lr=0.01)
        for rate, parameters in alone.items():
            optimisers[rate].update(parameters, g, optimiser.norm(g), lr=rate)
    for array, view in p.items():
        np.testing.assert_array_equal(view, alone[rates[array]][array])


@pytest.mark.parametrize(
    ("model", "want"),
    [
        ({}, {"layer0.W_x": 4.0, "W_y": 3.0}),
        ({"embed": 5}, {"embed": 4.0, "layer0.W_x": 0.5, "W_y": 3.0}),
        ({"embed": 8, "tied": True}, {"embed": 4.0, "layer0.W_x": 0.5}),
        ({"input_skips": True}, {"layer0.W_x": 4.0, "layer1.W_skip": 4.0, "W_y": 3.0}),
        (
            {"input_skips": True, "output_skips": True, "embed": 5},
            {"embed": 4.0, "layer0.W_x": 0.5, "layer1.W_skip": 0.5, "layer0.W_y": 3.0, "W_y": 3.0},
        ),
    ],
)
def test_matrices_between_symbols_and_hidden_units_have_factors(model, want):
    config = ModelConfig(symbols=7, layers=2, hidden=8, **model)
    assert rate_factors(TrainConfig(input_rate=4.0, output_rate=3.0, projection_rate=0.5), config) == want


def test_the_name_of_a_unit_does_not_make_it_a_matrix_of_symbols(monkeypatch):
    @cell(gates="n", units="W_y")
    def own(a, s, p):
        return State(h=tanh(a.n) * p.W_y)

    monkeypatch.setitem(CELLS, "ugrnn", own)
    config = ModelConfig(symbols=7, cell="ugrnn", layers=1, hidden=8)
    assert set(symbol_axes(config)) == {"layer0.W_x", "W_y", "b_y"}


def test_muon_has_a_momentum_of_its_own_unless_told():
    assert [TrainConfig(optimiser=name).momentum for name in ("muon", "sgd")] == [0.95, 0.9]
    assert TrainConfig(optimiser="muon", momentum=0.5).momentum == 0.5


def test_the_betas_and_epsilon_asked_for_are_used():
    config = TrainConfig(optimiser="adamw", beta1=0.5, beta2=0.75, epsilon=0.1, weight_decay=0.0, clip_norm=0)
    p, g = Parameters({"a": (2,)}, np.float64), Parameters({"a": (2,)}, np.float64)
    g["a"][:] = [1.0, -4.0]
    Optimiser(config, p).update(p, g, 1.0, lr=1.0)
    np.testing.assert_allclose(p["a"], [-1 / 1.1, 4 / 4.1], rtol=1e-12)  # m and v without bias are g and g^2


def test_a_long_memory_of_squares_is_kept_in_float32():
    """1 - beta2 is computed in float64: the float32 nearest to this beta2 is 1."""
    p, g = Parameters({"a": (2,)}, np.float32), Parameters({"a": (2,)}, np.float32)
    g["a"][:] = [1.0, -4.0]
    Optimiser(TrainConfig(beta2=1 - 1e-8, clip_norm=0), p).update(p, g, 1.0, lr=0.01)
    np.testing.assert_allclose(p["a"], [-0.01, 0.01], rtol=1e-5)


def test_adamw_decays_weights_by_a_hundredth_of_the_rate_unless_told():
    assert [TrainConfig(optimiser=name).weight_decay for name in ("adamw", "adam", "sgd")] == [0.01, 0.0, 0.0]
    assert TrainConfig(optimiser="adamw", weight_decay=0.2).weight_decay == 0.2


@pytest.mark.parametrize("count", [1, 63, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_norm_is_euclidean_and_the_same_on_any_number_of_threads(count, threads):
    g = Parameters({"all": (count,)}, np.float32)
    g["all"][:] = np.random.default_rng(count).normal(size=count)
    norms = []
    for n in (1, 2):
        threads(n)
        norms.append(Optimiser(TrainConfig(), g).norm(g))
    assert norms[0] == norms[1]
    assert norms[0] == pytest.approx(math.sqrt(math.fsum(float(x) ** 2 for x in g["all"])), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_norm_of_a_gradient_that_is_not_finite_is_not_finite(bad):
    g = Parameters({"all": (1000,)}, np.float32)
    g["all"][777] = bad
    assert not math.isfinite(Optimiser(TrainConfig(), g).norm(g))
