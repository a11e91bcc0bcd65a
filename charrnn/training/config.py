"""How a model is trained: every setting of a run that is not the model's shape."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError

OPTIMISERS = ("adam", "adamw", "rmsprop", "sgd", "adagrad")
SCHEDULES = ("constant", "linear", "cosine", "step", "plateau")
DROPOUT_KINDS = ("standard", "variational")
USUAL_BETA2 = {"rmsprop": 0.95}  # char-rnn's setting of RMSprop; 0.999 for the others (Kingma & Ba 2015)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Args:
        batch: B, streams read side by side.
        seq_len: T, time steps of a chunk, over which gradients flow back.
        accumulate: batches of B streams that make one update.
        lr: learning rate at its highest.
        schedule: of the learning rate over the run, one of SCHEDULES.
        warmup: how long the rate rises from 0 to lr: a share of the run below 1, else steps.
        decay: factor of the rate at each step of "step" and "plateau".
        decay_every: how often "step" decays: a share of the run below 1, else steps.
        plateau: evaluations without a lower loss after which "plateau" decays.
        optimiser: one of OPTIMISERS.
        beta1, beta2: decay of Adam's first and second moments; beta2 is RMSprop's decay too. None for the usual.
        epsilon: what is added to the root of second moments.
        momentum: of SGD.
        nesterov: whether SGD takes Nesterov's momentum.
        weight_decay: decoupled, a multiple of the learning rate; None for 0.01 with adamw and 0 else.
        clip_norm: largest global norm of the gradient; 0 for no such limit.
        clip_value: largest size of a gradient's element; 0 for no such limit.
        dropout, dropout_input, dropout_output: share of units that are dropped between layers, of characters dropped at
            the input, and of units dropped before the softmax.
        dropout_kind: "standard" for a mask at each time step, "variational" for one in each chunk.
        ema: decay of the average of the parameters that is evaluated and saved as best; 0 for none.
        seed: of all random numbers.
        epochs, steps, minutes: where to stop, counted over the whole run; the first one reached; 0 for none.
        patience: stop after so many evaluations without a lower loss; 0 for never.
        eval_every: steps between evaluations; 0 for as often as costs little beside training.
        keep: how many checkpoints of earlier evaluations are kept.
        preview: characters that are sampled and shown at each evaluation.
    """

    batch: int = 32
    seq_len: int = 64
    accumulate: int = 1
    lr: float = 0.003
    schedule: str = "cosine"
    warmup: float = 0.03
    decay: float = 0.5
    decay_every: float = 0.25
    plateau: int = 2
    optimiser: str = "adam"
    beta1: float = 0.9
    beta2: float | None = None
    epsilon: float = 1e-8
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float | None = None
    clip_norm: float = 1.0
    clip_value: float = 0.0
    dropout: float = 0.0
    dropout_input: float = 0.0
    dropout_output: float = 0.0
    dropout_kind: str = "standard"
    ema: float = 0.0
    seed: int = 0
    epochs: float = 0.0
    steps: int = 0
    minutes: float = 0.0
    patience: int = 0
    eval_every: int = 0
    keep: int = 0
    preview: int = 0

    def __post_init__(self) -> None:
        self._fill_in()
        for name, names in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("dropout_kind", DROPOUT_KINDS)):
            if getattr(self, name) not in names:
                raise ConfigError(
                    f"expected --{_flag(name)} to be one of {', '.join(names)}, got {getattr(self, name)!r}; "
                    f"try {names[0]}"
                )
        for name in ("batch", "seq_len", "accumulate", "plateau"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected --{_flag(name)} of at least 1, got {getattr(self, name)}; try 32")
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"expected --{_flag(name)} of 0 or more, got {value}; try leaving it out")
        if self.seed >= 2**63:
            raise ConfigError(f"expected --seed below 2^63, got {self.seed}; try a smaller one")
        for name in ("lr", "epsilon", "decay_every"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"expected --{_flag(name)} above 0, got {getattr(self, name)}; try leaving it out")
        for name in SHARES:
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"expected --{_flag(name)} from 0 up to below 1, got {getattr(self, name)}; try leaving it out"
                )

    def _fill_in(self) -> None:
        """Put the usual values where there are none."""
        if self.beta2 is None:
            object.__setattr__(self, "beta2", USUAL_BETA2.get(self.optimiser, 0.999))
        if self.weight_decay is None:
            object.__setattr__(self, "weight_decay", 0.01 if self.optimiser == "adamw" else 0.0)
        if not (self.epochs or self.steps or self.minutes):
            object.__setattr__(self, "epochs", 10.0)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)


NOT_NEGATIVE = (
    *("clip_norm", "clip_value", "warmup", "weight_decay", "epochs", "steps", "minutes"),
    *("patience", "eval_every", "keep", "preview", "seed"),
)
SHARES = ("momentum", "beta1", "beta2", "decay", "dropout", "dropout_input", "dropout_output", "ema")


def _flag(name: str) -> str:
    return name.replace("_", "-")
