"""Dropout: its masks follow their law, its gradients finite differences, and evaluation knows nothing of it."""

import numpy as np
import pytest
from networks import KINDS, failures, make
from thorough import first_of_all

from charrnn.engine.dropout import drop_rows, drop_units, threshold_and_scale
from charrnn.engine.panels import rows_of
from charrnn.gradcheck import GradientCheck, random_network, random_state
from charrnn.model.config import ModelConfig
from charrnn.model.noise import Noise
from charrnn.model.unrolled import Unrolled
from charrnn.training.config import TrainConfig
from charrnn.training.learner import noise_of


def mask(rate=0.25, rows=200, period=200, seed=1, step=2, site=3, panels=4):
    threshold, scale = threshold_and_scale(rate)
    y = np.empty((panels, rows, 32))
    counters = [np.uint64(n) for n in (seed, step, site)]
    drop_units(np.ones((panels, rows + 5, 32)), 5, y, rows, period, threshold, scale, *counters)
    return y


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_units_are_dropped_at_the_rate_and_the_mean_is_kept(rate):
    values = mask(rate, rows=2000, period=2000)
    share = (values == 0).mean()
    spread = 5 * np.sqrt(rate * (1 - rate) / values.size)
    assert abs(share - rate) < spread
    assert set(np.unique(values)) == {0.0, threshold_and_scale(rate)[1]}
    assert threshold_and_scale(rate)[1] == pytest.approx(1 / (1 - rate), rel=1e-4)
    for axis in ((0, 1), (0, 2), (1, 2)):  # no unit, row or panel is favoured
        means = (values == 0).mean(axis=axis)
        assert np.abs(means - rate).max() < 6 * np.sqrt(rate * (1 - rate) * len(means) / values.size)


def test_a_rate_of_nearly_one_keeps_a_few():
    values = mask(1 - 1e-9, rows=3000, period=3000)
    assert 0 < (values != 0).sum() < 60
    assert values.max() == 65536


@pytest.mark.parametrize("changed", [{"seed": 9}, {"step": 9}, {"site": 9}])
def test_each_counter_gives_another_mask(changed):
    same = (mask() == mask(**changed)).mean()
    assert abs(same - (0.75**2 + 0.25**2)) < 0.02


def test_a_variational_mask_is_the_same_at_all_time_steps():
    values = mask(rows=60, period=5).reshape(4, 12, 5, 32)
    assert (values == values[:, :1]).all()
    assert not (values[:, 0, :1] == values[:, 0]).all()


def test_masks_are_the_same_on_any_number_of_threads(threads):
    threads(1)
    alone = mask()
    threads(2)
    assert np.array_equal(mask(), alone)


def test_whole_rows_of_the_input_are_dropped_at_the_rate():
    weights = np.empty(20_000)
    threshold, scale = threshold_and_scale(0.3)
    drop_rows(weights, np.arange(20_000), threshold, scale, np.uint64(0), np.uint64(0), np.uint64(0))
    assert set(np.unique(weights)) == {0.0, scale}
    assert abs((weights == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / 20_000)


def test_a_variational_mask_of_the_input_drops_symbols_wherever_a_stream_reads_them():
    """As in Gal & Ghahramani (2016): each stream drops symbols of its own, and no stream all of them."""
    symbols, batch = np.random.default_rng(0).integers(0, 500, 64_000).astype(np.int32), 8
    weights = np.empty(len(symbols))
    Noise(input=0.3, variational=True).input_weights(5, weights, symbols, batch)
    dropped = [set(symbols[stream::batch][weights[stream::batch] == 0]) for stream in range(batch)]
    kept = [set(symbols[stream::batch][weights[stream::batch] != 0]) for stream in range(batch)]
    for without, within in zip(dropped, kept, strict=True):
        assert not without & within
        assert abs(len(without) / len(without | within) - 0.3) < 5 * np.sqrt(0.21 / 500)
    assert len(set(map(frozenset, dropped))) == batch


@pytest.mark.parametrize("residual", [False, True])
def test_what_lower_layers_give_to_the_softmax_has_the_dropout_between_layers(residual):
    """With these weights, the logits are what layer 0 gives."""
    m = make("lstm", np.float64, layers=2, hidden=33, symbols=33, output_skips=True, residual=residual)
    parameters = m.network.parameters
    parameters["W_y"][:], parameters["b_y"][:], parameters["layer0.W_y"][:] = 0, 0, np.eye(33)
    m.network.pack()

    def given(**options):
        unrolled = Unrolled(m.network, *m.inputs.shape[::-1], noise_of(TrainConfig(**options)))
        unrolled.carried.reset()
        unrolled.forward(m.inputs, 1 if options else None)
        return rows_of(unrolled.logits, 33)[: m.inputs.size].copy()

    plain, between = given(), given(dropout=0.25)
    stays = between != 0
    np.testing.assert_allclose(between[stays], plain[stays] * threshold_and_scale(0.25)[1], rtol=1e-12)
    assert abs(stays.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / stays.size)
    np.testing.assert_array_equal(given(dropout_output=0.25), plain)


@pytest.mark.parametrize("kind", first_of_all(KINDS, "lstm"))
@pytest.mark.parametrize("dropout_kind", ["standard", "variational"])
@pytest.mark.parametrize("embed", [0, 3])
def test_gradients_with_dropout_agree_with_finite_differences(kind, dropout_kind, embed):
    model = ModelConfig(6, layers=3, hidden=3, embed=embed, **KINDS[kind])
    training = TrainConfig(
        clip_norm=0, dropout=0.3, dropout_input=0.2, dropout_output=0.4, dropout_kind=dropout_kind, seed=3
    )
    symbols = np.random.default_rng(0).integers(0, 6, (6, 3))
    network = random_network(model, seed=1)
    check = GradientCheck(network, symbols[:-1], symbols[1:], random_state(network, 3, 2), training)
    assert failures(check) == []


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("dropout", [False, True]),
        ("dropout_output", [False, False]),
        ("dropout_input", [True, True]),
        ("weight_drop", [True, True]),
    ],
)
def test_each_site_acts_on_the_layers_above_it(option, changed):
    m = make("lstm", np.float64, layers=2)
    unrolled = Unrolled(m.network, 3, 4, noise_of(TrainConfig(**{option: 0.5})))
    outputs = []
    for draw in (None, 1):
        unrolled.carried.reset()
        unrolled.forward(m.inputs, draw)
        outputs.append(unrolled.carried.state()["h"])
    assert [not np.array_equal(*pair) for pair in zip(*outputs, strict=True)] == changed


def test_each_site_changes_the_loss_and_no_draw_is_none():
    m = make("lstm", np.float64, layers=2)
    losses = []
    for noise in (Noise(), Noise(between=0.5), Noise(output=0.5), Noise(input=0.5)):
        unrolled = Unrolled(m.network, 3, 4, noise)
        for draw in (None, 0, 1):
            unrolled.carried.reset()
            unrolled.forward(m.inputs, draw)
            losses.append(unrolled.loss(m.targets))
    plain, noisy = losses[0], np.array(losses[3:]).reshape(3, 3)
    assert losses[:3] == [plain] * 3
    assert (noisy[:, 0] == plain).all()
    assert len({plain, *noisy[:, 1:].ravel()}) == 7
