"""The learning rate over a run, as a function of how much of the run is done."""

from __future__ import annotations

import math

from charrnn.training.config import TrainConfig


def share_done(config: TrainConfig, step: int, epochs: float, elapsed: float) -> float:
    """How much of a run is done, from 0 to 1, by the stopping rule that is nearest.

    Args:
        config: the stopping rules.
        step: updates made.
        epochs: passes over the text, with fraction.
        elapsed: seconds since the start of the run.
    """
    shares = [0.0]
    if config.steps:
        shares.append(step / config.steps)
    if config.epochs:
        shares.append(epochs / config.epochs)
    if config.minutes:
        shares.append(elapsed / (60 * config.minutes))
    return min(1.0, max(shares))


def learning_rate(config: TrainConfig, done: float) -> float:
    """The rate when a share `done` of the run, from 0 to 1, is done.

    "constant" keeps it; "linear" falls to 0 in a straight line; "cosine" in half a cosine wave
    (Loshchilov & Hutter 2017, SGDR, without restarts).
    """
    if config.schedule == "linear":
        return config.lr * (1.0 - done)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1.0 + math.cos(math.pi * done))
    return config.lr
