"""Options of a run: accumulation, averaging, patience, older checkpoints, plateaus, the lock."""

import numpy as np
import pytest
from helpers_cli import journal
from test_training import SHORT_TEXT, Silent, arrays, prepared, start, train, trainer_of

from charrnn.errors import OutputError
from charrnn.folders import locked
from charrnn.model.config import ModelConfig
from charrnn.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.evaluate import Evaluator
from charrnn.training.loop import Trainer
from charrnn.training.run import resume_run
from charrnn.training.state import TrainingState


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_accumulated_batches_are_one_large_batch(tmp_path, cell):
    data = prepared(tmp_path, SHORT_TEXT)
    model = {"cell": cell, "hidden": 12}
    for name, sizes in (("one", {"batch": 6}), ("three", {"batch": 2, "accumulate": 3})):
        config = {"seq_len": 20, "steps": 40, "lr": 0.01, "optimiser": "sgd"} | sizes
        train(tmp_path / name, data, start(tmp_path, data, model, config, name))
    one, three = (load_checkpoint(tmp_path / name / "last.npz") for name in ("one", "three"))
    assert one.progress.chars == three.progress.chars
    assert one.progress.epoch == three.progress.epoch == 1
    for name, value in one.parameters.items():
        np.testing.assert_allclose(three.parameters[name], value, atol=2e-5)
    for name, value in one.state.items():
        np.testing.assert_allclose(three.state[name], value, atol=2e-4)


def joined(parameters):
    return np.concatenate([value.reshape(-1) for value in parameters.values()])


@pytest.mark.parametrize("ema", [0.5, 0.9])
def test_the_average_is_evaluated_and_saved_as_best(tmp_path, ema):
    """Its memory grows to 0.5 within ten steps, and does not come to 0.9 in 30."""
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 4, "seq_len": 20, "steps": 30, "eval_every": 30, "ema": ema, "lr": 0.01}
    checkpoint = start(tmp_path, data, {"hidden": 12}, config | {"schedule": "constant", "warmup": 0.0})
    average = joined(checkpoint.parameters).astype(float)
    followed = []
    train(
        tmp_path / "run",
        data,
        checkpoint,
        each_step=lambda trainer: followed.append(joined(dict(trainer.state.network.parameters.items())).astype(float)),
    )
    for step, parameters in enumerate(followed, start=1):
        decay = min(ema, step / (10 + step))
        average = decay * average + (1 - decay) * parameters
    best, last = (load_checkpoint(tmp_path / "run" / name) for name in ("best.npz", "last.npz"))
    averaged = joined(best.best_parameters)
    np.testing.assert_allclose(averaged, average, atol=2e-6)
    assert Evaluator(best.network(), data.splits["val"]).loss() == pytest.approx(last.progress.best_loss, abs=1e-9)
    for checkpoint in (best, last):
        np.testing.assert_array_equal(joined(checkpoint.parameters), followed[-1])
        np.testing.assert_array_equal(joined(checkpoint.average), averaged)


def test_the_average_is_what_a_run_without_validation_ends_with(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT, val=0.0)
    config = {"batch": 4, "seq_len": 20, "steps": 30, "ema": 0.8, "lr": 0.01}
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 12}, config))
    last = load_checkpoint(find_checkpoint(tmp_path / "run"))
    for name, view in last.network().parameters.items():
        np.testing.assert_array_equal(view, last.average[name])
        assert not np.array_equal(view, last.parameters[name])


def test_every_older_checkpoint_has_the_loss_that_was_measured(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 4, "seq_len": 20, "steps": 30, "eval_every": 10, "ema": 0.8, "keep": 3, "lr": 0.01}
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 12}, config))
    measured = {line["step"]: line["loss"] for line in journal(tmp_path / "run") if line["kind"] == "eval"}
    for step in (10, 20, 30):
        network = load_checkpoint(tmp_path / "run" / f"step-{step:09d}.npz").network()
        assert Evaluator(network, data.splits["val"]).loss() == pytest.approx(measured[step], rel=1e-5)


@pytest.mark.parametrize(("seconds", "steps"), [(3600.0, [9]), (0.0, [*range(1, 10), 9])])
def test_a_run_without_validation_is_saved_when_it_is_time(tmp_path, monkeypatch, seconds, steps):
    monkeypatch.setattr("charrnn.training.kept.SAVE_SECONDS", seconds)
    data = prepared(tmp_path, SHORT_TEXT, val=0.0)
    saved = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, path: saved.append((self.progress.step, path.name)))
    state, _ = TrainingState.begin(ModelConfig(len(data.vocabulary), hidden=12), TrainConfig(steps=9, batch=4), data)
    (tmp_path / "run").mkdir()
    Trainer(tmp_path / "run", state, Silent()).run(Silent())
    assert saved == [(step, "last.npz") for step in steps]


def test_patience_ends_a_run_that_no_longer_improves(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 4, "seq_len": 20, "steps": 500, "eval_every": 2, "patience": 3, "lr": 1e-12}
    trainer = train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 8}, config))
    evaluations = [line for line in journal(tmp_path / "run") if line["kind"] == "eval"]
    best = min(range(len(evaluations)), key=lambda k: evaluations[k]["loss"])
    assert trainer.state.progress.step < 500
    assert len(evaluations) == best + 1 + 3


def test_a_better_loss_gives_patience_anew(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 4, "seq_len": 20, "steps": 500, "eval_every": 1, "patience": 3}
    trainer = trainer_of(tmp_path / "run", data, start(tmp_path, data, {"hidden": 8}, config), Silent())
    losses = iter([3.0, 3.1, 3.1, 2.9, 3.0, 3.0, 3.0])
    trainer.validation.evaluator.loss = lambda progress: next(losses)
    trainer.run(Silent())
    assert (trainer.state.progress.step, trainer.state.progress.best_step, trainer.out_of_patience()) == (7, 4, True)


def test_plateaus_lower_the_rate(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 4, "seq_len": 20, "steps": 40, "eval_every": 2, "lr": 1e-12, "schedule": "plateau", "plateau": 2}
    trainer = train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 8}, config))
    p = trainer.state.progress
    assert p.lr_scale < 1


def test_a_plateau_lasts_as_many_evaluations_as_asked(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 4, "seq_len": 20, "steps": 9, "eval_every": 1, "schedule": "plateau", "plateau": 3, "decay": 0.4}
    trainer = trainer_of(tmp_path / "run", data, start(tmp_path, data, {"hidden": 8}, config), Silent())
    losses, scales = iter([3.0, 3.1, 3.1, 3.1, 2.9, 3.0, 3.0, 3.0, 3.0]), []

    def loss(progress):
        scales.append(trainer.state.progress.lr_scale)
        return next(losses)

    trainer.validation.evaluator.loss = loss
    trainer.run(Silent())
    assert scales == pytest.approx([1, 1, 1, 1, 0.4, 0.4, 0.4, 0.4, 0.16])


def test_older_checkpoints_are_kept_as_many_as_asked(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 4, "seq_len": 20, "steps": 10, "eval_every": 2, "keep": 2}
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 8}, config))
    names = sorted(path.name for path in (tmp_path / "run").glob("step-*.npz"))
    assert names == ["step-000000008.npz", "step-000000010.npz"]
    kept, last = arrays(tmp_path / "run" / names[1]), arrays(tmp_path / "run" / "last.npz")
    assert all(np.array_equal(kept[name], last[name]) for name in last if name.startswith("parameters/"))


def test_a_new_limit_takes_the_place_of_the_older_ones(tmp_path):
    data, run = prepared(tmp_path, SHORT_TEXT), tmp_path / "run"
    train(run, data, start(tmp_path, data, {"hidden": 8}, {"batch": 4, "seq_len": 20, "epochs": 1.0}))
    training = resume_run(run, data, {"steps": 100}).training
    assert (training.steps, training.epochs, training.minutes) == (100, 0, 0)


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(OutputError, match="in use"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
