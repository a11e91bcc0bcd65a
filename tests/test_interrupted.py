"""Interrupts inside evaluations, and runs that replace older ones."""

import os

import pytest
from helpers_cli import journal
from test_training import SHORT_TEXT, Silent, arrays, assert_same_bits, prepared, start, train, trainer_of

from charrnn.cli.progress import Previewer
from charrnn.errors import DataError, TrainingError
from charrnn.model.config import ModelConfig
from charrnn.sampling.sampler import PIECE
from charrnn.training.checkpoint import load_checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.loop import Trainer
from charrnn.training.run import new_run, resume_run
from charrnn.training.state import TrainingState

CONFIG = {"batch": 5, "seq_len": 20, "steps": 60, "eval_every": 10, "lr": 0.02}
FIELDS = ("step", "epoch", "position", "best_loss", "best_step", "lr_scale", "evaluations_since_best", "evaluated_step")


class StopsEvaluating(Silent):
    """Asks for an interrupt as soon as an evaluation begins at or after a given step."""

    def __init__(self, step):
        super().__init__()
        self.step, self.trainer = step, None

    def evaluating(self, done, total):
        if self.trainer.state.progress.step >= self.step:
            self.asked = 2


def interrupted(run, data, checkpoint, step):
    watcher = StopsEvaluating(step)
    watcher.trainer = trainer_of(run, data, checkpoint, watcher)
    watcher.trainer.run(watcher)
    assert watcher.asked
    assert watcher.trainer.state.progress.step == step


@pytest.mark.parametrize("stops", [(10,), (30,), (60,), (10, 20, 60)])
@pytest.mark.parametrize("extra", [{}, {"schedule": "plateau", "plateau": 1, "ema": 0.8}, {"patience": 2, "lr": 0.1}])
def test_an_evaluation_that_was_interrupted_is_made_up_for(tmp_path, stops, extra):
    data = prepared(tmp_path, SHORT_TEXT)
    model, config = {"cell": "gru", "hidden": 9}, CONFIG | extra
    whole = train(tmp_path / "whole", data, start(tmp_path, data, model, config, "whole"))
    checkpoint = start(tmp_path, data, model, config, "parts")
    for stop in [step for step in stops if step <= whole.state.progress.step]:
        interrupted(tmp_path / "parts", data, checkpoint, stop)
        checkpoint = resume_run(tmp_path / "parts", data, {})
    parts = train(tmp_path / "parts", data, checkpoint)
    for file in ("last.npz", "best.npz"):
        assert_same_bits(tmp_path / "whole" / file, tmp_path / "parts" / file)
    for field in FIELDS:
        assert getattr(parts.state.progress, field) == getattr(whole.state.progress, field), field
    evaluations = [[line["step"] for line in journal(tmp_path / run) if line["kind"] == "eval"]
                   for run in ("whole", "parts")]  # fmt: skip
    assert evaluations[0] == evaluations[1]


def test_a_run_is_not_ended_before_its_last_evaluation(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = CONFIG | {"eval_every": 1000}
    interrupted(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, config), 60)
    assert not (tmp_path / "run" / "best.npz").exists()
    checkpoint = resume_run(tmp_path / "run", data, {})
    trainer = trainer_of(tmp_path / "run", data, checkpoint, Silent())
    assert (trainer.finished(), trainer.ended()) == (True, False)
    trainer.run(Silent())
    assert trainer.ended()
    assert load_checkpoint(tmp_path / "run" / "best.npz").progress.best_step == 60


def test_an_older_checkpoint_owes_no_evaluation(tmp_path):
    """Runs that ended before evaluations were noted have ended."""
    import json

    import numpy as np

    data = prepared(tmp_path, SHORT_TEXT)
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, CONFIG))
    path = tmp_path / "run" / "last.npz"
    with np.load(path) as file:
        content = dict(file.items())
    progress = json.loads(str(content["progress"]))
    del progress["evaluated_step"]
    np.savez(path, **content | {"progress": json.dumps(progress)})
    assert trainer_of(tmp_path / "run", data, load_checkpoint(path), Silent()).ended()


def test_the_state_is_zeros_when_an_epoch_begins(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    checkpoint = start(tmp_path, data, {"hidden": 9}, CONFIG | {"eval_every": 1000})
    for step, epoch, zeros in ((26, 0, False), (27, 1, True)):
        train(tmp_path / "run", data, checkpoint, stop_at=step)
        checkpoint = resume_run(tmp_path / "run", data, {})
        assert (checkpoint.progress.epoch, all(not value.any() for value in checkpoint.state.values())) == (
            epoch,
            zeros,
        )


def test_an_interrupt_ends_a_preview_after_a_piece(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    checkpoint = start(tmp_path, data, {"hidden": 9}, CONFIG | {"preview": 1000})
    watcher, shown, show = Silent(), [], Previewer(data.vocabulary, 0)

    def preview(network, length, goes_on):
        watcher.asked = 2 if length > 1 else 0
        shown.append(show(network, length, goes_on))
        return shown[-1]

    trainer = trainer_of(tmp_path / "run", data, checkpoint, watcher, preview=preview)
    trainer.run(watcher)
    assert [len(text) for text in shown] == [1, PIECE]
    assert journal(tmp_path / "run")[-2]["preview"] == shown[-1]
    assert journal(tmp_path / "run")[-1] == {"kind": "event", "name": "interrupt", "step": 10}


def replacing_run(tmp_path, data, config, watcher):
    """Train a new run in place of an older one."""
    state, _ = TrainingState.begin(ModelConfig(len(data.vocabulary), hidden=11), TrainConfig(**config), data)
    with new_run(tmp_path / "run", state, force=True) as folder:
        Trainer(folder.path, state, watcher, settle=folder.settle).run(watcher)


def test_an_older_run_is_replaced_when_the_new_one_has_its_first_checkpoint(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, CONFIG))
    older = arrays(tmp_path / "run" / "last.npz")
    seen = {}

    class Watching(Silent):
        def evaluating(self, done, total):
            seen.setdefault("at the first evaluation", arrays(tmp_path / "run" / "last.npz"))

        def evaluated(self, progress, loss, best, preview):
            if progress.step == 20:
                seen["later"] = load_checkpoint(tmp_path / "run" / "best.npz").model.hidden

    replacing_run(tmp_path, data, CONFIG, Watching())
    assert all(seen["at the first evaluation"][name].tobytes() == value.tobytes() for name, value in older.items())
    assert seen["later"] == 11
    assert load_checkpoint(tmp_path / "run" / "last.npz").progress.step == 60
    assert journal(tmp_path / "run")[-1] == {"kind": "event", "name": "end", "step": 60}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.txt", "run"]


def test_a_text_that_changes_ends_a_run_with_all_that_was_learnt(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    checkpoint = start(tmp_path, data, {"hidden": 9}, CONFIG | {"eval_every": 1000})

    def change(trainer):
        if trainer.state.progress.step == 13:
            with (tmp_path / "data" / "train.npy").open("r+b") as file:
                file.seek(128)
                file.write(b"\xff" * len(data.split("train")))

    with pytest.raises(DataError, match=r"train\.npy to stay as it is, got symbol 255"):
        train(tmp_path / "run", data, checkpoint, each_step=change)
    assert load_checkpoint(tmp_path / "run" / "last.npz").progress.step == 13


def test_an_older_run_stays_when_the_new_one_comes_to_nothing(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, CONFIG))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    class Fails(Silent):
        def evaluating(self, done, total):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        replacing_run(tmp_path, data, CONFIG, Fails())
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.txt", "run"]


@pytest.mark.parametrize(("name", "every", "noticed"), [("train.npy", 1000, 13), ("val.npy", 20, 20)])
def test_a_text_that_is_cut_short_ends_a_run_with_all_that_was_learnt(tmp_path, name, every, noticed):
    data = prepared(tmp_path, SHORT_TEXT)
    checkpoint = start(tmp_path, data, {"hidden": 9}, CONFIG | {"eval_every": every})

    def cut(trainer):
        if trainer.state.progress.step == 13:
            os.truncate(tmp_path / "data" / name, 130)

    with pytest.raises(DataError, match="cut short"):
        train(tmp_path / "run", data, checkpoint, each_step=cut)
    assert load_checkpoint(tmp_path / "run" / "last.npz").progress.step == noticed


def test_an_older_run_stays_when_the_new_one_learnt_nothing(tmp_path):
    """At step 0 it may end because of its time, or because it breaks again and again."""
    data = prepared(tmp_path, SHORT_TEXT)
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, CONFIG))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    wild = {"lr": 1e38, "warmup": 0.0, "schedule": "constant", "clip_norm": 0.0}
    for config in (CONFIG | {"minutes": 1e-9}, CONFIG | wild):
        with pytest.raises(TrainingError):
            replacing_run(tmp_path, data, config, Silent())
        assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_new_limits_of_a_resumed_run_are_kept_at_once(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    train(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, CONFIG))
    resume_run(tmp_path / "run", data, {"steps": 100})  # and is killed before its first checkpoint
    assert resume_run(tmp_path / "run", data, {}).training.steps == 100


def test_a_run_that_goes_on_from_an_earlier_checkpoint_drops_later_ones(tmp_path):
    data, run = prepared(tmp_path, SHORT_TEXT), tmp_path / "run"
    train(run, data, start(tmp_path, data, {"hidden": 9}, CONFIG | {"keep": 3}))
    (run / "step-000000040.npz").replace(run / "last.npz")
    train(run, data, resume_run(run, data, {"steps": 50}))
    assert sorted(path.name for path in run.glob("step-*.npz")) == ["step-000000050.npz"]
