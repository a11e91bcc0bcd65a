"""How a model is trained: every setting of a run that is not the model's shape."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError
from charrnn.model.config import CHRONO, IDENTITY, USUAL_FORGET_BIAS
from charrnn.settings import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, at_most, below_power, check_settings, setting

PRECISIONS = ("float32", "bfloat16", "auto")
SCHEDULES = ("constant", "linear", "cosine", "step", "plateau")
LARGEST_BIAS, MOST_INIT_SCALE = 20, 100
USUAL_EPOCHS = 10.0  # where nothing says when to stop
SPREAD, FARTHEST = 1 / 14, 4.0  # of random lengths: standard deviation (5 steps at mean 70), and the most deviations
USUAL_BETA2 = {"rmsprop": 0.95}  # char-rnn's setting of RMSprop; 0.999 for the others (Kingma & Ba 2015)


LARGE = below_power(63)
WITH_DECAY = ("schedule", ("step", "plateau"))
DIVIDED = ("adam", "adamw", "rmsprop", "adagrad", "muon")  # optimisers that divide by the root of second moments


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run, each with its help. A setting that is None gets the usual value of the optimiser."""

    batch: int = setting(32, "Streams of text read side by side.", AT_LEAST_ONE, below_power(31))
    seq_len: int = setting(64, "Time steps over which gradients flow back.", AT_LEAST_ONE, below_power(31))
    precision: str = setting(
        "float32",
        "Number format of matrix products: float32, bfloat16, or auto for the faster one on this CPU.",
        names=PRECISIONS,
    )
    bptt: str = setting(
        "", "Move on K1 steps, propagate back over K2.", metavar="K1:K2", usual="both are --seq-len"
    )  # "" if K1 and K2 are the same
    random_lengths: bool = setting(False, "Chunks of random lengths around --seq-len.")
    shuffle: int = setting(
        0,
        "Length of the pieces of text that each epoch reads in another random order; 0 for the text's own order.",
        *(NOT_NEGATIVE, LARGE),
    )
    accumulate: int = setting(1, "Batches that make one update.", AT_LEAST_ONE, below_power(31))
    lr: float = setting(0.003, "Learning rate.", POSITIVE)
    input_rate: float = setting(
        1.0,
        "Factor of --lr for the rows that the input looks up: the embedding, or weights of one-hot characters.",
        POSITIVE,
    )
    projection_rate: float = setting(1.0, "Factor of --lr for the weights that read an embedding.", POSITIVE)
    output_rate: float = setting(1.0, "Factor of --lr for the weights of the output layer.", POSITIVE)
    matrix_lr: float = setting(
        0.03, "Learning rate of muon for the weights between hidden units.", POSITIVE, only=("optimiser", ("muon",))
    )
    schedule: str = setting(
        "cosine",
        "Course of the learning rate: constant, linear or cosine (down to 0 at the end), step, plateau.",
        names=SCHEDULES,
    )
    warmup: float = setting(
        0.03, "The learning rate rises during this share of the run (below 1) or this number of steps.", NOT_NEGATIVE
    )
    decay: float = setting(0.5, "Factor of the rate in step and plateau.", SHARE, only=WITH_DECAY)
    decay_every: float = setting(
        0.25, "How often step decays: a share of the run below 1, else steps.", POSITIVE, only=("schedule", ("step",))
    )
    plateau: int = setting(
        2,
        "Evaluations without a lower loss after which plateau decays.",
        *(AT_LEAST_ONE, LARGE),
        only=("schedule", ("plateau",)),
    )
    init: str = setting(
        "uniform",
        "Initial recurrent weights: uniform, orthogonal or identity.",
        names=("uniform", "orthogonal", IDENTITY),
    )
    forget_bias: str = setting(
        USUAL_FORGET_BIAS, "Initial bias of the forget gates, in cells that have one.", metavar=f"X|{CHRONO}"
    )
    init_scale: float = setting(
        1.0,
        "Factor of the input's effect (its variance) and of the output's bias at the beginning.",
        *(POSITIVE, at_most(MOST_INIT_SCALE)),
    )
    reset_every: int = setting(
        50, "Chunks after which, on average, a stream goes back to a state of zeros; 0 for never.", NOT_NEGATIVE, LARGE
    )
    optimiser: str = setting(
        "adam",
        "muon, adam, adamw, rmsprop, sgd or adagrad.",
        names=("adam", "adamw", "muon", "rmsprop", "sgd", "adagrad"),
        flags=("--optimiser", "--optimizer"),
    )
    beta1: float = setting(0.9, "Memory of Adam's first moment.", SHARE, only=("optimiser", ("adam", "adamw", "muon")))
    beta2: float | None = setting(
        None,
        "Memory of squared gradients.",
        SHARE,
        usual="0.999, rmsprop 0.95",
        only=("optimiser", ("adam", "adamw", "rmsprop", "muon")),
    )
    epsilon: float = setting(1e-8, "Added to the root of squared gradients.", POSITIVE, only=("optimiser", DIVIDED))
    momentum: float | None = setting(
        None, "Momentum of sgd and muon.", SHARE, usual="0.9, muon 0.95", only=("optimiser", ("sgd", "muon"))
    )
    nesterov: bool = setting(False, "Nesterov's momentum for sgd.", only=("optimiser", ("sgd",)))
    weight_decay: float | None = setting(
        None, "Decoupled weight decay.", NOT_NEGATIVE, usual="chosen with adam, adamw 0.01, else 0"
    )
    clip_norm: float = setting(1.0, "Largest global norm of the gradient; 0 for no limit.", NOT_NEGATIVE)
    clip_value: float = setting(0.0, "Largest size of a gradient's element; 0 for no limit.", NOT_NEGATIVE)
    dropout: float = setting(0.0, "Share of units dropped between layers.", SHARE)
    dropout_input: float = setting(0.0, "Share of characters dropped at the input.", SHARE)
    dropout_output: float = setting(0.0, "Share of the top layer's units dropped before the softmax.", SHARE)
    dropout_kind: str = setting(
        "standard",
        "standard (a new mask at each time step) or variational (one mask for a chunk).",
        names=("standard", "variational"),
    )
    weight_drop: float = setting(0.0, "Share of recurrent weights dropped, with one mask for a chunk.", SHARE)
    label_smoothing: float = setting(0.0, "Share of the wanted distribution that is uniform.", SHARE)
    activation_penalty: float = setting(
        0.0, "Factor of the mean square of what the top layer gives to the softmax.", NOT_NEGATIVE
    )
    temporal_penalty: float = setting(
        0.0, "Factor of the mean square of the top layer's change from step to step.", NOT_NEGATIVE
    )
    ema: float = setting(0.0, "Memory of the averaged parameters that are evaluated, such as 0.999; 0 for none.", SHARE)
    seed: int = setting(0, "Seed of all random numbers.", NOT_NEGATIVE, LARGE)
    epochs: float = setting(
        0.0, "Passes over the text after which to stop.", NOT_NEGATIVE, LARGE, usual="10 if no other stop is given"
    )
    steps: int = setting(0, "Updates after which to stop.", NOT_NEGATIVE, LARGE, usual="no limit")
    minutes: float = setting(0.0, "Minutes after which to stop.", NOT_NEGATIVE, LARGE, usual="no limit")
    patience: int = setting(
        0, "Evaluations without a lower loss after which to stop.", NOT_NEGATIVE, LARGE, usual="never"
    )
    eval_every: int = setting(0, "Steps between evaluations.", NOT_NEGATIVE, LARGE, usual="as often as costs little")
    log_every: int = setting(
        0, "Steps between lines of kind train in log.jsonl.", NOT_NEGATIVE, LARGE, usual="a line every half second"
    )
    keep: int = setting(0, "Checkpoints of earlier evaluations to keep.", NOT_NEGATIVE, LARGE)
    preview: int = setting(0, "Characters to sample and show at each evaluation.", NOT_NEGATIVE, below_power(20))

    def __post_init__(self) -> None:
        self._fill_in()
        check_settings(self)
        check_forget_bias(self.forget_bias)

    def _fill_in(self) -> None:
        """Fill in the usual values of settings that have none."""
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
        """The number of time steps before a chunk over which gradients also flow back."""
        return parse_bptt(self.bptt)[1] - self.seq_len if self.bptt else 0

    @property
    def chunk_steps(self) -> int:
        """The most time steps that are kept for the backward pass."""
        return self.history + (longest(self.seq_len) if self.random_lengths else self.seq_len)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)


def parse_bptt(text: str) -> tuple[int, int]:
    """K1 and K2 of "K1:K2".

    Raises:
        ConfigError: the text is not of this form, with 1 <= K1 <= K2.
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
