"""What a user sees while a model trains: a bar on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from charrnn import runtime
from charrnn.cli.options import say
from charrnn.cli.terminal import readable
from charrnn.errors import ConfigError
from charrnn.model.config import ModelConfig
from charrnn.model.network import Network
from charrnn.model.size import memory_needed, multiply_adds_per_char, parameter_count
from charrnn.sampling.sampler import PIECE, Sampler
from charrnn.text.data import Data
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.loop import Trainer
from charrnn.training.optimiser import MOMENTS, MUON_SCRATCH
from charrnn.training.progress import Progress

PLAIN_SECONDS = 10.0  # between plain lines
BAR = "{percentage:3.0f}% |{bar:8}| {desc} [{remaining} left]"


def losses(nats: float) -> str:
    """A loss in both units."""
    return f"{nats:.4f} nats, {nats / math.log(2):.4f} bpc"


def clock(seconds: float) -> str:
    """Seconds as 1:02 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def memory_of_run(model: ModelConfig, config: TrainConfig) -> int:
    """About how many bytes a training run takes."""
    vectors = 2 + len(MOMENTS[config.optimiser]) + 2 * bool(config.ema) + bool(config.accumulate > 1)
    vectors += MUON_SCRATCH * (config.optimiser == "muon")
    return memory_needed(model, config.batch, config.chunk_steps, vectors)


def refuse_too_large(model: ModelConfig, config: TrainConfig, resumed: bool = False) -> None:
    """Raise ConfigError when a run would take more memory than there is; a run that is resumed keeps its sizes."""
    needed, there = memory_of_run(model, config), runtime.available_memory()
    if there is not None and needed > there:
        smaller = f"--hidden {max(1, model.hidden // 2)}"
        if config.batch > 1:
            smaller += f", or --batch {max(1, config.batch // 2)} --accumulate 2"
        raise ConfigError(
            f"expected a run that fits into {there / 2**30:.1f} GB of free memory, got one of about "
            f"{needed / 2**30:.1f} GB; try {'to end other programs, or a larger machine' if resumed else smaller}"
        )


class Display:
    """Watches a run and shows it on standard error.

    Args:
        checkpoint: where the run begins.
        data: what it trains on.
    """

    def __init__(self, checkpoint: Checkpoint, data: Data) -> None:
        model, config = checkpoint.model, checkpoint.training
        self.said = time.perf_counter()
        self.compile_start: float | None = None
        self.bar, self.figures, self.begun = None, "", False
        memory = memory_of_run(model, config)
        embedding = f", embedding {model.embed}" if model.embed else ""
        say(
            f"{model.cell} {model.layers} x {model.hidden}{embedding}, {parameter_count(model):,} parameters, about "
            f"{memory / 2**20:,.0f} MB, {6 * multiply_adds_per_char(model) / 1e6:,.1f} MFLOP a character; "
            f"{model.symbols:,} symbols, {len(data.split('train')):,} to train on"
        )

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.close()

    def compiling(self, kernels: str) -> None:
        """Say why nothing moves."""
        say(f"compiling kernels for this CPU ({kernels}), on the first run of such a model, up to 40 s ...")
        self.compile_start = time.perf_counter()

    def _begin(self, trainer: Trainer, rate: float) -> None:
        """The first steps were made: compilation is over, and their speed tells how long an epoch will take."""
        if not self.begun:
            self.begun = True
            streams = trainer.learner.streams
            say(f"{rate:,.0f} characters a second: an epoch takes about {clock(streams.steps * streams.batch / rate)}")
        if self.compile_start is not None:
            say(f"compiled in {time.perf_counter() - self.compile_start:.1f} s")
            self.compile_start = None
        if self.bar is None and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(
                total=1.0, initial=trainer.done(), bar_format=BAR, file=sys.stderr, leave=False, dynamic_ncols=True
            )

    def trained(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Move the bar, or print a line now and then."""
        self._begin(trainer, rate)
        self.figures = (
            f"step {trainer.progress.step:,}, epoch {trainer.epochs():.2f}, {losses(loss)}, {rate / 1000:,.1f}k chars/s"
        )
        if self.bar is not None:
            self.bar.n = trainer.done()
            self.bar.set_description_str(self.figures)
        elif time.perf_counter() - self.said >= PLAIN_SECONDS:
            self.said = time.perf_counter()
            say(f"{self.figures}, gradient norm {trainer.last_norm:.3g}")

    def evaluating(self, done: int, total: int) -> None:
        """Show how far the evaluation is."""
        if self.bar is not None:
            self.bar.set_description_str(f"{self.figures}, evaluating {done / total:.0%}")

    def evaluated(self, progress: Progress, loss: float, best: bool, preview: str) -> None:
        """A line for each evaluation."""
        line = f"step {progress.step:,}: validation {losses(loss)}" + (" (best so far)" if best else "")
        self._line(line)
        for text in preview.splitlines():
            self._line(f"  | {text}")

    def warned(self, what: str) -> None:
        """A line for what went wrong and was mended."""
        self._line(f"warning: {what}")

    def _line(self, text: str) -> None:
        if self.bar is not None:
            self.bar.write(readable(text), file=sys.stderr)
        else:
            say(text)


def summary(run: Path, p: Progress) -> None:
    """The table at the end of a run."""
    rate = p.chars / p.seconds if p.seconds else 0.0
    names = [str(run / name) for name in ("best.npz", "last.npz") if (run / name).is_file()]
    rows = {"steps": f"{p.step:,}"}
    if p.best_loss is not None and p.best_step is not None:
        rows = {"best validation loss": losses(p.best_loss), "at step": f"{p.best_step:,} of {p.step:,}"}
    rows |= {
        "trained": f"{p.chars:,} characters in {clock(p.seconds)} ({rate:,.0f} a second)",
        "time in all": clock(p.elapsed),
        "checkpoints": ", ".join(names),
        "next": f"charrnn sample {run}",
    }
    for name, value in rows.items():
        say(f"  {name:<22}{value}")


class Previewer:
    """Samples a little text from a network in training, each time from the same random numbers."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.vocabulary, self.training = checkpoint.vocabulary, checkpoint.training

    def __call__(self, network: Network) -> str:
        sampler = Sampler(network, seed=self.training.seed)
        sampler.feed(self.vocabulary.beginning)
        length = self.training.preview
        pieces = [sampler.take(min(PIECE, length - start))[:, 0] for start in range(0, length, PIECE)]
        return self.vocabulary.decode(np.concatenate(pieces)).decode("utf-8", "replace")
