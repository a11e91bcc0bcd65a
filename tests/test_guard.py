"""A loss that is no number or far above its mean: skipped, rolled back, or taken as the text's own."""

import json
import math

import numpy as np
import pytest
from helpers_cli import journal
from test_training import CORPORA, Silent, prepared, start, train, trainer_of
from typer.testing import CliRunner

from charrnn.cli.app import app
from charrnn.errors import TrainingError
from charrnn.training import loop
from charrnn.training.checkpoint import Progress, load_checkpoint
from charrnn.training.guard import Verdict, diverged, judge, suspicion, useful
from charrnn.training.learner import Learner
from charrnn.training.loop import Trainer
from charrnn.training.recovery import MOST_ROLLBACKS

APPLY, SKIP, ROLL_BACK = Verdict.APPLY, Verdict.SKIP, Verdict.ROLL_BACK


def settled(loss=1.0, steps=300):
    """The progress of a run whose loss has been steady, give or take a twentieth."""
    progress = Progress()
    for step in range(steps):
        progress.step = step
        assert judge(progress, loss + 0.05 * math.sin(step), 1.0, 65) is APPLY
    return progress


def verdicts(progress, losses, norm=1.0):
    return [judge(progress, loss, norm, 65) for loss in losses]


def test_a_steady_or_falling_loss_is_never_held_up():
    progress = Progress()
    for step, loss in enumerate(np.geomspace(4.2, 0.3, 400)):
        progress.step = step
        assert judge(progress, loss, 1e9, 65) is APPLY


@pytest.mark.parametrize("bad", [math.nan, math.inf, 50.0])
def test_one_bad_step_is_skipped(bad):
    progress = settled()
    assert verdicts(progress, [bad, 1.0, bad, bad, 1.0]) == [SKIP, APPLY, SKIP, SKIP, APPLY]
    assert progress.loss_mean == pytest.approx(1.0, abs=0.05)


def test_a_loss_that_has_always_swung_far_is_not_held_up_by_a_swing():
    """Three times the mean is no more than eight deviations of such a loss."""
    progress = Progress(loss_mean=1.0, loss_variance=1.0, step=100)
    assert judge(progress, 8.9, 1.0, 65) is APPLY
    progress.loss_mean, progress.loss_variance = 1.0, 1.0
    assert judge(progress, 9.1, 1.0, 65) is SKIP


@pytest.mark.parametrize(("loss", "step", "want"), [(2.95, 50, APPLY), (3.05, 50, SKIP), (3.05, 49, APPLY)])
def test_far_above_is_three_times_the_mean_after_50_steps(loss, step, want):
    assert judge(Progress(loss_mean=1.0, loss_variance=1e-6, step=step), loss, 1.0, 65) is want


@pytest.mark.parametrize(("share", "want"), [(1.98, APPLY), (2.02, ROLL_BACK)])
def test_a_model_is_broken_above_twice_the_loss_of_guessing(share, want):
    assert verdicts(settled(), [share * math.log(65)] * 3)[-1] is want


@pytest.mark.parametrize(("share", "want"), [(1.019, True), (1.021, False)])
def test_a_model_is_useful_up_to_two_percent_above_guessing(share, want):
    assert useful(share * math.log(65), 65) is want


@pytest.mark.parametrize(("now", "want"), [(1.40, False), (1.43, True)])
def test_far_is_a_tenth_of_the_loss_of_guessing(now, want):
    """A tenth of ln 65 is 0.417."""
    assert diverged(Progress(best_loss=1.0, best_loss_mean=1.0, loss_mean=now), now, 65) is want


def test_the_mean_moves_by_a_hundredth_of_the_distance():
    progress = Progress(loss_mean=1.0, loss_variance=0.5)
    judge(progress, 3.0, 1.0, 65)
    assert (progress.loss_mean, progress.loss_variance) == pytest.approx((1.02, 0.99 * (0.5 + 0.01 * 4)))


@pytest.mark.parametrize("bad", [math.nan, 50.0])
def test_bad_steps_in_a_row_roll_back(bad):
    assert verdicts(settled(), [bad] * 3) == [SKIP, SKIP, ROLL_BACK]


def test_a_gradient_that_is_no_number_is_bad_too():
    assert verdicts(settled(), [1.0] * 3, norm=math.nan) == [SKIP, SKIP, ROLL_BACK]


def test_a_text_that_becomes_harder_is_accepted():
    """Five nats are far above the mean, but no more than a model that guesses would have of 65 symbols."""
    progress = settled()
    assert verdicts(progress, [5.0] * 5) == [SKIP, SKIP, APPLY, APPLY, APPLY]
    assert progress.loss_mean == pytest.approx(5.0)


def test_a_chunk_after_a_skipped_one_has_other_random_numbers(tmp_path, monkeypatch):
    """Otherwise one unlucky mask, or reset of a stream, would spoil three chunks in a row. A resume keeps the count."""
    data = prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:2000])
    checkpoint = start(tmp_path, data, {"hidden": 8, "layers": 1}, {"batch": 2, "seq_len": 8, "steps": 4})
    draws, learn, verdicts = [], Learner.learn, iter([APPLY, SKIP, SKIP, APPLY, APPLY, APPLY])
    monkeypatch.setattr(
        Learner, "learn", lambda self, at, draw, *more: draws.append(draw) or learn(self, at, draw, *more)
    )
    monkeypatch.setattr(loop, "judge", lambda *_: next(verdicts))
    train(tmp_path / "run", data, checkpoint)
    assert draws == [0, 1, 2, 3, 4, 5]
    assert load_checkpoint(tmp_path / "run" / "last.npz").progress.draw == 6


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("further", [{}, {"batch": 4, "accumulate": 2, "bptt": "16:24"}])
def test_a_run_survives_spikes(tmp_path, times, further):
    """Parameters are made useless in the middle of a run: it goes back, at half the rate, and ends well."""
    data = prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:20_000])
    config = {"batch": 8, "seq_len": 16, "steps": 200, "schedule": "constant"} | further
    checkpoint = start(tmp_path, data, {"hidden": 16, "layers": 1}, config)
    spikes = [60] + [65] * (times - 1)

    def spoil(trainer):
        whole = np.isfinite(trainer.state.network.parameters.flat).all()
        if spikes and whole and trainer.state.progress.step == spikes[0]:
            del spikes[0]
            trainer.state.network.parameters.flat[:100] = np.nan
            trainer.state.network.pack()

    trainer = train(tmp_path / "run", data, checkpoint, each_step=spoil)
    assert not spikes
    last = load_checkpoint(tmp_path / "run" / "last.npz")
    assert last.progress.step == 200
    assert last.progress.lr_scale == 0.5**times
    assert trainer.lr == pytest.approx(0.003 * 0.5**times)
    names = [line["name"] for line in journal(tmp_path / "run") if line["kind"] == "event"]
    assert names.count("rollback") == times
    assert names.count("skip") == 2 * times
    assert np.isfinite(trainer.state.network.parameters.flat).all()


def test_a_long_run_is_not_given_up_for_rare_spikes(tmp_path, monkeypatch):
    """Nine of them, and a validation loss that never gets better; had they come at once, the sixth would end it."""
    monkeypatch.setattr("charrnn.training.recovery.STEPS_OF_PEACE", 10)
    data = prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:20_000])
    config = {"batch": 8, "seq_len": 16, "steps": 200, "eval_every": 20, "lr": 1e-12}
    spikes = list(range(25, 186, 20))

    def spoil(trainer):
        trainer.state.progress.best_loss = 0.0
        if spikes and trainer.state.progress.step == spikes[0]:
            del spikes[0]
            trainer.state.network.parameters.flat[:100] = np.nan
            trainer.state.network.pack()

    trainer = train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 16, "layers": 1}, config), each_step=spoil)
    assert not spikes
    assert trainer.state.progress.step == 200
    assert trainer.state.progress.lr_scale == 0.5**9


def test_a_run_that_breaks_again_and_again_late_is_given_up(tmp_path, monkeypatch):
    """Each time in the same step, long after the run began."""
    monkeypatch.setattr("charrnn.training.recovery.STEPS_OF_PEACE", 10)
    data = prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:20_000])
    config = {"batch": 8, "seq_len": 16, "steps": 200, "eval_every": 20, "lr": 1e-12}
    spoilt = []

    def spoil(trainer):
        parameters = trainer.state.network.parameters.flat
        if trainer.state.progress.step == 25 and np.isfinite(parameters).all():
            assert len(spoilt) <= MOST_ROLLBACKS
            spoilt.append(True)
            parameters[:100] = np.nan
            trainer.state.network.pack()

    checkpoint = start(tmp_path, data, {"hidden": 16, "layers": 1}, config)
    with pytest.raises(TrainingError, match=f"after going back {MOST_ROLLBACKS} times"):
        train(tmp_path / "run", data, checkpoint, each_step=spoil)


def test_a_run_that_breaks_before_its_folder_is_settled_names_no_file(tmp_path):
    """As with --force, where the folder is removed at the end of the command."""
    data = prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:2000])
    checkpoint = start(tmp_path, data, {"hidden": 8, "layers": 1}, {"batch": 2, "seq_len": 8, "steps": 9})
    watcher = Silent(None)
    trainer = trainer_of(tmp_path / "run", data, checkpoint, watcher, settle=lambda: tmp_path / "run")
    step = trainer.step

    def spoilt(journal):
        step(journal)
        trainer.state.network.parameters.flat[:100] = np.nan
        trainer.state.network.pack()

    trainer.step = spoilt
    with pytest.raises(TrainingError, match="nothing of this run is kept"):
        trainer.run(watcher)


def spoil_parameters(state):
    state.network.parameters.flat[:100] = np.inf
    state.network.pack()


def spoil_carried_state(state):
    state.learner.set_state({name: np.full_like(values, np.inf) for name, values in state.learner.state().items()})


def spoil_moments(state):
    state.optimiser.moments["v"].flat[:100] = np.inf


@pytest.mark.parametrize("spoil", [spoil_parameters, spoil_carried_state, spoil_moments])
def test_a_broken_model_never_takes_the_place_of_a_good_checkpoint(tmp_path, spoil):
    """It breaks in the very step after which a checkpoint is due."""
    data = prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:20_000])
    config = {"batch": 8, "seq_len": 16, "steps": 60, "eval_every": 20}
    broken = []

    def spoil_once(trainer):
        if trainer.state.progress.step == 40 and not broken:
            broken.append(True)
            spoil(trainer.state)

    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 16, "layers": 1}, config), each_step=spoil_once)
    last = load_checkpoint(tmp_path / "run" / "last.npz")
    assert (last.progress.step, last.progress.lr_scale) == (60, 0.5)
    events = [line for line in journal(tmp_path / "run") if line.get("name") == "rollback"]
    assert [line["step"] for line in events] == [20]


@pytest.mark.parametrize(
    ("validation", "training", "answer"),
    [
        (1.5, 1.4, False),  # as good as the best, or nearly
        (2.5, 1.2, False),  # overfitting
        (1.6, 2.5, False),  # a harder text
        (2.5, 2.5, True),
        (math.nan, 2.5, True),
    ],
)
def test_a_run_has_diverged_when_both_losses_rose_far(validation, training, answer):
    progress = Progress(best_loss=1.5, best_loss_mean=1.4, loss_mean=training)
    assert diverged(progress, validation, 65) is answer


@pytest.mark.parametrize(("now", "answer"), [(4.9, False), (5.1, True)])
def test_far_is_a_quarter_of_a_large_loss(now, answer):
    assert diverged(Progress(best_loss=4.0, best_loss_mean=4.0, loss_mean=now), now, 65) is answer


@pytest.mark.parametrize(
    ("epochs", "loss", "words"),
    [(0.5, 1.7, "far above the training loss"), (0.5, 1.5, ""), (1.0, 1.7, ""), (1.0, 4.3, "above that of guessing")],
)
def test_a_validation_loss_that_nobody_expects_is_told(epochs, loss, words):
    """A share of 0.15 of ln 65 is 0.63 nats."""
    told = suspicion(Progress(loss_mean=1.0), epochs, loss, 65)
    assert words in told
    assert bool(told) == bool(words)


def test_small_losses_may_vary():
    assert not diverged(Progress(best_loss=0.01, best_loss_mean=0.01, loss_mean=0.1), 0.1, 65)


def test_a_run_that_got_worse_step_by_step_goes_back_to_its_best(tmp_path):
    """Parameters drift away little by little, as with too high a rate: no loss is far above those before."""
    data = prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:20_000])
    config = {"batch": 8, "seq_len": 16, "steps": 1200, "eval_every": 200, "schedule": "constant", "keep": 9}

    def drift(trainer):
        if trainer.state.progress.step > 400 and trainer.state.progress.lr_scale == 1:
            trainer.state.network.parameters.flat[:] *= 1.01
            trainer.state.network.pack()

    trainer = train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 32, "layers": 1}, config), each_step=drift)
    lines = journal(tmp_path / "run")
    (event,) = [line for line in lines if line.get("name") == "rollback"]
    best = [line for line in lines if line["kind"] == "eval" and line["step"] == event["step"]]
    assert event["step"] == 400
    assert len(best) == 1
    assert trainer.state.progress.step == 1200
    assert trainer.state.progress.lr_scale == 0.5
    assert trainer.state.progress.best_loss < best[0]["loss"]
    kept = {path.name: load_checkpoint(path).progress.lr_scale for path in (tmp_path / "run").glob("step-*.npz")}
    assert {name: 1 if name <= "step-000000400.npz" else 0.5 for name in kept} == kept
    assert len(kept) == 6


def test_the_summary_of_a_run_that_went_back_is_of_its_end(tmp_path, monkeypatch):
    prepared(tmp_path, (CORPORA / "tales.txt").read_text()[:20_000])
    step = Trainer.step

    def spoiled_step(trainer, journal):
        result = step(trainer, journal)
        if trainer.state.progress.step == 5 and trainer.state.progress.lr_scale == 1:
            trainer.state.network.parameters.flat[:100] = np.nan
            trainer.state.network.pack()
        return result

    monkeypatch.setattr(Trainer, "step", spoiled_step)
    words = ["train", tmp_path / "data", "--out", tmp_path / "run", "--hidden", "8", "--steps", "12", "--json"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "going back to step 0" in result.stderr
    assert json.loads(result.stdout)["step"] == 12
    assert "12 of 12" in result.stderr
