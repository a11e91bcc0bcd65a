"""The time of a run: clock time since its command began, and how much of it evaluations may take."""

from __future__ import annotations

import time

from charrnn.training.progress import Progress

EVALUATION_SHARE = 0.05  # of the time of a run with --minutes: for one evaluation, and for all before the final one
LEAST_SHARE = 0.5  # the least share of --minutes for training, even if the start or an evaluation takes long


class Clock:
    """Keeps the times in the progress of one run.

    Args:
        progress: the progress so far; that of a resumed run has an elapsed time.
        minutes: how many minutes the run may take; 0 for no limit.
        began: when the command began, in seconds by `time.perf_counter`.
    """

    def __init__(self, progress: Progress, minutes: float, began: float) -> None:
        self.limit = 60.0 * minutes
        self._zero = began - progress.elapsed

    def leave_out(self, seconds: float) -> None:
        """Do not count these seconds, which were spent on compilation."""
        self._zero += seconds

    def keep(self, progress: Progress) -> None:
        """Store in the progress how much time has passed."""
        progress.elapsed = time.perf_counter() - self._zero

    def share_done(self, progress: Progress, evaluation: float) -> float:
        """The share of the time for training that has passed; 0 without a limit.

        Args:
            progress: the progress of the run.
            evaluation: seconds that the final evaluation will take.
        """
        if not self.limit:
            return 0.0
        available = max(self.limit - progress.overhead - evaluation, LEAST_SHARE * self.limit)
        return (progress.elapsed - progress.overhead) / available

    def affords(self, progress: Progress, evaluation: float) -> bool:
        """Whether there is time for one more evaluation, which takes `evaluation` seconds, before the final one."""
        return progress.evaluation_seconds + evaluation <= EVALUATION_SHARE * progress.elapsed

    def chars_to_evaluate(self, characters: int, seconds_per_char: float) -> int:
        """How many characters of a validation text one evaluation has time to read."""
        if not self.limit:
            return characters
        return max(1, min(characters, int(EVALUATION_SHARE * self.limit / seconds_per_char)))
