"""`charrnn gradcheck`: passes for every kind of model, and fails when one term of one equation is wrong."""

import json

import numpy as np
import pytest
import typer
from networks import FURTHER, KINDS, failures
from thorough import first_of_all

from charrnn.cli.app import app
from charrnn.engine.expressions import RULES
from charrnn.errors import ConfigError
from charrnn.gradcheck import GradientCheck, random_network, random_state
from charrnn.model.config import ModelConfig
from charrnn.model.layer import _programs
from charrnn.model.programs import Programs
from charrnn.training.config import TrainConfig

SLIPS = {  # a cell in which a slip shows, what derives backward passes, and what the slip makes of it
    "tanh": ("lstm", {"tanh": lambda y, d: (d * (1.0 - y),)}),
    "sigmoid": ("gru", {"sigmoid": lambda y, d: (d * (1.0 - y),)}),
    "a factor": ("lstm", {"multiply": lambda y, d: (d * y.arguments[1], d)}),
    "a sign": ("gru-before", {"subtract": lambda y, d: (d, d)}),
    "a quotient": ("minlstm", {"divide": lambda y, d: (d / y.arguments[1], d * y / y.arguments[1])}),
    "relu": ("relu", {"relu": lambda y, d: (d,)}),
}


def check_of(model, batch=3, steps=5, **clipping):
    network = random_network(model, seed=1)
    symbols = np.random.default_rng(0).integers(0, model.symbols, (steps + 1, batch))
    settings = TrainConfig(**({"clip_norm": 0.0} | clipping))
    return GradientCheck(network, symbols[:-1], symbols[1:], random_state(network, batch, 2), settings)


def check(model, **settings):
    return check_of(model, **settings).run()


SIZES = [(1, 5, 0, 1), (2, 7, 3, 6), (3, 4, 0, 3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "hidden", "embed", "steps"), first_of_all(SIZES, (2, 7, 3, 6)))
def test_every_block_of_every_cell_passes(kind, layers, hidden, embed, steps):
    model = ModelConfig(6, layers=layers, hidden=hidden, embed=embed, **KINDS[kind])
    assert failures(check_of(model, steps=steps)) == []


@pytest.mark.parametrize(
    "clipping", [{"clip_norm": 0.01}, {"clip_value": 0.001}, {"clip_norm": 0.1, "clip_value": 0.01}]
)
def test_clipping_is_checked_too(clipping):
    results = check(ModelConfig(6, hidden=5), **clipping)
    assert results[-1].name == "clipped gradient"
    assert all(r.passed for r in results)


@pytest.mark.parametrize("bptt", ["", "3:5"])
def test_what_is_minimised_beside_the_cross_entropy_is_checked_too(bptt):
    penalties = {"label_smoothing": 0.2, "activation_penalty": 0.7, "temporal_penalty": 0.9}
    assert all(r.passed for r in check(ModelConfig(6, hidden=5), bptt=bptt, **penalties))


@pytest.mark.parametrize("where", [0, 12, 24])
def test_one_gradient_that_is_no_number_fails_its_block(where):
    """Wherever it stands: at the beginning, in the middle or at the end of the block's entries."""
    check = check_of(ModelConfig(5, hidden=5))
    backward, gradients = check.unrolled.backward, check.network.gradients

    def damaged():
        backward()
        gradients["W_y"].reshape(-1)[where] = np.nan

    check.unrolled.backward = damaged
    assert [r.name for r in check.run() if not r.passed] == ["W_y"]


@pytest.mark.parametrize(("slip", "found"), [(1e-8, []), (1e-5, ["W_y"])])
def test_one_gradient_that_is_wrong_by_more_than_a_millionth_fails_its_block(slip, found):
    check = check_of(ModelConfig(5, hidden=5))
    backward, gradients = check.unrolled.backward, check.network.gradients

    def damaged():
        backward()
        entries = gradients["W_y"].reshape(-1)
        entries[np.abs(entries).argmax()] *= 1 + slip

    check.unrolled.backward = damaged
    assert [r.name for r in check.run() if not r.passed] == found


def test_parameters_are_put_back():
    model = ModelConfig(6, hidden=4)
    network = random_network(model, seed=1)
    before = network.parameters.flat.copy()
    symbols = np.random.default_rng(0).integers(0, 6, (4, 2))
    GradientCheck(network, symbols[:-1], symbols[1:], random_state(network, 2, 0), TrainConfig()).run()
    assert np.array_equal(network.parameters.flat, before)


@pytest.fixture
def anew():
    """Backward passes are derived anew before and after the test."""
    _programs.cache_clear()
    yield
    _programs.cache_clear()


def worst(kind):
    results = check(ModelConfig(4, layers=1, hidden=3, **(KINDS | FURTHER)[kind]), batch=2, steps=3)
    return max(r.error for r in results)


@pytest.mark.parametrize("slip", SLIPS)
def test_a_wrong_derivative_rule_is_found(slip, anew, monkeypatch):
    kind, rules = SLIPS[slip]
    for operation, rule in rules.items():
        monkeypatch.setitem(RULES, operation, rule)
    assert worst(kind) > 1e-3


@pytest.mark.parametrize("kind", ["gru", "minlstm"])
def test_a_path_past_the_products_that_is_forgotten_is_found(kind, anew, monkeypatch):
    monkeypatch.setattr(Programs, "_further_targets", lambda self: [])
    assert worst(kind) > 1e-3


def test_the_command_fails_when_a_gradient_is_wrong(anew, monkeypatch, capsys):
    monkeypatch.setitem(RULES, "tanh", lambda y, d: (d * (1.0 - y),))
    options = ["gradcheck", "--json", "--hidden", "3", "--layers", "1", "--symbols", "4", "--batch", "2"]
    assert typer.main.get_command(app).main(options, standalone_mode=False) == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["passed"]
    assert any(block["error"] > 1e-3 for block in answer["blocks"])


@pytest.mark.parametrize(
    "options", [("--layers", "1", "--dropout", "0.5"), ("--cell", "minlstm", "--weight-drop", "0.4")]
)
def test_the_command_refuses_dropout_that_would_not_be_checked(options):
    with pytest.raises(ConfigError, match=f"expected {options[2]} with .*; try "):
        typer.main.get_command(app).main(["gradcheck", *options], standalone_mode=False)


def test_a_strongly_curved_loss_is_no_error(monkeypatch):
    """Weights of this size make a wide plain RNN chaotic; with the first step alone, four blocks did fail."""
    monkeypatch.setattr("charrnn.gradcheck.MOST", 20)
    network = random_network(ModelConfig(11, "rnn", 2, 64), seed=0)
    symbols = np.random.default_rng(0).integers(0, 11, (21, 3))
    training = TrainConfig(clip_norm=0)
    results = GradientCheck(network, symbols[:-1], symbols[1:], random_state(network, 3, 0), training).run()
    assert [r for r in results if not r.passed] == []


@pytest.mark.parametrize("seed", first_of_all(range(4), 0))
def test_corners_of_rectified_units_are_no_errors(seed):
    """With this many units, some corner lies within the first step of some entry; with seed 0 and 3 it did fail."""
    model = ModelConfig(11, "rnn", 2, 32, nonlinearity="relu")
    network = random_network(model, seed)
    symbols = np.random.default_rng(seed).integers(0, 11, (6, 3))
    state = random_state(network, 3, seed)
    assert failures(GradientCheck(network, symbols[:-1], symbols[1:], state, TrainConfig(clip_norm=0))) == []
