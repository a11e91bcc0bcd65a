"""The checkpoints that a run keeps in its folder: last.npz, best.npz, and those of earlier evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from charrnn.errors import OutputError
from charrnn.folders import LAST, OLDER_CHECKPOINT, OpenFolder
from charrnn.training.checkpoint import Checkpoint, load_checkpoint
from charrnn.training.state import TrainingState

SAVE_SECONDS = 60.0  # between checkpoints, at the most


class KeptCheckpoints:
    """Writes a run's checkpoints, and reads them again.

    Args:
        path: the RUN folder.
        state: what is saved.
        settle: called when the run has a checkpoint of more than step 0; it returns the place of the RUN folder from
            then on.
    """

    def __init__(self, path: Path, state: TrainingState, settle: Callable[[], Path] | None = None) -> None:
        self._folder, self.state, self._settle = OpenFolder(path), state, settle
        self._saved = time.perf_counter()

    @property
    def path(self) -> Path:
        """The RUN folder, also if somebody has moved it.

        Raises:
            OutputError: it was removed.
        """
        return self._folder.place()

    @property
    def stays(self) -> bool:
        """Whether the RUN folder stays if the run ends now. One that would replace an older run does not yet."""
        return self._settle is None

    def save(self, name: str = LAST) -> None:
        """Write a checkpoint of the current state."""
        checkpoint, path = self.state.snapshot(), self.path
        try:
            checkpoint.save(path / name)
        except OutputError:
            if self.path == path:
                raise
            checkpoint.save(self.path / name)  # the folder was moved meanwhile
        if name == LAST:
            self._saved = time.perf_counter()
            if self._settle is not None and self.state.progress.step:
                self._folder, self._settle = OpenFolder(self._settle()), None

    def load(self, name: str) -> Checkpoint:
        """Read one of the run's checkpoints."""
        return load_checkpoint(self.path / name)

    def due(self) -> bool:
        """Whether last.npz is so old that a new one should be written."""
        return time.perf_counter() - self._saved >= SAVE_SECONDS

    def keep_older(self) -> None:
        """Keep a checkpoint of this evaluation; if there are more than --keep of them, drop the oldest."""
        if not self.state.config.keep:
            return
        self.drop_later()  # somebody may have put an earlier checkpoint in the place of last.npz
        self.save(f"step-{self.state.progress.step:09d}.npz")
        for _, path in self._older()[: -self.state.config.keep]:
            path.unlink(missing_ok=True)

    def drop_later(self) -> None:
        """Drop the checkpoints of evaluations after the step that the run went back to."""
        for step, path in self._older():
            if step > self.state.progress.step:
                path.unlink(missing_ok=True)

    def _older(self) -> list[tuple[int, Path]]:
        """The steps of earlier evaluations with their checkpoints, in ascending order."""
        paths = [path for path in self.path.glob("step-*.npz") if OLDER_CHECKPOINT.fullmatch(path.name)]
        return sorted((int(path.stem.removeprefix("step-")), path) for path in paths if path.is_file())
