"""What a user sees while a model trains: a bar on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from types import TracebackType

import numpy as np

from charrnn import runtime
from charrnn.cache import compilation
from charrnn.cli.bar import Bar, Pace, clock
from charrnn.cli.options import name_of, say, word
from charrnn.errors import ConfigError
from charrnn.folders import BEST, LAST
from charrnn.model.config import ModelConfig
from charrnn.model.network import Network
from charrnn.model.size import multiply_adds_per_char, parameter_count
from charrnn.sampling.sampler import PIECE, Sampler
from charrnn.text.data import Data
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.config import TrainConfig
from charrnn.training.memory import memory_of_run
from charrnn.training.progress import Progress
from charrnn.training.state import TrainingState
from charrnn.training.watcher import Figures

PLAIN_SECONDS = 10.0  # between plain lines


def losses(nats: float) -> str:
    """A loss in nats and in bits per character."""
    return f"{nats:.4f} nats, {nats / math.log(2):.4f} bpc"


def refuse_too_large(chars: int, model: ModelConfig, config: TrainConfig, resumed: bool = False) -> None:
    """Raise ConfigError when a run over a text of `chars` characters needs more memory than is free.

    The sizes of a run that is `resumed` cannot change, so the message does not suggest smaller ones.
    """
    needed, there = memory_of_run(model, config, chars), runtime.available_memory()
    if there is not None and needed > there:
        smaller = f"--hidden {max(1, model.hidden // 2)}"
        if config.batch > 1:
            smaller += f", or --batch {max(1, config.batch // 2)} --accumulate {2 * config.accumulate}"
        raise ConfigError(
            f"expected a run that fits into {there / 2**30:.1f} GB of free memory, got one of about "
            f"{needed / 2**30:.1f} GB; try {'to end other programs, or a larger machine' if resumed else smaller}"
        )


class Display:
    """Watches a run and shows it on standard error.

    Args:
        model: the shape of the network.
        config: how it is trained.
        data: what it is trained on.
    """

    def __init__(self, model: ModelConfig, config: TrainConfig, data: Data) -> None:
        self.said = time.perf_counter()
        self.bar: Bar | None = None
        self.pace: Pace | None = None  # of training
        self.evaluation: Pace | None = None
        self.figures: dict[str, int] = {}
        memory = memory_of_run(model, config, len(data.split("train")))
        embedding = f", embedding {model.embed}" if model.embed else ""
        say(
            f"{name_of(model)} {model.layers} x {model.hidden}{embedding}, {parameter_count(model):,} parameters, "
            f"about {memory / 2**20:,.0f} MB, {6 * multiply_adds_per_char(model) / 1e6:,.1f} MFLOP a character; "
            f"{model.symbols:,} symbols, {len(data.split('train')):,} to train on"
        )

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.close()

    def _begin(self, state: TrainingState, first: Figures) -> None:
        """Say how fast the first steps were and how long an epoch will take; compilation is over."""
        streams = state.learner.streams
        if compilation.seconds:
            say(f"compiled in {compilation.seconds:.1f} s")
        epoch = clock(streams.steps * streams.batch / first.rate)
        say(f"{first.rate:,.0f} characters a second: an epoch takes about {epoch}")
        self.pace = Pace(first.done)
        if sys.stderr.isatty():
            self.bar = Bar()

    def trained(self, state: TrainingState, figures: Figures) -> None:
        """Move the bar, or print a line now and then."""
        if self.pace is None:
            self._begin(state, figures)
        assert self.pace is not None
        self.evaluation = None
        self.figures = {
            f"step {state.progress.step:,}": 5,
            f"epoch {state.epochs():.2f}": 3,
            f"{figures.loss:.4f} nats": 1,
            f"{figures.loss / math.log(2):.4f} bpc": 4,
            f"{figures.rate / 1000:,.1f}k chars/s": 2,
        }
        if self.bar is not None:
            self.bar.show(figures.done, {self.pace.left(figures.done): 0} | self.figures)
        elif time.perf_counter() - self.said >= PLAIN_SECONDS:
            self.said = time.perf_counter()
            say(f"{', '.join(self.figures)}, gradient norm {figures.norm:.3g}")

    def evaluating(self, done: int, total: int) -> None:
        """Show how far the evaluation is."""
        share = done / total
        if self.evaluation is None:
            self.evaluation = Pace(share)
        if self.bar is not None:
            self.bar.show(share, {f"evaluating, {self.evaluation.left(share)}": 0} | self.figures)

    def shortened(self, chars: int, total: int) -> None:
        """Say what the validation loss is measured on."""
        say(f"validation on the first {chars:,} of {total:,} characters, so that it takes little of --minutes")

    def evaluated(self, progress: Progress, loss: float, best: bool, preview: str) -> None:
        """Print a line for each evaluation."""
        line = f"step {progress.step:,}: validation {losses(loss)}" + (" (best so far)" if best else "")
        self._line(line)
        for text in preview.splitlines():
            self._line(f"  | {text}")

    def warned(self, what: str) -> None:
        """Print a line about something that went wrong and was repaired."""
        self._line(f"warning: {what}")

    def _line(self, text: str) -> None:
        if self.bar is not None:
            self.bar.line(text)
        else:
            say(text)


def summary(run: Path, p: Progress, further: str = "") -> None:
    """Print the table at the end of a run; `further` is added to the command that the table suggests next."""
    rate = p.chars / p.seconds if p.seconds else 0.0
    names = [str(run / name) for name in (BEST, LAST) if (run / name).is_file()]
    rows = {"steps": f"{p.step:,}"}
    if p.best_loss is not None and p.best_step is not None:
        rows = {"best validation loss": losses(p.best_loss), "at step": f"{p.best_step:,} of {p.step:,}"}
    rows |= {
        "trained": f"{p.chars:,} characters in {clock(p.seconds)} ({rate:,.0f} a second)",
        "time in all": clock(p.elapsed),
        "checkpoints": ", ".join(names),
        "next": f"charrnn sample {word(run)}{further}",
    }
    for name, value in rows.items():
        say(f"  {name:<22}{value}")


class Previewer:
    """Samples a short text from a network in training, each time with the same random numbers."""

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        self.vocabulary, self.seed = vocabulary, seed

    def __call__(self, network: Network, length: int, goes_on: Callable[[], bool]) -> str:
        sampler = Sampler(network, seed=self.seed)
        sampler.feed(self.vocabulary.beginning)
        starts = takewhile(lambda start: not start or goes_on(), range(0, length, PIECE))
        pieces = [sampler.take(min(PIECE, length - start))[:, 0] for start in starts]
        return self.vocabulary.decode(np.concatenate(pieces)).decode("utf-8", "replace")
