"""The interface of an object that watches a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from charrnn.training.progress import Progress

if TYPE_CHECKING:
    from charrnn.training.loop import Trainer


class Watcher(Protocol):
    """An object that watches a run; its methods are called when something happens."""

    def trained(self, trainer: Trainer, loss: float, rate: float) -> None:
        """Some steps were made; `loss` is their mean loss (nats), `rate` their characters per second."""

    def evaluating(self, done: int, total: int) -> None:
        """The evaluation has read `done` of the `total` characters of the validation text."""

    def evaluated(self, progress: Progress, loss: float, best: bool, preview: str) -> None:
        """The validation loss (nats) was measured; `best` if it is the lowest yet; `preview` is a sample or empty."""

    def shortened(self, chars: int, total: int) -> None:
        """Evaluations read only the first `chars` of all `total` characters of the validation text."""

    def warned(self, what: str) -> None:
        """Something went wrong, and was repaired."""
