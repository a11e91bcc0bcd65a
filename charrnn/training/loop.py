"""The training loop: truncated back-propagation through time over B streams, chunk after chunk."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np

from charrnn import runtime
from charrnn.errors import TrainingError
from charrnn.interrupt import Interrupt
from charrnn.model.network import Chunk
from charrnn.model.parameters import Parameters
from charrnn.text.data import Data
from charrnn.text.streams import Streams
from charrnn.training.checkpoint import Checkpoint, Progress
from charrnn.training.evaluate import Evaluator
from charrnn.training.journal import Journal
from charrnn.training.optimiser import Optimiser
from charrnn.training.schedule import learning_rate, share_done

LOG_SECONDS = 0.5  # between lines of the journal
SAVE_SECONDS = 60.0  # between checkpoints, at the most
EVALUATION_SHARE = 20  # by default, training reads this many times the validation text between evaluations


class Watcher(Protocol):
    """What is told to whoever watches a run."""

    def compiling(self, kernels: str) -> None:
        """The kernels of this kind are about to be compiled, which takes a while."""

    def trained(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Some steps were made: their mean loss (nats) and characters per second."""

    def evaluating(self, done: int, total: int) -> None:
        """So many characters of the validation text were read."""

    def evaluated(self, progress: Progress, loss: float, best: bool) -> None:
        """The validation loss was measured (nats); whether it is the lowest so far."""


class Trainer:
    """One run, from a checkpoint to its end.

    Args:
        path: the RUN folder.
        data: what to train on.
        checkpoint: where to begin.
        watcher: who is told.
    """

    def __init__(self, path: Path, data: Data, checkpoint: Checkpoint, watcher: Watcher) -> None:
        self.path, self.checkpoint, self.watcher = path, checkpoint, watcher
        self.config, self.progress = checkpoint.training, checkpoint.progress
        self.streams = Streams(data.split("train"), self.config.batch, self.config.seq_len)
        self.network = checkpoint.network()
        self.optimiser = Optimiser(self.config, self.network.parameters)
        for name, moments in self.optimiser.moments.items():
            for key, view in moments.items():
                view[:] = checkpoint.moments[name][key]
        self.optimiser.updates = self.progress.step
        self.chunk = Chunk(self.network, self.config.batch, self.config.seq_len)
        self.chunk.set_state(checkpoint.state)
        self.evaluator = Evaluator(self.network, data.splits["val"]) if "val" in data.splits else None
        self.eval_every = self.config.eval_every or self._usual_eval_every(data)
        self.lr, self.last_norm, self.evaluated_step = self.config.lr, math.nan, -1

    def _usual_eval_every(self, data: Data) -> int:
        chars = EVALUATION_SHARE * len(data.splits.get("val", ()))
        return max(1, math.ceil(chars / (self.config.batch * self.config.seq_len)))

    def run(self, interrupt: Interrupt) -> None:
        """Train until a stopping rule holds or an interrupt is asked for; save at the end either way.

        Raises:
            TrainingError: the loss or the gradient is not finite; last.npz is then the last good checkpoint.
            OutputError: a file cannot be written.
        """
        if self.finished():
            return
        journal = Journal(self.path / "log.jsonl", self.progress.step)
        journal.write("event", name="resume" if self.progress.step else "start", step=self.progress.step)
        self.warm_up()
        began = time.perf_counter() - self.progress.elapsed
        saved = logged = time.perf_counter()
        since = Interval()
        while not (self.finished() or interrupt.asked):
            since.add(*self.step())
            now = time.perf_counter()
            self.progress.elapsed = now - began
            if now - logged >= LOG_SECONDS or self.finished() or interrupt.asked:
                self.log(journal, since)
                since, logged = Interval(), now
            if self.progress.step % self.eval_every == 0 and not interrupt.asked:
                self.evaluate(journal, interrupt)
                self.save()
                saved = time.perf_counter()
            elif now - saved >= SAVE_SECONDS:
                self.save()
                saved = time.perf_counter()
            self.progress.elapsed = time.perf_counter() - began
        if not interrupt.asked and self.evaluated_step != self.progress.step:
            self.evaluate(journal, interrupt)
        self.progress.elapsed = time.perf_counter() - began
        journal.write("event", name="interrupt" if interrupt.asked else "end", step=self.progress.step)
        self.save()
        journal.close()

    def finished(self) -> bool:
        """Whether one of the stopping rules holds."""
        return self.done() >= 1.0

    def done(self) -> float:
        """How much of the run is done, from 0 to 1."""
        p = self.progress
        return share_done(self.config, p.step, self.epochs(), p.elapsed)

    def epochs(self) -> float:
        """Passes over the training text so far, with fraction."""
        return self.progress.epoch + self.progress.position / self.streams.steps

    def warm_up(self) -> None:
        """Have every kernel compiled or loaded before time is taken; no parameter changes."""
        kernels = f"{type(self.network.layers[0]).__name__} {self.network.dtype} {self.config.optimiser}"
        if not runtime.compiled_before(kernels):
            self.watcher.compiling(kernels)
        state = self.chunk.state()
        inputs, targets = self.streams.chunk(0)
        self.chunk.forward(inputs[:1])
        self.chunk.loss(targets[:1])
        self.chunk.backward()
        scratch = Parameters({"any": (1,)}, self.network.dtype)
        optimiser = Optimiser(self.config, scratch)
        optimiser.update(scratch, scratch.like(), optimiser.norm(scratch), lr=0.0)
        self.chunk.set_state(state)
        if self.evaluator is not None:
            self.evaluator.chunk.forward(np.zeros((1, 1), np.int32))
        runtime.mark_compiled(kernels)

    def step(self) -> tuple[float, int, float]:
        """One chunk forwards and backwards and one update; returns loss (nats), characters, seconds."""
        start = time.perf_counter()
        p = self.progress
        inputs, targets = self.streams.chunk(p.position)
        self.chunk.forward(inputs)
        loss = self.chunk.loss(targets)
        self.chunk.backward()
        norm = self.optimiser.norm(self.network.gradients)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"expected a finite loss and gradient, got loss {loss} and gradient norm {norm} at step {p.step + 1}; "
                f"try a lower --lr than {self.config.lr}, or --clip-norm; {self.path / 'last.npz'} is intact"
            )
        self.lr = learning_rate(self.config, self.done())
        self.optimiser.update(self.network.parameters, self.network.gradients, norm, self.lr)
        self.network.pack()
        p.step += 1
        p.chars += targets.size
        p.position += len(targets)
        if p.position == self.streams.steps:
            p.epoch, p.position = p.epoch + 1, 0
            self.chunk.reset_state()
        seconds = time.perf_counter() - start
        p.seconds += seconds
        self.last_norm = norm
        return loss, targets.size, seconds

    def log(self, journal: Journal, since: Interval) -> None:
        """A line of the journal, and word to the watcher, about the steps since the last one."""
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

    def evaluate(self, journal: Journal, interrupt: Interrupt) -> None:
        """Measure the validation loss; the lowest so far is kept as best.npz."""
        if self.evaluator is None:
            return
        start, total = time.perf_counter(), self.evaluator.streams.steps

        def going_on(done: int) -> bool:
            self.watcher.evaluating(done, total)
            return not interrupt.asked

        loss = self.evaluator.loss(going_on)
        if loss is None:
            return
        p = self.progress
        self.evaluated_step = p.step
        journal.write(
            "eval",
            split="val",
            step=p.step,
            chars=total,
            loss=loss,
            bpc=loss / math.log(2),
            seconds=time.perf_counter() - start,
        )
        best = p.best_loss is None or loss < p.best_loss
        if best:
            p.best_loss, p.best_step = loss, p.step
            self.save("best.npz")
        self.watcher.evaluated(p, loss, best)

    def save(self, name: str = "last.npz") -> None:
        """Write a checkpoint of this moment."""
        Checkpoint(
            self.checkpoint.model,
            self.config,
            Progress(**asdict(self.progress)),
            self.checkpoint.vocabulary,
            self.checkpoint.data,
            dict(self.network.parameters.items()),
            {moment: dict(values.items()) for moment, values in self.optimiser.moments.items()},
            self.chunk.state(),
            self.checkpoint.form,
        ).save(self.path / name)


class Interval:
    """Sums over the steps between two lines of the journal."""

    def __init__(self) -> None:
        self.loss, self.chars, self.seconds = 0.0, 0, 0.0

    def add(self, loss: float, chars: int, seconds: float) -> None:
        """One step: mean loss, characters, seconds."""
        self.loss += loss * chars
        self.chars += chars
        self.seconds += seconds
