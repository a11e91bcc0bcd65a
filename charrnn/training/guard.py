"""What protects a run from itself: a loss that is no number, or far above what it was."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.training.progress import Progress

MEMORY = 0.99  # of the running mean and variance of the loss
PATIENCE = 3  # updates skipped in a row before something is done
TIMES_MEAN, DEVIATIONS = 3.0, 8.0  # a loss is far above its mean when it is above both bounds
FIRST_STEPS = 50  # during which the mean means little
NOISE = 0.02  # by how much the loss on a text of noise may be above that of guessing
FAR_ABOVE = 0.15  # share of the loss of guessing by which a validation loss is suspiciously far above the training loss
RISE = 1.25  # a loss has risen far when it is above this multiple of its best ...
RISE_OF_GUESSING = 0.1  # ... and by so much of ln V


def guessing(symbols: int) -> float:
    """The loss (nats) of guessing all V symbols with equal probability; for V = 1, of two."""
    return math.log(max(symbols, 2))


def useful(loss: float, symbols: int) -> bool:
    """Whether a validation loss (nats) is not above that of guessing."""
    return loss <= (1.0 + NOISE) * guessing(symbols)


class Verdict(Enum):
    """What to do with an update."""

    APPLY = "apply"
    SKIP = "skip"
    ROLL_BACK = "roll back"


def judge(progress: Progress, loss: float, norm: float, symbols: int) -> Verdict:
    """Whether the step's update is to be applied; counts what was skipped, and follows the loss, in `progress`.

    A bad step is skipped. After some in a row, the run rolls back if the model is broken: the loss is no number, or
    twice that of guessing. If it is not, the text has changed rather than the model, and the update is applied.

    Args:
        progress: of the run, with the running mean and variance of the loss.
        loss: nats per character.
        norm: of the gradient.
        symbols: V.
    """
    p = progress
    finite = math.isfinite(loss) and math.isfinite(norm)
    if finite and not _far_above(p, loss):
        _follow(p, loss)
        p.skipped = 0
        return Verdict.APPLY
    p.skipped += 1
    if p.skipped < PATIENCE:
        return Verdict.SKIP
    p.skipped = 0
    if not finite or loss > 2 * guessing(symbols):
        return Verdict.ROLL_BACK
    p.loss_mean = None
    _follow(p, loss)
    return Verdict.APPLY


def diverged(progress: Progress, loss: float, symbols: int) -> bool:
    """Whether the model got worse step by step: validation and training loss have both risen far since the best one.

    A validation loss that rises alone is overfitting, a training loss that rises alone a harder text.

    Args:
        progress: of the run, with the running mean of the training loss, now and at the best validation loss.
        loss: the validation loss in nats per character.
        symbols: V.
    """
    p = progress
    if p.best_loss is None or p.best_loss_mean is None or p.loss_mean is None:
        return False
    least = RISE_OF_GUESSING * guessing(symbols)
    pairs = ((loss, p.best_loss), (p.loss_mean, p.best_loss_mean))
    return all(not now <= max(RISE * best, best + least) for now, best in pairs)


def suspicion(progress: Progress, epochs: float, loss: float, symbols: int) -> str:
    """Why nobody would expect this validation loss (nats), and what may be the reason; empty if it is nothing unusual.

    Args:
        progress: of the run, with the running mean of the training loss.
        epochs: passes over the training text so far.
        loss: the validation loss.
        symbols: V.
    """
    trained = progress.loss_mean
    if not useful(loss, symbols):
        return f"the validation loss is above that of guessing, {guessing(symbols):.2f} nats; try a lower --lr"
    if epochs < 1 and trained is not None and loss > trained + FAR_ABOVE * guessing(symbols):
        return (
            f"the validation loss is far above the training loss of {trained:.2f} nats, though no text was read "
            "twice: the end of the text, which is held out, may be unlike the rest; or the model is lost when it "
            "begins at zeros, as evaluation does: try a smaller --reset-every, or a lower --lr"
        )
    return ""


def _far_above(p: Progress, loss: float) -> bool:
    if p.loss_mean is None or p.step < FIRST_STEPS:
        return False
    return loss > TIMES_MEAN * p.loss_mean and loss > p.loss_mean + DEVIATIONS * math.sqrt(p.loss_variance)


def _follow(p: Progress, loss: float) -> None:
    if p.loss_mean is None:
        p.loss_mean, p.loss_variance = loss, 0.0
        return
    distance = loss - p.loss_mean
    p.loss_mean += (1.0 - MEMORY) * distance
    p.loss_variance = MEMORY * (p.loss_variance + (1.0 - MEMORY) * distance * distance)
