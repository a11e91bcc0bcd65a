"""The time of a run: clock time since its command began, and what evaluations may take of it."""

from __future__ import annotations

import time

from charrnn.training.progress import Progress

EVALUATION_SHARE = 0.05  # of the time of a run with --minutes, for the last evaluation and for all others
LEAST_SHARE = 0.5  # of --minutes that is left for training, however long it takes to begin and to evaluate


class Clock:
    """Keeps the times in the progress of one run.

    Args:
        progress: so far; a run that goes on has an elapsed time.
        minutes: that the run may take; 0 for no limit.
        began: when the command began, in seconds by `time.perf_counter`.
    """

    def __init__(self, progress: Progress, minutes: float, began: float) -> None:
        self.limit = 60.0 * minutes
        self._zero = began - progress.elapsed

    def leave_out(self, seconds: float) -> None:
        """Do not count this time, which was spent on compiling."""
        self._zero += seconds

    def keep(self, progress: Progress) -> None:
        """Note how much time has passed."""
        progress.elapsed = time.perf_counter() - self._zero

    def share_done(self, progress: Progress, evaluation: float) -> float:
        """How much of the time for training has passed, 0 without a limit.

        Args:
            progress: of the run.
            evaluation: seconds that the last evaluation is going to take.
        """
        if not self.limit:
            return 0.0
        available = max(self.limit - progress.overhead - evaluation, LEAST_SHARE * self.limit)
        return (progress.elapsed - progress.overhead) / available

    def affords(self, progress: Progress, evaluation: float) -> bool:
        """Whether there is time for one more evaluation, which takes `evaluation` seconds, before the last."""
        return progress.evaluation_seconds + evaluation <= EVALUATION_SHARE * progress.elapsed

    def chars_to_evaluate(self, characters: int, seconds_per_char: float) -> int:
        """How many of the characters of a validation text there is time for in one evaluation."""
        if not self.limit:
            return characters
        return max(1, min(characters, int(EVALUATION_SHARE * self.limit / seconds_per_char)))
