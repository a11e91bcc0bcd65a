"""How a model is trained: every setting of a run that is not the model's shape."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError

OPTIMISERS = ("adam", "rmsprop", "sgd")
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Args:
        batch: B, streams read side by side.
        seq_len: T, time steps of a chunk, over which gradients flow back.
        lr: learning rate at the start.
        schedule: of the learning rate over the run, one of SCHEDULES.
        optimiser: one of OPTIMISERS.
        momentum: of SGD.
        clip_norm: largest global norm of the gradient; 0 for no such limit.
        clip_value: largest size of a gradient's element; 0 for no such limit.
        seed: of the initial parameters.
        epochs, steps, minutes: where to stop, counted over the whole run; the first one reached; 0 for none.
        eval_every: steps between evaluations; 0 for as often as costs little beside training.
    """

    batch: int = 32
    seq_len: int = 64
    lr: float = 0.003
    schedule: str = "constant"
    optimiser: str = "adam"
    momentum: float = 0.9
    clip_norm: float = 1.0
    clip_value: float = 0.0
    seed: int = 0
    epochs: float = 0.0
    steps: int = 0
    minutes: float = 0.0
    eval_every: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "seq_len"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected --{_flag(name)} of at least 1, got {getattr(self, name)}; try 32")
        for name in ("clip_norm", "clip_value", "epochs", "steps", "minutes", "eval_every", "seed"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"expected --{_flag(name)} of 0 or more, got {value}; try leaving it out")
        if self.seed >= 2**63:
            raise ConfigError(f"expected --seed below 2^63, got {self.seed}; try a smaller one")
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"expected --lr above 0, got {self.lr}; try 0.003")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"expected --momentum from 0 up to below 1, got {self.momentum}; try 0.9")
        for name, names in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in names:
                raise ConfigError(
                    f"expected --{name} to be one of {', '.join(names)}, got {getattr(self, name)!r}; try {names[0]}"
                )
        if not (self.epochs or self.steps or self.minutes):
            object.__setattr__(self, "epochs", 10.0)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)


def _flag(name: str) -> str:
    return name.replace("_", "-")
