"""Evaluations during a run: when the validation loss is measured, on how much text, and what follows from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from charrnn.folders import BEST
from charrnn.interrupt import Interrupt
from charrnn.model.network import Network
from charrnn.text.stored import first
from charrnn.training.clock import Clock
from charrnn.training.evaluate import Evaluator
from charrnn.training.guard import diverged, suspicion, useful
from charrnn.training.journal import Journal, finite
from charrnn.training.kept import KeptCheckpoints
from charrnn.training.state import TrainingState
from charrnn.training.watcher import Watcher

TIMES_READ = 20  # by default, training reads this many times the length of the validation text between evaluations
LEAST_STEPS = 10  # between evaluations, by default

Preview = Callable[[Network, int, Callable[[], bool]], str]


class Validation:
    """Measures the validation loss of a model in training.

    Args:
        state: the model in training.
        clock: the clock of the run.
        kept: where best.npz and older checkpoints are saved.
        watcher: is told about the evaluations.
        preview: makes a sample of text, of a given length, to show at each evaluation. It may end the sample early
            when a given function returns False.

    Attributes:
        estimate: seconds that the next evaluation will take; 0 without a validation split. From the second evaluation
            on, this includes the preview and the checkpoints.
    """

    def __init__(
        self, state: TrainingState, clock: Clock, kept: KeptCheckpoints, watcher: Watcher, preview: Preview | None
    ) -> None:
        self.state, self.clock, self.kept, self.watcher, self.preview = state, clock, kept, watcher, preview
        splits = state.data.splits
        self.evaluator = Evaluator(state.network, splits["val"]) if "val" in splits else None
        self.every = state.config.eval_every or self._usual_every()
        self.estimate = 0.0

    def _usual_every(self) -> int:
        """Steps between evaluations, so that they take little time compared with training."""
        config, chars = self.state.config, TIMES_READ * len(self.state.data.splits.get("val", ()))
        return max(LEAST_STEPS, math.ceil(chars / (config.batch * config.accumulate * config.seq_len)))

    def warm_up(self) -> None:
        """Compile or load the kernels of evaluations and previews."""
        if self.evaluator is None:
            return
        self.evaluator.warm_up()
        if self.preview is not None:
            self.preview(self.state.network, 1, lambda: True)

    def plan(self) -> None:
        """Measure how long an evaluation takes; if it takes too long for --minutes, evaluate on fewer characters."""
        if self.evaluator is None:
            return
        p, total = self.state.progress, self.evaluator.chars
        pace = self.evaluator.seconds_per_char()
        if not p.step:
            chars = self.clock.chars_to_evaluate(total, pace)
            p.evaluation_chars = chars if chars < total else 0
        if p.evaluation_chars:
            self.evaluator = Evaluator(self.state.network, first(self.evaluator.symbols, p.evaluation_chars + 1))
            self.watcher.shortened(p.evaluation_chars, total)
        self.estimate = pace * self.evaluator.chars

    def due(self, finished: bool) -> bool:
        """Whether the model must be evaluated before the next step.

        An evaluation that was interrupted is made again when the run is resumed.

        Args:
            finished: whether there is no next step.
        """
        p, config = self.state.progress, self.state.config
        if self.evaluator is None or p.evaluated_step == p.step:
            return False
        at_its_time = p.step > 0 and p.step % self.every == 0
        if config.minutes and not config.eval_every:
            at_its_time = at_its_time and self.clock.affords(p, self.estimate)
        return at_its_time or finished

    def evaluate(self, journal: Journal, interrupt: Interrupt) -> float | None:
        """Measure the validation loss; if it is the lowest so far, write best.npz.

        Returns:
            The loss in nats per character, or None when it was interrupted.
        """
        start = time.perf_counter()
        with self.state.averaged():
            loss = self._measured(interrupt)
            if loss is None:
                return None
            measured = time.perf_counter() - start
            preview = self._previewed(interrupt)
        lowest = self._take_in(loss)
        self._report(journal, loss, lowest, preview, measured)
        self.kept.keep_older()
        self.estimate = time.perf_counter() - start
        self.state.progress.evaluation_seconds += self.estimate
        return loss

    def _previewed(self, interrupt: Interrupt) -> str:
        """A sample of text, if one is wanted. An interrupt ends it early."""
        if self.preview is None:
            return ""
        return self.preview(self.state.network, self.state.config.preview, lambda: not interrupt.asked)

    def _measured(self, interrupt: Interrupt) -> float | None:
        assert self.evaluator is not None
        total = self.evaluator.chars

        def going_on(done: int) -> bool:
            self.watcher.evaluating(done, total)
            return not interrupt.asked

        loss = self.evaluator.loss(going_on)
        if loss is not None:
            self.state.progress.evaluated_step = self.state.progress.step
        return loss

    def _take_in(self, loss: float) -> bool:
        """Store a validation loss in the progress of the run; return whether it is the lowest so far."""
        p, config, symbols = self.state.progress, self.state.config, self.state.model.symbols
        lowest = useful(loss, symbols) and (p.best_loss is None or loss < p.best_loss)
        p.evaluations_since_best = 0 if lowest else p.evaluations_since_best + 1
        if lowest:
            p.best_loss, p.best_step, p.best_loss_mean, p.rollbacks = loss, p.step, p.loss_mean, 0
            self.kept.save(BEST)
        elif config.schedule == "plateau" and p.evaluations_since_best % config.plateau == 0:
            p.lr_scale *= 1.0 if diverged(p, loss, symbols) else config.decay
        return lowest

    def _report(self, journal: Journal, loss: float, lowest: bool, preview: str, seconds: float) -> None:
        assert self.evaluator is not None
        p = self.state.progress
        extra = {"preview": preview} if preview else {}
        journal.write(
            "eval",
            split="val",
            step=p.step,
            chars=self.evaluator.chars,
            loss=finite(loss),
            bpc=finite(loss / math.log(2)),
            seconds=seconds,
            **extra,
        )
        self.watcher.evaluated(p, loss, lowest, preview)
        if strange := suspicion(p, self.state.epochs(), loss, self.state.model.symbols):
            self.watcher.warned(strange)
