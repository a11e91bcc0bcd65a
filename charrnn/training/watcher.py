"""Whoever watches a run, and what is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from charrnn.training.progress import Progress

if TYPE_CHECKING:
    from charrnn.training.loop import Trainer


class Watcher(Protocol):
    """What is told to whoever watches a run."""

    def trained(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Some steps were made: their mean loss (nats) and characters per second."""

    def evaluating(self, done: int, total: int) -> None:
        """So many characters of the validation text were read."""

    def evaluated(self, progress: Progress, loss: float, best: bool, preview: str) -> None:
        """The validation loss was measured (nats); whether it is the lowest so far; a sample, if wanted."""

    def shortened(self, chars: int, total: int) -> None:
        """Evaluations read only the first `chars` of all `total` characters of the validation text."""

    def warned(self, what: str) -> None:
        """Something went wrong, and was mended."""
