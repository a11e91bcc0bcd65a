"""How far a run has come, as its checkpoints store it."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 1e12  # seconds of a run


@dataclass
class Progress:
    """How far a run has come.

    Args:
        step: updates made.
        epoch: whole epochs read.
        position: time steps read in the present epoch.
        chars: characters trained on.
        seconds: time spent on training alone.
        elapsed: seconds that the commands of the run have taken, without compilation.
        overhead: the seconds of `elapsed` before the first step.
        evaluation_seconds: seconds spent on evaluations.
        evaluation_chars: how many characters of the validation text's beginning each evaluation predicts; 0 for all.
        best_loss, best_step: lowest validation loss in nats per character, and when; None before there is one.
        evaluations_since_best: evaluations since then.
        lr_scale: the factor by which plateaus and rollbacks have lowered the learning rate.
        loss_mean, loss_variance: running mean and variance of the training loss; the mean is None at the beginning.
        best_loss_mean: the running mean when the validation loss was lowest.
        skipped: updates skipped in a row.
        left_out: updates skipped in all.
        rollbacks: how often the run went back since the loss was lowest, each time soon after the time before.
        rolled_back_from: the step at which the newest rollback happened.
        evaluated_step: the step of the newest evaluation that was not interrupted.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    chars: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    overhead: float = 0.0
    evaluation_seconds: float = 0.0
    evaluation_chars: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    lr_scale: float = 1.0
    loss_mean: float | None = None
    loss_variance: float = 0.0
    best_loss_mean: float | None = None
    skipped: int = 0
    left_out: int = 0
    rollbacks: int = 0
    rolled_back_from: int = 0
    evaluated_step: int = 0

    @property
    def draw(self) -> int:
        """The number of the next chunk, which selects its random numbers; a chunk after a skipped one has others."""
        return self.step + self.left_out

    def check(self) -> None:
        """Raise ValueError unless the numbers can be those of one run."""
        for name, value in vars(self).items():
            if value is not None and not name.endswith("loss_mean") and name != "best_loss" and value < 0:
                raise ValueError(f"{name} is {value}, below 0")
        for name in ("best_step", "evaluated_step"):
            if (value := getattr(self, name)) is not None and value > self.step:
                raise ValueError(f"{name} is {value}, beyond step {self.step}")
        for name, most in (("lr_scale", 1.0), ("seconds", LONGEST), ("elapsed", LONGEST)):
            if (number := getattr(self, name)) > most:
                raise ValueError(f"{name} is {number}, above {most:g}")

    def check_within(self, steps: int, streams: int) -> None:
        """Raise ValueError unless a run over a text of this size can have come so far.

        Args:
            steps: time steps in each stream of the text.
            streams: how many there are.
        """
        if self.draw * streams >= 2**63:  # the numbers of random draws must be smaller
            raise ValueError(f"step is {self.step}, with {self.left_out} chunks left out")
        read = self.epoch * steps + self.position
        if self.position >= steps:
            raise ValueError(f"position is {self.position}, in streams of {steps} time steps")
        if self.draw > read or self.chars > read * streams:
            raise ValueError(f"{self.draw} chunks and {self.chars} characters, after {read} time steps")
