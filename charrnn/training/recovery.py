"""Going back to a checkpoint when a run breaks, with half the learning rate, a limited number of times."""

from __future__ import annotations

from charrnn.errors import TrainingError
from charrnn.folders import BEST, LAST
from charrnn.training.guard import diverged
from charrnn.training.journal import Journal
from charrnn.training.kept import KeptCheckpoints
from charrnn.training.state import TrainingState
from charrnn.training.watcher import Watcher

MOST_ROLLBACKS = 5  # before the run is given up
STEPS_OF_PEACE = 1000  # after which earlier rollbacks no longer count
TIMES = ("elapsed", "overhead", "evaluation_seconds", "evaluation_chars")  # of the progress: a rollback keeps these


class Recovery:
    """Brings a broken run back to an intact checkpoint.

    Args:
        state: the model in training.
        kept: the checkpoints it can go back to.
        watcher: is told when the run goes back.
    """

    def __init__(self, state: TrainingState, kept: KeptCheckpoints, watcher: Watcher) -> None:
        self.state, self.kept, self.watcher = state, kept, watcher

    def mend(self, journal: Journal) -> bool:
        """Go back if the model holds numbers that are not finite; return whether it went back."""
        if broken := not self.state.is_finite():
            self.roll_back(journal, "parameters or states that are not finite")
        return broken

    def mend_divergence(self, journal: Journal, loss: float) -> bool:
        """Go back to best.npz if the validation loss (nats) shows that the run diverged; return whether it did so."""
        if diverging := diverged(self.state.progress, loss, self.state.model.symbols):
            self.roll_back(journal, "validation and training loss far above the best evaluation's", BEST)
        return diverging

    def roll_back(self, journal: Journal, reason: str, name: str = LAST) -> None:
        """Go back to a checkpoint, with half the learning rate.

        Raises:
            TrainingError: the run went back too often since the loss was lowest, each time soon after the time before.
        """
        failed = self.state.progress
        what = f"{reason} at step {failed.step:,}"
        if failed.step > failed.rolled_back_from + STEPS_OF_PEACE:
            failed.rollbacks = 0
        if failed.rollbacks >= MOST_ROLLBACKS:
            journal.write("event", name="give-up", step=failed.step, reason=what)
            raise TrainingError(
                f"expected a run that gets better, got {what}, after going back {failed.rollbacks} times to ever "
                "lower rates; "
                f"try a lower --lr than {self.state.config.lr}, or --clip-norm; "
                + (f"{self.kept.path / name} is intact" if self.kept.stays else "nothing of this run is kept")
            )
        checkpoint = self.kept.load(name)
        p = checkpoint.progress
        journal.write("event", name="rollback", step=p.step, checkpoint=name, reason=what)
        p.rollbacks, p.lr_scale, p.rolled_back_from = failed.rollbacks + 1, 0.5 * failed.lr_scale, failed.step
        for field in TIMES:
            setattr(p, field, getattr(failed, field))
        self.state.restore(checkpoint)
        self.kept.save()
        self.kept.drop_later()
        self.watcher.warned(f"{what}: going back to step {p.step:,} with {p.lr_scale:g} of the learning rate")
