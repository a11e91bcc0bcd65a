"""Checks that protect a run from a loss that is not finite, or that is far above its earlier values."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.training.progress import Progress

MEMORY = 0.99  # of the running mean and variance of the loss
PATIENCE = 3  # updates skipped in a row before something is done
TIMES_MEAN, DEVIATIONS = 3.0, 8.0  # a loss is far above its mean when it is above both bounds
FIRST_STEPS = 50  # during which the mean is not reliable yet
NOISE = 0.02  # how far, as a share, the loss on a text of noise may be above that of guessing
FAR_ABOVE = 0.15  # how far a validation loss may be above the training loss, as a share of the loss of guessing
RISE = 1.25  # a loss has risen far when it is above this multiple of its lowest value ...
RISE_OF_GUESSING = 0.1  # ... and above that value by this share of ln V


def guessing(symbols: int) -> float:
    """The loss (nats) of guessing all V symbols with equal probability; V = 1 counts as V = 2."""
    return math.log(max(symbols, 2))


def useful(loss: float, symbols: int) -> bool:
    """Whether a validation loss (nats) is not above that of guessing, apart from NOISE."""
    return loss <= (1.0 + NOISE) * guessing(symbols)


class Verdict(Enum):
    """What to do with an update."""

    APPLY = "apply"
    SKIP = "skip"
    ROLL_BACK = "roll back"


def judge(progress: Progress, loss: float, norm: float, symbols: int) -> Verdict:
    """Decide whether the update of a step is applied; keep the skipped updates and the mean loss in `progress`.

    A bad step is skipped. At the third one in a row (PATIENCE), the run rolls back if the model is broken: the loss or
    the norm is not finite, or the loss is more than twice that of guessing. If the model is not broken, the text has
    changed, and the update is applied.

    Args:
        progress: the progress of the run, with the running mean and variance of the loss.
        loss: nats per character.
        norm: the norm of the gradient.
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
    """Whether the model got worse step by step: both losses have risen far since the lowest validation loss.

    If only the validation loss rises, the model overfits. If only the training loss rises, the text became harder.

    Args:
        progress: the progress of the run, with the running mean of the training loss, now and at the lowest validation
            loss.
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
    """Says why this validation loss (nats) is unusual and what may be the reason; empty if the loss is not unusual.

    Args:
        progress: the progress of the run, with the running mean of the training loss.
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
