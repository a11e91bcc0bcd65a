"""Every cell: against plain NumPy, finite differences, and the laws that declarations keep."""

import numpy as np
import oracle_variants
import pytest
from networks import FURTHER, KINDS, failures, make, pass_through
from thorough import first_of_all
from variants import variant

from charrnn.engine.panels import rows_of
from charrnn.gradcheck import GradientCheck, random_network, random_state
from charrnn.model import config
from charrnn.model.cells import cell_of
from charrnn.model.config import ModelConfig
from charrnn.training.config import TrainConfig

CELLS = KINDS | FURTHER
LINE_BREAK = 0
CHECKED = [(kind, "plain") for kind in FURTHER]  # scripts/check_cells has every combination
CHECKED += [(kind, "everything") for kind in ("mlstm", "minlstm", "peepholes, coupled")]
FIRST = [("sigmoid", "plain"), ("ugrnn", "plain"), ("mingru", "plain"), ("minlstm", "everything")]
FIRST += [("mlstm", "plain"), ("peepholes, coupled", "plain"), ("peepholes, no output gate", "plain")]


@pytest.mark.parametrize(("kind", "name"), first_of_all(CHECKED, *FIRST))
def test_the_forward_pass_is_that_of_plain_numpy(kind, name):
    further = {} if name == "plain" else variant(name, CELLS[kind]["cell"])
    m = make(kind, np.float64, symbols=7, layers=3, hidden=35, steps=9, batch=4, line_break=LINE_BREAK, **further)
    m.unrolled.carried.set(m.state)
    m.unrolled.forward(m.inputs)
    got = rows_of(m.unrolled.logits, 7)[: m.inputs.size].reshape(*m.inputs.shape, -1)
    want = oracle_variants.logits(m.config, dict(m.network.parameters.items()), m.inputs, m.state, LINE_BREAK)
    assert np.abs(got - want).max() < 1e-12


@pytest.mark.parametrize(("kind", "name"), first_of_all(CHECKED, *FIRST))
def test_gradients_are_those_of_plain_numpy(kind, name):
    further = {} if name == "plain" else variant(name, CELLS[kind]["cell"])
    m = make(kind, np.float64, symbols=7, hidden=35, line_break=LINE_BREAK, **further)
    for got, want in zip(pass_through(m)[1:], oracle_variants.run(m, LINE_BREAK)[1:], strict=True):
        assert max(np.abs(got[name] - want[name]).max() for name in want) < 1e-12


def check(kind, name, layers, hidden, embed=0, **noise):
    further = {} if name == "plain" else variant(name, CELLS[kind]["cell"])
    embed = 0 if further.get("tied") else embed
    model = ModelConfig(6, layers=layers, hidden=hidden, embed=embed, **CELLS[kind], **further)
    network = random_network(model, seed=1)
    symbols = np.random.default_rng(0).integers(0, 6, (7, 3))
    symbols[[0, 3], [1, 2]] = LINE_BREAK
    training = TrainConfig(clip_norm=0, **noise)
    return failures(GradientCheck(network, symbols[:-1], symbols[1:], random_state(network, 3, 2), training))


@pytest.mark.parametrize(("kind", "name"), first_of_all(CHECKED, *FIRST))
def test_gradients_agree_with_finite_differences(kind, name):
    assert check(kind, name, 2, 4, embed=3) == []


def test_gradients_agree_in_a_layer_wider_than_a_panel_with_dropped_weights():
    assert check("mlstm", "plain", 1, 34, weight_drop=0.3) == []


def test_the_options_for_two_states_are_allowed_for_the_cells_that_have_two():
    states = {name: cell_of(ModelConfig(6, cell=name)).states for name in config.CELLS}
    assert set(config.TWO_STATES) == {name for name, own in states.items() if len(own) == 2}


def test_a_minimal_lstm_whose_gates_are_both_zero_stays_finite():
    m = make("minlstm", np.float32, symbols=7, hidden=35, steps=9, batch=4)
    m.network.parameters["layer0.b"][: 2 * 35] = -100
    m.network.pack()
    m.unrolled.carried.set(m.state)
    m.unrolled.forward(m.inputs)
    assert np.isfinite(m.unrolled.loss(m.targets))
    m.unrolled.backward()
    assert np.isfinite(m.network.gradients.flat).all()


def test_the_cell_state_of_an_lstm_with_peepholes_has_a_limit():
    m = make("peepholes", np.float64, symbols=7, hidden=35, steps=9, batch=4)
    m.state["c"] *= 400
    m.unrolled.carried.set(m.state)
    m.unrolled.forward(m.inputs)
    got = rows_of(m.unrolled.logits, 7)[: m.inputs.size].reshape(*m.inputs.shape, -1)
    want = oracle_variants.logits(m.config, dict(m.network.parameters.items()), m.inputs, m.state, LINE_BREAK)
    assert np.abs(got - want).max() < 1e-12
    states = np.abs(m.unrolled.carried.state()["c"])
    assert states.max() == 50
    assert (states < 50).any()


def test_gradients_agree_where_the_cell_state_of_an_lstm_with_peepholes_is_at_its_limit():
    network = random_network(ModelConfig(6, layers=1, hidden=4, **CELLS["peepholes"]), seed=1)
    state = random_state(network, 3, 2)
    state["c"][:] *= 100 / np.abs(state["c"]).max()
    symbols = np.random.default_rng(0).integers(0, 6, (7, 3))
    results = GradientCheck(network, symbols[:-1], symbols[1:], state, TrainConfig(clip_norm=0)).run()
    assert [r for r in results if not r.passed] == []


@pytest.mark.parametrize("kind", first_of_all(["mlstm", "peepholes"], "peepholes"))
def test_any_number_of_threads_and_any_sharing_give_the_same_bits(kind, threads, monkeypatch):
    answers = []
    for count, way in ((1, (True, 1)), (2, (True, 2)), (2, (False, 2))):
        threads(count)
        monkeypatch.setattr("charrnn.engine.recurrence._share_of_threads", lambda *_, way=way: way)
        m = make(kind, np.float32, hidden=70, batch=20, steps=5)
        loss, gradients, d_state, final = pass_through(m)
        answers.append([np.float64(loss), *gradients.values(), *d_state.values(), *final.values()])
    for other in answers[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(answers[0], other, strict=True))
