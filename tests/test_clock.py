"""What --minutes counts, and what evaluations may take of it."""

import math
import time
from itertools import count

import numpy as np
import pytest
from helpers_cli import journal
from test_training import SHORT_TEXT, Silent, prepared, start, trainer_of

from charrnn.errors import TrainingError
from charrnn.training.checkpoint import load_checkpoint
from charrnn.training.clock import Clock
from charrnn.training.evaluate import Evaluator
from charrnn.training.progress import Progress


@pytest.fixture
def now(monkeypatch):
    """A clock that is set by hand."""
    times = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: times[0])
    return times


def test_time_counts_from_the_beginning_of_the_command_and_on_when_a_run_goes_on(now):
    progress = Progress(elapsed=70.0)
    clock = Clock(progress, minutes=2, began=990.0)
    clock.keep(progress)
    assert progress.elapsed == 80.0
    now[0] = 1025.0
    clock.leave_out(20.0)
    clock.keep(progress)
    assert progress.elapsed == 85.0


def test_training_has_what_the_beginning_and_the_last_evaluation_leave_of_the_minutes():
    progress = Progress(elapsed=10.0, overhead=10.0)
    clock = Clock(progress, minutes=2, began=0.0)
    assert clock.share_done(progress, evaluation=5.0) == 0.0
    progress.elapsed = 115.0
    assert clock.share_done(progress, evaluation=5.0) == 1.0
    progress.elapsed = 62.5
    assert clock.share_done(progress, evaluation=5.0) == 0.5
    assert Clock(progress, minutes=0, began=0.0).share_done(progress, evaluation=5.0) == 0.0


def test_half_of_the_minutes_is_for_training_whatever_happens():
    progress = Progress(elapsed=110.0, overhead=100.0)
    assert Clock(progress, minutes=1, began=0.0).share_done(progress, evaluation=50.0) == pytest.approx(10 / 30)


def test_evaluations_stay_below_a_tenth_of_the_time():
    clock = Clock(Progress(), minutes=10, began=0.0)
    assert clock.chars_to_evaluate(10_000, seconds_per_char=1e-3) == 10_000
    assert clock.chars_to_evaluate(1_000_000, seconds_per_char=1e-3) == 30_000
    assert Clock(Progress(), minutes=0, began=0.0).chars_to_evaluate(1_000_000, 1e-3) == 1_000_000
    assert clock.affords(Progress(elapsed=200.0, evaluation_seconds=4.0), evaluation=6.0)
    assert not clock.affords(Progress(elapsed=199.0, evaluation_seconds=4.0), evaluation=6.0)


def timed(tmp_path, data, monkeypatch, pace, **config):
    """A run with --minutes on a machine where evaluation is told to take some seconds a character."""
    monkeypatch.setattr(Evaluator, "seconds_per_char", lambda self: pace)
    checkpoint = start(tmp_path, data, {"hidden": 9}, {"batch": 5, "seq_len": 20, "steps": 40} | config)
    trainer = trainer_of(tmp_path / "run", data, checkpoint, Silent())
    trainer.run(Silent())
    return trainer


def test_a_long_validation_text_is_read_in_part_and_the_run_goes_on_with_that_part(tmp_path, monkeypatch):
    data = prepared(tmp_path, SHORT_TEXT)
    pace = 3.0 / 100  # so that 3 of 60 seconds are enough for 100 characters
    trainer = timed(tmp_path, data, monkeypatch, pace, minutes=1)
    evaluations = [line for line in journal(tmp_path / "run") if line["kind"] == "eval"]
    assert {line["chars"] for line in evaluations} == {100}
    part = np.asarray(data.splits["val"])[:101]
    network = load_checkpoint(tmp_path / "run" / "best.npz").network()
    assert Evaluator(network, part).loss() == pytest.approx(trainer.state.progress.best_loss, rel=1e-9)
    later = trainer_of(tmp_path / "run", data, load_checkpoint(tmp_path / "run" / "last.npz"), Silent())
    monkeypatch.setattr(Evaluator, "seconds_per_char", lambda self: 1e-9)
    later.warm_up()
    assert later.validation.evaluator.chars == 100


def test_the_pace_of_evaluation_is_time_for_each_character(tmp_path, monkeypatch):
    data = prepared(tmp_path, SHORT_TEXT)
    network = start(tmp_path, data, {"hidden": 9}, {"batch": 5, "seq_len": 20, "steps": 3}).network()
    evaluator = Evaluator(network, data.split("train")[:51])
    monkeypatch.setattr(time, "perf_counter", count().__next__)  # one second from each look to the next
    assert evaluator.seconds_per_char() == 1 / 50


@pytest.mark.parametrize(
    ("batch", "accumulate", "seq_len", "every"), [(5, 1, 20, None), (2, 3, 7, None), (50, 1, 50, 10)]
)
def test_between_evaluations_a_run_reads_twenty_times_the_validation_text(tmp_path, batch, accumulate, seq_len, every):
    data = prepared(tmp_path, SHORT_TEXT * 3)
    config = {"batch": batch, "accumulate": accumulate, "seq_len": seq_len, "steps": 1}
    trainer = trainer_of(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, config), Silent())
    wanted = math.ceil(20 * len(data.splits["val"]) / (batch * accumulate * seq_len))
    assert trainer.validation.every == (every or wanted)
    assert (wanted < 10) == bool(every)


def test_an_evaluation_that_is_too_dear_waits_for_the_last_one(tmp_path, monkeypatch):
    data = prepared(tmp_path, SHORT_TEXT)
    monkeypatch.setattr("charrnn.training.validation.TIMES_READ", 1)  # due every few steps
    timed(tmp_path, data, monkeypatch, 0.005, minutes=2)
    assert [line["step"] for line in journal(tmp_path / "run") if line["kind"] == "eval"] == [40]


def test_the_time_before_training_is_overhead(tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.cache.compilation.seconds", 0.0)  # of the tests before
    data = prepared(tmp_path, SHORT_TEXT)
    checkpoint = start(tmp_path, data, {"hidden": 9}, {"batch": 5, "seq_len": 20, "minutes": 60, "steps": 3})
    trainer = trainer_of(tmp_path / "run", data, checkpoint, Silent(), began=time.perf_counter() - 100)
    trainer.run(Silent())
    p = trainer.state.progress
    assert 100 <= p.overhead <= p.elapsed


def test_the_seconds_of_the_steps_are_part_of_those_of_the_run(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    checkpoint = start(tmp_path, data, {"hidden": 9}, {"batch": 5, "seq_len": 20, "steps": 3})
    trainer = trainer_of(tmp_path / "run", data, checkpoint, Silent())
    before = time.perf_counter()
    trainer.run(Silent())
    assert 0 < trainer.state.progress.seconds < time.perf_counter() - before


def test_what_was_compiled_before_a_run_is_not_left_out_of_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.cache.compilation.seconds", 500.0)
    data = prepared(tmp_path, SHORT_TEXT)
    trainer = trainer_of(
        tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, {"batch": 5, "steps": 3}), Silent()
    )
    trainer.run(Silent())
    assert trainer.state.progress.elapsed >= trainer.state.progress.overhead >= 0


def test_the_first_update_has_a_rate(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 5, "seq_len": 20, "steps": 50, "schedule": "linear", "warmup": 0.1, "lr": 1.0}
    trainer = trainer_of(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, config), Silent())
    rates, update = [], trainer.state.optimiser.update
    trainer.state.optimiser.update = lambda p, g, norm, lr: (rates.append(lr), update(p, g, norm, 0.0))
    trainer.run(Silent())
    middles = [(step + 0.5) / 50 for step in range(50)]
    assert rates == pytest.approx([done / 0.1 if done < 0.1 else (1 - done) / 0.9 for done in middles])


def test_a_run_whose_model_is_never_better_than_guessing_is_an_error(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    config = {"batch": 5, "seq_len": 20, "steps": 10, "eval_every": 5}
    trainer = trainer_of(tmp_path / "run", data, start(tmp_path, data, {"hidden": 9}, config), Silent())
    trainer.validation.evaluator.loss = lambda progress: 172_430.0
    with pytest.raises(TrainingError, match="better than guessing"):
        trainer.run(Silent())
    assert load_checkpoint(tmp_path / "run" / "last.npz").progress.best_loss is None
    assert not (tmp_path / "run" / "best.npz").exists()
