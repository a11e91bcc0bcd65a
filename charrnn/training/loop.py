"""The training loop: truncated back-propagation through time over B streams, chunk after chunk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from charrnn.cache import compilation
from charrnn.errors import DataError, TrainingError
from charrnn.folders import JOURNAL, LAST
from charrnn.interrupt import Interrupt
from charrnn.training import optimiser
from charrnn.training.average import Average
from charrnn.training.clock import Clock
from charrnn.training.guard import Verdict, guessing, judge
from charrnn.training.journal import Journal, finite
from charrnn.training.kept import KeptCheckpoints
from charrnn.training.recovery import Recovery
from charrnn.training.schedule import learning_rate, share_done
from charrnn.training.state import TrainingState
from charrnn.training.validation import Preview, Validation
from charrnn.training.watcher import Figures, Watcher

LOG_SECONDS = 0.5  # between lines of the journal


@dataclass
class Interval:
    """Sums over the steps since the last line of the journal."""

    began: float
    loss: float = 0.0
    chars: int = 0
    seconds: float = 0.0


class Trainer:
    """One run, from a state to its end.

    Args:
        path: the RUN folder, which has a checkpoint of the state.
        state: where to begin.
        watcher: is told how the run goes.
        preview: makes a sample of text, of a given length, to show at each evaluation.
        settle: called at the first checkpoint after a step; it returns the place of the RUN folder from then on.
        began: when the command began, in seconds by `time.perf_counter`; None for now.
    """

    def __init__(
        self,
        path: Path,
        state: TrainingState,
        watcher: Watcher,
        preview: Preview | None = None,
        settle: Callable[[], Path] | None = None,
        began: float | None = None,
    ) -> None:
        self.state, self.config, self.watcher = state, state.config, watcher
        self.kept = KeptCheckpoints(path, state, settle)
        self.clock = Clock(state.progress, self.config.minutes, time.perf_counter() if began is None else began)
        self.validation = Validation(state, self.clock, self.kept, watcher, preview)
        self.recovery = Recovery(state, self.kept, watcher)
        self._compiled = compilation.seconds if began is None else 0.0  # before the clock began
        self._warm = False
        self._interval = Interval(time.perf_counter())
        self.lr, self.last_norm = self.config.lr, math.nan

    def run(self, interrupt: Interrupt) -> None:
        """Train until a stopping rule holds or an interrupt is requested; in both cases, save at the end.

        Raises:
            DataError: the text was changed during the run, or cannot be read any more; last.npz then holds everything
                that was learnt before.
            TrainingError: the run broke repeatedly; last.npz is then the newest intact checkpoint. Or no evaluated
                model was better than guessing.
            OutputError: a file cannot be written.
        """
        if self.ended():
            return
        step = self.state.progress.step
        journal = Journal(self.kept.path / JOURNAL, step, self.state.progress.evaluated_step)
        journal.write("event", name="resume" if step else "start", step=step)
        if not self._warm:
            self.warm_up()
        self._interval = Interval(time.perf_counter())
        try:
            while self._go_on(journal, interrupt):
                pass
        except DataError:
            if self.state.is_finite():
                self.kept.save()
            raise
        self.log(journal)
        whole = self.ended() or not interrupt.asked
        journal.write("event", name="end" if whole else "interrupt", step=self.state.progress.step)
        self.kept.save()
        journal.close()
        if whole:
            self._refuse_useless()

    def _go_on(self, journal: Journal, interrupt: Interrupt) -> bool:
        """Evaluate or make a step, whichever is due; False if the run is at its end."""
        self.clock.keep(self.state.progress)
        if self.evaluation_due() and not interrupt.asked:
            self._evaluate(journal, interrupt)
        elif self.finished() or interrupt.asked:
            return self.recovery.mend(journal)
        else:
            self._train(journal)
        return True

    def _train(self, journal: Journal) -> None:
        """Make one step; when it is time, write a line of the journal and a checkpoint."""
        self.step(journal)
        if self._log_due():
            self.log(journal)
        if self.kept.due() and not self.recovery.mend(journal):
            self.kept.save()

    def _evaluate(self, journal: Journal, interrupt: Interrupt) -> None:
        """Measure the validation loss; if the model is broken or has diverged, go back to an earlier checkpoint."""
        self.log(journal)
        if self.recovery.mend(journal):
            return
        loss = self.validation.evaluate(journal, interrupt)
        if loss is None or not self.recovery.mend_divergence(journal, loss):
            self.kept.save()

    def ended(self) -> bool:
        """Whether nothing is left to do: one of the stopping rules holds, and the final evaluation was made."""
        return self.finished() and not self.evaluation_due()

    def evaluation_due(self) -> bool:
        """Whether the model must be evaluated before the next step."""
        return self.validation.due(self.finished())

    def finished(self) -> bool:
        """Whether one of the stopping rules holds."""
        return self.done() >= 1.0 or self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether there were --patience evaluations since the loss was lowest."""
        return 0 < self.config.patience <= self.state.progress.evaluations_since_best

    def done(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return self._done_after(self.state.progress.step)

    def _done_after(self, steps: int) -> float:
        time_done = self.clock.share_done(self.state.progress, self.validation.estimate)
        return share_done(self.config, steps, self.state.epochs(), time_done)

    def warm_up(self) -> None:
        """Compile or load every kernel; no parameter changes, and the time of the run does not count compilation."""
        self.state.learner.warm_up()
        scratch = optimiser.warm_up(self.config, self.state.network.dtype)
        if self.state.average is not None:
            Average(self.config.ema, scratch).follow(scratch, 0)
        self.validation.warm_up()
        self.clock.leave_out(compilation.seconds - self._compiled)
        self.validation.plan()
        p = self.state.progress
        self.clock.keep(p)
        if not p.step:
            p.overhead = p.elapsed
        self._warm = True

    def step(self, journal: Journal) -> None:
        """Make one forward and backward pass over a chunk, and one update, unless `judge` forbids the update."""
        start, state, p = time.perf_counter(), self.state, self.state.progress
        loss, steps, chars = state.learner.learn(p.position, p.draw, p.epoch)
        norm = state.optimiser.norm(state.network.gradients)
        verdict = judge(p, loss, norm, state.model.symbols)
        if verdict is Verdict.ROLL_BACK:
            self.recovery.roll_back(journal, f"loss {loss:.4g} nats, gradient norm {norm:.4g}")
        elif verdict is Verdict.SKIP:
            state.learner.reject()
            state.move_on(steps)
            p.left_out += 1
            journal.write("event", name="skip", step=p.step, loss=finite(loss), grad_norm=finite(norm))
            self.watcher.warned(f"step {p.step:,}: loss {loss:.4g} nats, gradient norm {norm:.4g}: update skipped")
        else:
            self._update(steps, norm)
            p.chars += chars
            seconds = time.perf_counter() - start
            p.seconds += seconds
            self._interval.loss += loss * chars
            self._interval.chars += chars
            self._interval.seconds += seconds

    def _update(self, steps: int, norm: float) -> None:
        """Update the parameters with the gradient, whose global norm is `norm`, and move `steps` on in the text."""
        state, p = self.state, self.state.progress
        before = self.done()
        state.learner.accept()
        state.move_on(steps)
        done = 0.5 * (before + self._done_after(p.step + 1))
        length = state.learner.length(p.draw) / self.config.seq_len  # shorter chunks make smaller updates
        self.lr, self.last_norm = learning_rate(self.config, done, p.step, p.lr_scale) * length, norm
        state.optimiser.update(state.network.parameters, state.network.gradients, norm, self.lr)
        state.network.pack()
        p.step += 1
        if state.average is not None:
            state.average.follow(state.network.parameters, p.step)

    def _log_due(self) -> bool:
        """Whether it is time for a line of the journal."""
        if every := self.config.log_every:
            return self.state.progress.step % every == 0
        return time.perf_counter() - self._interval.began >= LOG_SECONDS

    def log(self, journal: Journal) -> None:
        """Write a line of the journal about the steps since the line before, if any, and tell the watcher."""
        since, p = self._interval, self.state.progress
        self._interval = Interval(time.perf_counter())
        if not since.chars:
            return
        loss, speed = since.loss / since.chars, since.chars / since.seconds
        journal.write(
            "train",
            step=p.step,
            epoch=self.state.epochs(),
            chars=p.chars,
            seconds=p.seconds,
            loss=loss,
            bpc=loss / math.log(2),
            lr=self.lr,
            grad_norm=self.last_norm,
            chars_per_second=speed,
        )
        self.watcher.trained(self.state, Figures(self.done(), loss, speed, self.last_norm))

    def _refuse_useless(self) -> None:
        """Raise TrainingError if the run made no step, or was evaluated, but never with a loss better than guessing."""
        p = self.state.progress
        if not p.step:
            raise TrainingError(
                f"expected time for a step of training, got none in --minutes {self.config.minutes:g}; try more minutes"
            )
        if p.evaluated_step and p.best_loss is None:
            raise TrainingError(
                f"expected a model that is better than guessing ({guessing(self.state.model.symbols):.2f} nats), "
                f"got none in {p.step:,} steps; try a lower --lr than {self.config.lr:g}; "
                f"{self.kept.path / LAST} holds the last one"
            )
