"""The training loop: truncated back-propagation through time over B streams, chunk after chunk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from charrnn.cache import compilation
from charrnn.errors import DataError, TrainingError
from charrnn.folders import BEST, JOURNAL, LAST, OLDER_CHECKPOINT
from charrnn.interrupt import Interrupt
from charrnn.model.network import Network
from charrnn.model.parameters import Parameters
from charrnn.text.data import Data
from charrnn.training.average import Average
from charrnn.training.checkpoint import Checkpoint, load_checkpoint
from charrnn.training.clock import Clock
from charrnn.training.evaluate import Evaluator
from charrnn.training.guard import Verdict, diverged, guessing, judge, suspicion, useful
from charrnn.training.journal import Journal
from charrnn.training.learner import Learner
from charrnn.training.optimiser import Optimiser
from charrnn.training.progress import Progress
from charrnn.training.schedule import learning_rate, share_done
from charrnn.training.watcher import Watcher

LOG_SECONDS = 0.5  # between lines of the journal
SAVE_SECONDS = 60.0  # between checkpoints, at the most
EVALUATION_SHARE = 20  # by default, training reads this many times the validation text between evaluations
MOST_ROLLBACKS = 5  # before the run is given up
STEPS_OF_PEACE = 1000  # after which earlier rollbacks no longer count


class Trainer:
    """One run, from a checkpoint to its end.

    Args:
        path: the RUN folder.
        data: what to train on.
        checkpoint: where to begin.
        watcher: who is told.
        preview: makes a sample of text, of so many characters, to show at each evaluation.
        settle: called when the run has its first checkpoint; returns where the RUN folder is from then on.
        began: when the command began, in seconds by `time.perf_counter`; None for now.
    """

    def __init__(
        self,
        path: Path,
        data: Data,
        checkpoint: Checkpoint,
        watcher: Watcher,
        preview: Callable[[Network, int], str] | None = None,
        settle: Callable[[], Path] | None = None,
        began: float | None = None,
    ) -> None:
        self.settle = settle
        self.path, self.checkpoint, self.watcher, self.preview = path, checkpoint, watcher, preview
        self.config, self.progress = checkpoint.training, checkpoint.progress
        self.network = checkpoint.network()
        self.optimiser = Optimiser(self.config, self.network.parameters)
        self.average = Average(self.config.ema, self.network.parameters) if self.config.ema else None
        self.evaluator = Evaluator(self.network, data.splits["val"]) if "val" in data.splits else None
        self.eval_every = self.config.eval_every or self._usual_eval_every(data)
        self.clock = Clock(self.progress, self.config.minutes, time.perf_counter() if began is None else began)
        self._compiled = compilation.seconds if began is None else 0.0  # before the clock began
        self.evaluation_estimate = 0.0  # seconds
        self.lr, self.last_norm = self.config.lr, math.nan
        self.learner = Learner(self.network, data.split("train"), self.config)
        self._warm = False
        self._take_over(checkpoint)

    def _usual_eval_every(self, data: Data) -> int:
        chars = EVALUATION_SHARE * len(data.splits.get("val", ()))
        return max(1, math.ceil(chars / (self.config.batch * self.config.accumulate * self.config.seq_len)))

    def _take_over(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        for name, view in self.network.parameters.items():
            view[:] = checkpoint.parameters[name]
        self.network.pack()
        for moment, values in self.optimiser.moments.items():
            for name, view in values.items():
                view[:] = checkpoint.moments[moment][name]
        self.optimiser.updates = checkpoint.progress.step
        if self.average is not None:
            for name, view in self.average.values.items():
                view[:] = checkpoint.average[name]
        self.learner.set_state(checkpoint.state)
        self.progress = checkpoint.progress

    def run(self, interrupt: Interrupt) -> None:
        """Train until a stopping rule holds or an interrupt is asked for; save at the end either way.

        Raises:
            DataError: the text was changed meanwhile; last.npz then holds all that was learnt before.
            TrainingError: the run broke again and again; last.npz is then the last good checkpoint. Or no model that it
                evaluated was better than guessing.
            OutputError: a file cannot be written.
        """
        if self.ended():
            return
        journal = Journal(self.path / JOURNAL, self.progress.step)
        journal.write("event", name="resume" if self.progress.step else "start", step=self.progress.step)
        if not self._warm:
            self.warm_up()
        saved = logged = time.perf_counter()
        since = Interval()
        while True:
            self.clock.keep(self.progress)
            if self.evaluation_due() and not interrupt.asked:
                self.log(journal, since)
                since, logged = Interval(), time.perf_counter()
                if self._mended(journal) or not self._evaluated(journal, interrupt):
                    continue
                self.save()
                saved = time.perf_counter()
            if self.finished() or interrupt.asked:
                if self._mended(journal):
                    continue
                break
            try:
                since.add(*self.step(journal))
            except DataError:
                self.save()
                raise
            now = time.perf_counter()
            if self._log_due(now - logged):
                self.log(journal, since)
                since, logged = Interval(), now
            if now - saved >= SAVE_SECONDS and not self._mended(journal):
                self.save()
                saved = now
        self.log(journal, since)
        journal.write("event", name="interrupt" if interrupt.asked else "end", step=self.progress.step)
        self.save()
        journal.close()
        if not interrupt.asked:
            self._refuse_useless()

    def _log_due(self, seconds: float) -> bool:
        """Whether the journal gets a line, so many seconds after the last one."""
        every = self.config.log_every
        return self.progress.step % every == 0 if every else seconds >= LOG_SECONDS

    def _mended(self, journal: Journal) -> bool:
        """Whether the model held numbers that are not finite; it is then back at the last checkpoint."""
        if broken := self._broken():
            self.roll_back(journal, "parameters that are no numbers")
        return broken

    def _evaluated(self, journal: Journal, interrupt: Interrupt) -> bool:
        """Evaluate; whether the run goes on from here, and not from its best model, since it has diverged."""
        if diverging := self.evaluate(journal, interrupt):
            self.roll_back(journal, "validation and training loss far above the best evaluation's", BEST)
        return not diverging

    def ended(self) -> bool:
        """Whether nothing is left to do: one of the stopping rules holds, and the last evaluation was made."""
        return self.finished() and not self.evaluation_due()

    def evaluation_due(self) -> bool:
        """Whether the model is to be evaluated before the next step.

        An evaluation that was interrupted is made up for when the run goes on.
        """
        p = self.progress
        if self.evaluator is None or p.evaluated_step == p.step:
            return False
        at_its_time = p.step > 0 and p.step % self.eval_every == 0
        if self.config.minutes and not self.config.eval_every:
            at_its_time = at_its_time and self.clock.affords(p, self.evaluation_estimate)
        return at_its_time or self.finished()

    def finished(self) -> bool:
        """Whether one of the stopping rules holds."""
        return self.done() >= 1.0 or self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether too many evaluations brought no lower loss."""
        return 0 < self.config.patience <= self.progress.evaluations_since_best

    def done(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return self._done_after(self.progress.step)

    def _done_after(self, steps: int) -> float:
        time_done = self.clock.share_done(self.progress, self.evaluation_estimate)
        return share_done(self.config, steps, self.epochs(), time_done)

    def epochs(self) -> float:
        """Passes over the training text so far, with fraction."""
        return self.progress.epoch + self.progress.position / self.learner.streams.steps

    def warm_up(self) -> None:
        """Have every kernel compiled or loaded; no parameter changes, and compilation takes no time of the run."""
        self.learner.warm_up()
        scratch = Parameters({"any": (1,), "any.W_h": (1, 1)}, self.network.dtype)
        optimiser = Optimiser(self.config, scratch)
        optimiser.update(scratch, scratch.like(), optimiser.norm(scratch), lr=0.0)
        if self.average is not None:
            Average(self.config.ema, scratch).follow(scratch, 0)
        if self.evaluator is not None:
            self.evaluator.warm_up()
            if self.preview is not None:
                self.preview(self.network, 1)
        self.clock.leave_out(compilation.seconds - self._compiled)
        if self.evaluator is not None:
            self._plan_evaluations()
        self.clock.keep(self.progress)
        if not self.progress.step:
            self.progress.overhead = self.progress.elapsed
        self._warm = True

    def _plan_evaluations(self) -> None:
        """Measure how long an evaluation takes; when that is too long for --minutes, fewer characters are read."""
        assert self.evaluator is not None
        p, total = self.progress, self.evaluator.streams.steps
        pace = self.evaluator.seconds_per_char()
        if not p.step:
            chars = self.clock.chars_to_evaluate(total, pace)
            p.evaluation_chars = chars if chars < total else 0
        if p.evaluation_chars:
            self.evaluator = Evaluator(self.network, self.evaluator.symbols[: p.evaluation_chars + 1])
            self.watcher.shortened(p.evaluation_chars, total)
        self.evaluation_estimate = pace * self.evaluator.streams.steps

    def step(self, journal: Journal) -> tuple[float, int, float]:
        """One chunk forwards and backwards and one update; returns loss (nats), characters, seconds.

        Nothing is returned but zeros for an update that was not made.
        """
        start = time.perf_counter()
        p = self.progress
        loss, steps, chars = self.learner.learn(p.position, p.step)
        norm = self.optimiser.norm(self.network.gradients)
        verdict = judge(p, loss, norm, self.checkpoint.model.symbols)
        if verdict is Verdict.ROLL_BACK:
            self.roll_back(journal, f"loss {loss:.4g} nats, gradient norm {norm:.4g}")
            return 0.0, 0, 0.0
        if verdict is Verdict.SKIP:
            self.learner.reject()
            self._move_on(steps)
            journal.write("event", name="skip", step=p.step, loss=finite(loss), grad_norm=finite(norm))
            self.watcher.warned(f"step {p.step:,}: loss {loss:.4g} nats, gradient norm {norm:.4g}: update skipped")
            return 0.0, 0, 0.0
        before = self.done()
        self.learner.accept()
        self._move_on(steps)
        done = 0.5 * (before + self._done_after(p.step + 1))
        length = self.learner.length(p.step) / self.config.seq_len  # shorter chunks make smaller updates
        self.lr = learning_rate(self.config, done, p.step, p.lr_scale) * length
        self.optimiser.update(self.network.parameters, self.network.gradients, norm, self.lr)
        self.network.pack()
        p.step += 1
        if self.average is not None:
            self.average.follow(self.network.parameters, p.step)
        p.chars += chars
        seconds = time.perf_counter() - start
        p.seconds += seconds
        self.last_norm = norm
        return loss, chars, seconds

    def _move_on(self, steps: int) -> None:
        """Move along the text; a new epoch begins from a state of zeros."""
        p = self.progress
        p.position += steps
        if p.position >= self.learner.streams.steps:
            p.epoch, p.position = p.epoch + 1, 0
            self.learner.reset_state()

    def roll_back(self, journal: Journal, reason: str, name: str = LAST) -> None:
        """Go back to a checkpoint, with half the learning rate.

        Raises:
            TrainingError: it happened too often, each time soon after the last, since the loss was last at its best.
        """
        last, failed = load_checkpoint(self.path / name), self.progress
        what = f"{reason} at step {failed.step:,}"
        if failed.step > failed.rolled_back_from + STEPS_OF_PEACE:
            failed.rollbacks = 0
        if failed.rollbacks >= MOST_ROLLBACKS:
            journal.write("event", name="give-up", step=failed.step, reason=what)
            raise TrainingError(
                f"expected a run that gets better, got {what}, after going back {failed.rollbacks} times to ever "
                "lower rates; "
                f"try a lower --lr than {self.config.lr}, or --clip-norm; {self.path / name} is intact"
            )
        journal.write("event", name="rollback", step=last.progress.step, checkpoint=name, reason=what)
        last.progress.rollbacks, last.progress.lr_scale = failed.rollbacks + 1, 0.5 * failed.lr_scale
        last.progress.rolled_back_from = failed.step
        for field in ("elapsed", "overhead", "evaluation_seconds", "evaluation_chars"):
            setattr(last.progress, field, getattr(failed, field))
        self._take_over(last)
        self.save()
        for step, path in self._older():
            if step > last.progress.step:
                path.unlink(missing_ok=True)
        self.watcher.warned(
            f"{what}: going back to step {last.progress.step:,} with {last.progress.lr_scale:g} of the learning rate"
        )

    def log(self, journal: Journal, since: Interval) -> None:
        """A line of the journal, and word to the watcher, about the steps since the last one, if there were any."""
        if not since.chars:
            return
        p = self.progress
        loss, rate = since.loss / since.chars, since.chars / since.seconds
        journal.write(
            "train",
            step=p.step,
            epoch=self.epochs(),
            chars=p.chars,
            seconds=p.seconds,
            loss=loss,
            bpc=loss / math.log(2),
            lr=self.lr,
            grad_norm=self.last_norm,
            chars_per_second=rate,
        )
        self.watcher.trained(self, loss, rate)

    def evaluate(self, journal: Journal, interrupt: Interrupt) -> bool:
        """Measure the validation loss; the lowest so far is kept as best.npz. Returns whether the run has diverged."""
        assert self.evaluator is not None
        with self._averaged():
            loss = self._validation_loss(interrupt)
            if loss is None:
                return False
            preview = self.preview(self.network, self.config.preview) if self.preview is not None else ""
        p = self.progress
        best = useful(loss, self.checkpoint.model.symbols) and (p.best_loss is None or loss < p.best_loss)
        worse = diverged(p, loss, self.checkpoint.model.symbols)
        p.evaluations_since_best = 0 if best else p.evaluations_since_best + 1
        if best:
            p.best_loss, p.best_step, p.best_loss_mean, p.rollbacks = loss, p.step, p.loss_mean, 0
            self.save(BEST)
        elif not worse and self.config.schedule == "plateau" and p.evaluations_since_best % self.config.plateau == 0:
            p.lr_scale *= self.config.decay
        extra = {"preview": preview} if preview else {}
        journal.write(
            "eval",
            split="val",
            step=p.step,
            chars=self.evaluator.streams.steps,
            loss=finite(loss),
            bpc=finite(loss / math.log(2)),
            seconds=self.evaluation_estimate,
            **extra,
        )
        self.watcher.evaluated(p, loss, best, preview)
        if strange := suspicion(p, self.epochs(), loss, self.checkpoint.model.symbols):
            self.watcher.warned(strange)
        self._keep_older()
        return worse

    def _refuse_useless(self) -> None:
        """Raise TrainingError when no evaluation of the whole run was better than guessing."""
        p = self.progress
        if p.evaluated_step and p.best_loss is None:
            raise TrainingError(
                f"expected a model that is better than guessing ({guessing(self.checkpoint.model.symbols):.2f} nats), "
                f"got none in {p.step:,} steps; try a lower --lr than {self.config.lr:g}; "
                f"{self.path / LAST} holds the last one"
            )

    def _validation_loss(self, interrupt: Interrupt) -> float | None:
        assert self.evaluator is not None
        start, total = time.perf_counter(), self.evaluator.streams.steps

        def going_on(done: int) -> bool:
            self.watcher.evaluating(done, total)
            return not interrupt.asked

        loss = self.evaluator.loss(going_on)
        seconds = time.perf_counter() - start
        if loss is not None:
            self.evaluation_estimate = seconds
            self.progress.evaluated_step = self.progress.step
            self.progress.evaluation_seconds += seconds
        return loss

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network has the averaged parameters inside, if there are any."""
        if self.average is None:
            yield
            return
        with self.average.in_place_of(self.network.parameters):
            self.network.pack()
            yield
        self.network.pack()

    def _keep_older(self) -> None:
        """Keep a checkpoint of this evaluation, and drop the oldest of those beyond --keep."""
        if not self.config.keep:
            return
        self.save(f"step-{self.progress.step:09d}.npz")
        for _, path in self._older()[: -self.config.keep]:
            path.unlink(missing_ok=True)

    def _older(self) -> list[tuple[int, Path]]:
        """The checkpoints of earlier evaluations, each after its step."""
        paths = [path for path in self.path.glob("step-*.npz") if OLDER_CHECKPOINT.fullmatch(path.name)]
        return sorted((int(path.stem.removeprefix("step-")), path) for path in paths if path.is_file())

    def _broken(self) -> bool:
        """Whether there are numbers in the model or the optimiser that are not finite."""
        vectors = [self.network.parameters, *self.optimiser.moments.values()]
        return not all(np.isfinite(vector.flat).all() for vector in vectors)

    def save(self, name: str = LAST) -> None:
        """Write a checkpoint of this moment."""
        checkpoint = Checkpoint(
            self.checkpoint.model,
            self.config,
            Progress(**asdict(self.progress)),
            self.checkpoint.vocabulary,
            self.checkpoint.data,
            dict(self.network.parameters.items()),
            {moment: dict(values.items()) for moment, values in self.optimiser.moments.items()},
            self.learner.state(),
            self.checkpoint.form,
            dict(self.average.values.items()) if self.average is not None else {},
        )
        checkpoint.save(self.path / name)
        if name == LAST and self.settle is not None:
            self.path, self.settle = self.settle(), None


def finite(number: float) -> float | None:
    """The number, or None for what JSON cannot hold."""
    return number if math.isfinite(number) else None


class Interval:
    """Sums over the steps between two lines of the journal."""

    def __init__(self) -> None:
        self.loss, self.chars, self.seconds = 0.0, 0, 0.0

    def add(self, loss: float, chars: int, seconds: float) -> None:
        """One step: mean loss, characters, seconds."""
        self.loss += loss * chars
        self.chars += chars
        self.seconds += seconds
