"""How parameters begin: their distributions, and what follows from them for the gates."""

import numpy as np
import pytest

from charrnn.cell import State, cell, sigmoid, tanh
from charrnn.engine.panels import rows_of
from charrnn.errors import ConfigError
from charrnn.model.cells import lstm
from charrnn.model.config import ModelConfig
from charrnn.model.initialise import INPUT_SHARE, Initialiser, output_square
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled


def begun(config, seed=0, counts=None, **chosen):
    network = Network(config)
    Initialiser(config, seed, **chosen).fill(network.parameters, counts)
    return network


def test_the_order_in_which_equations_name_their_states_changes_nothing():
    @cell(gates="i f g o", states="h c", forget="f i")
    def turned(a, s):
        c = sigmoid(a.f) * s.c + sigmoid(a.i) * tanh(a.g)
        return State(c=c, h=sigmoid(a.o) * tanh(c))

    assert output_square(turned) == output_square(lstm)


def test_equations_that_overflow_warn_nobody(recwarn):
    @cell(gates="n")
    def steep(a, s):
        return State(h=sigmoid(1000.0 * a.n))

    assert output_square(steep) == pytest.approx(0.5, abs=0.1)
    assert not recwarn.list


def test_parameters_depend_on_the_seed_alone(threads):
    config = ModelConfig(30, "lstm", 2, 64, 16)
    made = []
    for count, seed in ((1, 3), (2, 3), (2, 4)):
        threads(count)
        made.append(begun(config, seed, recurrent="orthogonal", forget_bias="chrono").parameters.flat)
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[1], made[2])


def test_matrices_are_uniform_within_their_bounds_and_vectors_constant():
    config = ModelConfig(30, "lstm", 2, 64, 16)
    parameters = begun(config, forget_bias="0.5").parameters
    bounds = {"embed": 3**0.5, "layer0.W_x": 1 / 4, "layer1.W_x": (64 * output_square(lstm)) ** -0.5}
    for name, view in parameters.items():
        if name.endswith(".b"):
            assert set(view[64:128]) == {0.5}
            assert not np.delete(view, slice(64, 128)).any()
        elif name == "b_y":
            assert not view.any()
        else:
            bound = bounds.get(name, 1 / 8)
            assert 0.95 * bound < np.abs(view).max() <= bound * (1 + 1e-6)
            assert view.std() == pytest.approx(bound / 3**0.5, rel=0.1)


INPUTS = {"one-hot": {}, "narrow": {"embed": 16}, "wide": {"embed": 300}, "tied": {"tied": True}}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("hidden", [64, 256])
def test_the_input_moves_a_gate_by_the_same_share_whatever_it_is(cell, hidden, kind):
    config = ModelConfig(90, cell, 1, hidden, **INPUTS[kind])
    network = begun(config)
    network.pack()
    share = network.input.table.std()
    padding = network.input.table.shape[0] * network.input.table.shape[2] // (network.layers[0].gates * hidden)
    assert padding == 1
    assert share == pytest.approx(INPUT_SHARE, rel=0.1)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("hidden", [64, 256])
def test_an_upper_layer_is_moved_by_about_the_same_share(cell, hidden):
    """About, since the mean square of what the layer below gives is a simulation."""
    config = ModelConfig(60, cell, 2, hidden)
    network = begun(config)
    network.pack()
    unrolled = Unrolled(network, 8, 50)
    unrolled.forward(np.random.default_rng(0).integers(0, 60, (50, 8)))
    below = rows_of(unrolled.layers[0].arrays.state0[:, 8:], hidden)
    share = (below[80:] @ network.parameters["layer1.W_x"]).std()
    assert 0.6 * INPUT_SHARE < share < 1.6 * INPUT_SHARE


def test_orthogonal_weights_are_orthogonal_gate_by_gate():
    parameters = begun(ModelConfig(10, "gru", 2, 50), recurrent="orthogonal").parameters
    gates = [parameters[f"layer{k}.W_h"][:, g : g + 50].astype(float) for k in (0, 1) for g in (0, 50, 100)]
    for gate in gates:
        np.testing.assert_allclose(gate.T @ gate, np.eye(50), atol=1e-5)
    products = [abs((one * other).sum()) for one in gates for other in gates if one is not other]
    assert max(products) < 5  # of matrices that have nothing to do with each other; of the same one it is 50


def test_rectified_units_may_begin_with_the_identity_and_no_others():
    parameters = begun(ModelConfig(10, "rnn", 2, 50, nonlinearity="relu"), recurrent="identity").parameters
    assert all(np.array_equal(parameters[f"layer{k}.W_h"], np.eye(50)) for k in (0, 1))
    with pytest.raises(ConfigError, match="--init identity with --cell rnn --nonlinearity relu, got lstm"):
        begun(ModelConfig(10, "lstm", 1, 8), recurrent="identity")


@pytest.mark.parametrize("cell", ["lstm", "mlstm", "minlstm"])
def test_the_forget_gate_of_every_cell_that_has_one_begins_with_its_bias(cell):
    network = begun(ModelConfig(10, cell, 1, 8), forget_bias="0.75")
    gates = network.layers[0].step.cell.gates
    b = network.parameters["layer0.b"].reshape(len(gates), 8)
    assert [set(row) for row in b] == [{0.75} if gate == "f" else {0.0} for gate in gates]


def test_two_inputs_of_a_layer_have_the_share_of_one():
    parameters = begun(ModelConfig(60, "lstm", 2, 64, input_skips=True)).parameters
    assert parameters["layer1.W_skip"].std() == pytest.approx(INPUT_SHARE / 2**0.5, rel=0.05)
    assert parameters["layer1.W_x"].std() * 64**0.5 * output_square(lstm) ** 0.5 == pytest.approx(
        INPUT_SHARE / 2**0.5, rel=0.05
    )


def test_a_layer_that_reads_the_sum_of_several_outputs_has_the_share_of_one():
    parameters = begun(ModelConfig(60, "lstm", 4, 64, residual=True)).parameters
    for layer in (1, 2, 3):
        share = parameters[f"layer{layer}.W_x"].std() * (layer * 64 * output_square(lstm)) ** 0.5
        assert share == pytest.approx(INPUT_SHARE, rel=0.05)


def test_chrono_forget_gates_remember_for_times_up_to_the_longest():
    parameters = begun(ModelConfig(10, "lstm", 1, 2000), forget_bias="chrono", longest=101).parameters
    b = parameters["layer0.b"].astype(float)
    assert np.array_equal(b[:2000], -b[2000:4000])
    assert not b[4000:].any()
    steps = np.exp(b[2000:4000])
    assert 1 <= steps.min() < 2
    assert 99 < steps.max() < 100
    assert steps.mean() == pytest.approx(50.5, rel=0.05)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.03])
def test_the_output_begins_at_the_frequencies_of_the_symbols_or_at_a_power_of_them(scale):
    counts = np.array([70, 20, 0, 10])
    bias = begun(ModelConfig(4, "lstm", 1, 8), counts=counts, scale=scale).parameters["b_y"]
    np.testing.assert_allclose(np.exp(bias), (np.array([71, 21, 1, 11]) / 104) ** scale, rtol=1e-6)


@pytest.mark.parametrize("given", [{}, {"embed": 16}, {"tied": True}, {"input_skips": True}])
def test_a_smaller_scale_makes_the_variance_of_the_input_s_share_smaller_and_nothing_else(given):
    config = ModelConfig(60, "lstm", 2, 64, **given)
    usual, mild = (begun(config, scale=scale).parameters for scale in (1.0, 0.25))
    for name, view in mild.items():
        factor = 0.5 if name.endswith((".W_x", ".W_skip")) else 1.0
        np.testing.assert_allclose(view, factor * usual[name], rtol=1e-6)
