"""The learning rate over a run, as a function of how much of the run is done."""

from __future__ import annotations

import math

from charrnn.training.config import TrainConfig

MOST_DECAYS = 1e15  # of "step": after this many decays, the rate has long been 0


def share_done(config: TrainConfig, step: float, epochs: float, time: float) -> float:
    """How much of a run is done, from 0 to 1, according to the stopping rule that is nearest to its limit.

    Args:
        config: the stopping rules.
        step: updates made.
        epochs: passes over the text, with fraction.
        time: share of --minutes that has passed.
    """
    shares = [0.0, time]
    if config.steps:
        shares.append(step / config.steps)
    if config.epochs:
        shares.append(epochs / config.epochs)
    return min(1.0, max(shares))


def learning_rate(config: TrainConfig, done: float, step: int, scale: float) -> float:
    """The learning rate of the update after `step` others.

    About in the middle of this update, a share `done` of the run, from 0 to 1, is done.

    The rate rises in a straight line during the warm-up (Goyal et al. 2017). Then "constant" keeps the rate. "linear"
    lowers it to 0 in a straight line. "cosine" lowers it to 0 along half a cosine wave (Loshchilov & Hutter 2017, SGDR,
    without restarts). "step" multiplies it by `decay` at regular intervals. "plateau" multiplies it by `decay` when the
    validation loss does not fall; these factors are in `scale`.
    """
    warm = 1.0
    if config.warmup:
        warm = min(1.0, (step + 1 if config.warmup >= 1 else done) / config.warmup)
    return config.lr * warm * scale * _shape(config, done, step)


def _shape(config: TrainConfig, done: float, step: int) -> float:
    start = config.warmup if config.warmup < 1 else 0.0
    rest = max(0.0, done - start) / (1.0 - start)
    if config.schedule == "linear":
        return 1.0 - rest
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * rest))
    if config.schedule == "step":
        return config.decay ** int(min((step if config.decay_every >= 1 else done) / config.decay_every, MOST_DECAYS))
    return 1.0
