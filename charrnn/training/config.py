"""How a model is trained: every setting of a run that is not the model's shape."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError
from charrnn.model.config import CHRONO, IDENTITY, USUAL_FORGET_BIAS

OPTIMISERS = ("adam", "adamw", "muon", "rmsprop", "sgd", "adagrad")
SCHEDULES = ("constant", "linear", "cosine", "step", "plateau")
DROPOUT_KINDS = ("standard", "variational")
INITS = ("uniform", "orthogonal", IDENTITY)
LARGEST_BIAS = 20
USUAL_EPOCHS = 10.0  # where nothing says when to stop
SPREAD, FARTHEST = 1 / 14, 4.0  # of random lengths: standard deviation, 5 steps for a mean of 70, and how many of it
USUAL_BETA2 = {"rmsprop": 0.95}  # char-rnn's setting of RMSprop; 0.999 for the others (Kingma & Ba 2015)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Args:
        batch: B, streams read side by side.
        seq_len: T, time steps of a chunk.
        bptt: "K1:K2", a chunk moves on by K1 = T steps, and gradients flow back over K2 > K1; "" where both are T.
        random_lengths: chunks are of random lengths around T, see `random_length`.
        accumulate: batches of B streams that make one update.
        lr: learning rate at its highest.
        matrix_lr: the same for the weights between hidden units with muon.
        schedule: of the learning rate over the run, one of SCHEDULES.
        warmup: how long the rate rises from 0 to lr: a share of the run below 1, else steps.
        decay: factor of the rate at each step of "step" and "plateau".
        decay_every: how often "step" decays: a share of the run below 1, else steps.
        plateau: evaluations without a lower loss after which "plateau" decays.
        init: of the recurrent weights, one of INITS.
        forget_bias: what an LSTM's forget biases begin with: a number, or "chrono"; see model/initialise.py.
        reset_every: each stream goes back to a state of zeros before one in so many chunks, at random; 0 for never.
        optimiser: one of OPTIMISERS.
        beta1, beta2: decay of Adam's first and second moments; beta2 is RMSprop's decay too. None for the usual.
        epsilon: what is added to the root of second moments.
        momentum: of SGD, and of Muon's matrices; None for the usual.
        nesterov: whether SGD takes Nesterov's momentum.
        weight_decay: decoupled, a multiple of the learning rate; None for 0.01 with adamw and 0 else.
        clip_norm: largest global norm of the gradient; 0 for no such limit.
        clip_value: largest size of a gradient's element; 0 for no such limit.
        dropout, dropout_input, dropout_output: share of units that are dropped between layers, of characters dropped at
            the input, and of units dropped before the softmax.
        weight_drop: share of recurrent weights that are dropped, a mask for each chunk.
        dropout_kind: "standard" for a mask at each time step, "variational" for one in each chunk.
        label_smoothing: share of the wanted distribution that is uniform.
        activation_penalty, temporal_penalty: factors, see `Objective`.
        ema: decay of the average of the parameters that is evaluated and saved as best; 0 for none.
        seed: of all random numbers.
        epochs, steps, minutes: where to stop, counted over the whole run; the first one reached; 0 for none.
        patience: stop after so many evaluations without a lower loss; 0 for never.
        eval_every: steps between evaluations; 0 for as often as costs little beside training.
        log_every: steps between lines of the journal; 0 for a line every half second.
        keep: how many checkpoints of earlier evaluations are kept.
        preview: characters that are sampled and shown at each evaluation.
    """

    batch: int = 32
    seq_len: int = 64
    bptt: str = ""
    random_lengths: bool = False
    accumulate: int = 1
    lr: float = 0.003
    matrix_lr: float = 0.03
    schedule: str = "cosine"
    warmup: float = 0.03
    decay: float = 0.5
    decay_every: float = 0.25
    plateau: int = 2
    init: str = "uniform"
    forget_bias: str = USUAL_FORGET_BIAS
    reset_every: int = 50
    optimiser: str = "adam"
    beta1: float = 0.9
    beta2: float | None = None
    epsilon: float = 1e-8
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float | None = None
    clip_norm: float = 1.0
    clip_value: float = 0.0
    dropout: float = 0.0
    dropout_input: float = 0.0
    dropout_output: float = 0.0
    weight_drop: float = 0.0
    dropout_kind: str = "standard"
    label_smoothing: float = 0.0
    activation_penalty: float = 0.0
    temporal_penalty: float = 0.0
    ema: float = 0.0
    seed: int = 0
    epochs: float = 0.0
    steps: int = 0
    minutes: float = 0.0
    patience: int = 0
    eval_every: int = 0
    log_every: int = 0
    keep: int = 0
    preview: int = 0

    def __post_init__(self) -> None:
        self._fill_in()
        for name, names in NAMES.items():
            if getattr(self, name) not in names:
                raise ConfigError(
                    f"expected --{_flag(name)} to be one of {', '.join(names)}, got {getattr(self, name)!r}; "
                    f"try {names[0]}"
                )
        check_forget_bias(self.forget_bias)
        for name in ("batch", "seq_len", "accumulate", "plateau"):
            if (value := getattr(self, name)) < 1:
                usual = TrainConfig.__dataclass_fields__[name].default
                raise ConfigError(f"expected --{_flag(name)} of at least 1, got {value}; try {usual}")
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"expected --{_flag(name)} of 0 or more, got {value}; try leaving it out")
        for name, limit in LIMITS.items():
            if (value := getattr(self, name)) >= 2**limit:
                raise ConfigError(f"expected --{_flag(name)} below 2^{limit}, got {value}; try a smaller one")
        for name in ("lr", "matrix_lr", "epsilon", "decay_every"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"expected --{_flag(name)} above 0, got {getattr(self, name)}; try leaving it out")
        for name in SHARES:
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"expected --{_flag(name)} from 0 up to below 1, got {getattr(self, name)}; try leaving it out"
                )

    def _fill_in(self) -> None:
        """Put the usual values where there are none."""
        if self.momentum is None:
            object.__setattr__(self, "momentum", 0.95 if self.optimiser == "muon" else 0.9)
        if self.beta2 is None:
            object.__setattr__(self, "beta2", USUAL_BETA2.get(self.optimiser, 0.999))
        if self.weight_decay is None:
            object.__setattr__(self, "weight_decay", 0.01 if self.optimiser == "adamw" else 0.0)
        if not (self.epochs or self.steps or self.minutes):
            object.__setattr__(self, "epochs", USUAL_EPOCHS)
        if self.bptt:
            moved, back = parse_bptt(self.bptt)
            object.__setattr__(self, "seq_len", moved)
            object.__setattr__(self, "bptt", self.bptt if back > moved else "")
            if self.random_lengths and self.history:
                raise ConfigError("expected --bptt or --random-lengths, got both; try one of them")

    @property
    def history(self) -> int:
        """Time steps before a chunk's own over which gradients flow back too."""
        return parse_bptt(self.bptt)[1] - self.seq_len if self.bptt else 0

    @property
    def chunk_steps(self) -> int:
        """The most time steps that are kept for the backward pass."""
        return self.history + (longest(self.seq_len) if self.random_lengths else self.seq_len)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)


ONLY_WITH = {  # settings that do nothing but with some values of another one
    "optimiser": {
        **{"matrix_lr": ("muon",), "nesterov": ("sgd",), "momentum": ("sgd", "muon")},
        **{"beta1": ("adam", "adamw", "muon"), "beta2": ("adam", "adamw", "rmsprop", "muon")},
        "epsilon": ("adam", "adamw", "rmsprop", "adagrad", "muon"),
    },
    "schedule": {"decay": ("step", "plateau"), "decay_every": ("step",), "plateau": ("plateau",)},
}
NAMES = {"optimiser": OPTIMISERS, "schedule": SCHEDULES, "dropout_kind": DROPOUT_KINDS, "init": INITS}
NOT_NEGATIVE = (
    *("reset_every", "clip_norm", "clip_value", "warmup", "weight_decay", "epochs", "steps", "minutes"),
    *("activation_penalty", "temporal_penalty", "patience", "eval_every", "log_every", "keep", "preview", "seed"),
)
LIMITS = {  # of whole numbers, as powers of 2
    **dict.fromkeys(("seed", "steps", "reset_every", "patience", "eval_every", "keep", "plateau"), 63),
    **{"batch": 31, "seq_len": 31, "accumulate": 31, "preview": 20},
}
SHARES = (
    *("momentum", "beta1", "beta2", "decay", "ema", "label_smoothing"),
    *("dropout", "dropout_input", "dropout_output", "weight_drop"),
)


def parse_bptt(text: str) -> tuple[int, int]:
    """K1 and K2 of "K1:K2".

    Raises:
        ConfigError: it is not of this form, with 1 <= K1 <= K2.
    """
    parts = text.split(":")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        moved, back = map(int, parts)
        if 1 <= moved <= back:
            return moved, back
    raise ConfigError(f"expected --bptt K1:K2 with 1 <= K1 <= K2, got {text!r}; try --bptt 32:64")


def check_forget_bias(text: str) -> None:
    """Raise ConfigError unless --forget-bias is a number of moderate size, or "chrono"."""
    try:
        if text == CHRONO or abs(float(text)) <= LARGEST_BIAS:
            return
    except ValueError:
        pass
    raise ConfigError(
        f"expected --forget-bias to be a number from -{LARGEST_BIAS} to {LARGEST_BIAS} or {CHRONO}, got {text!r}; "
        "try --forget-bias 1"
    )


def longest(seq_len: int) -> int:
    """The most time steps of a chunk of random length."""
    return seq_len + math.ceil(FARTHEST * SPREAD * seq_len)


def _flag(name: str) -> str:
    return name.replace("_", "-")
