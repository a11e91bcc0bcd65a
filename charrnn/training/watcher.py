"""The interface of an object that watches a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from charrnn.training.progress import Progress
from charrnn.training.state import TrainingState


@dataclass(frozen=True)
class Figures:
    """Figures of the newest steps of a run.

    Args:
        done: how much of the run is done after them, from 0 to 1.
        loss: their mean loss in nats per character.
        rate: their speed in characters per second.
        norm: the gradient's global norm in the last one, before clipping.
    """

    done: float
    loss: float
    rate: float
    norm: float


class Watcher(Protocol):
    """An object that watches a run; its methods are called when something happens."""

    def trained(self, state: TrainingState, figures: Figures) -> None:
        """Some steps were made."""

    def evaluating(self, done: int, total: int) -> None:
        """The evaluation has read `done` of the `total` characters of the validation text."""

    def evaluated(self, progress: Progress, loss: float, best: bool, preview: str) -> None:
        """The validation loss (nats) was measured; `best` if it is the lowest yet; `preview` is a sample or empty."""

    def shortened(self, chars: int, total: int) -> None:
        """Evaluations read only the first `chars` of all `total` characters of the validation text."""

    def warned(self, what: str) -> None:
        """Something went wrong, and was repaired."""
