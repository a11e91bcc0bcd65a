"""A RUN folder: config.json, log.jsonl, last.npz and best.npz."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charrnn import __version__, runtime
from charrnn.errors import CheckpointError, ConfigError
from charrnn.files import clear_half_written, replacing
from charrnn.folders import BEST, CONFIG, LAST, NewFolder, building_folder, what_is
from charrnn.json_files import check, read_object
from charrnn.model.config import ModelConfig
from charrnn.settings import flag
from charrnn.text.data import Data
from charrnn.training.checkpoint import Checkpoint, load_checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.learner import streams_of
from charrnn.training.state import TrainingState

FORMAT, FORMAT_VERSION = "charrnn-run", 1
LARGEST_CONFIG = 1 << 20  # bytes
# The settings that may change when a run is resumed.
RESUMABLE = {"epochs", "steps", "minutes", "patience", "eval_every", "log_every", "keep", "preview"}


def origin(name: str = "", note: str = "") -> dict[str, str]:
    """Where and when a run began, and what its user says about it, in the form that config.json stores."""
    return {
        "name": name,
        "note": note,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "host": platform.node(),
        "cpu": runtime.cpu_name(),
        "command": shlex.join(["charrnn", *sys.argv[1:]]),
    }


def _describe(model: ModelConfig, training: TrainConfig, data: Data, began: dict[str, Any]) -> bytes:
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "origin": began,
        "model": model.as_dict(),
        "training": training.as_dict(),
        "data": {"path": str(data.path.resolve()), "fingerprint": data.fingerprint},
    }
    return (json.dumps(content, indent=2) + "\n").encode()


@contextmanager
def new_run(path: Path, state: TrainingState, force: bool, began: dict[str, str] | None = None) -> Iterator[NewFolder]:
    """Make a RUN folder with a checkpoint of step 0, locked inside the block; `began` is what `origin` returned.

    With `force`, the folder is built beside its final place. It moves to that place when `settle` is called, or when
    the block ends without an error. So an older run is replaced only after the new run has made progress.

    Raises:
        OutputError: the folder exists (and force is not set), or cannot be written.
    """
    with building_folder(path, CONFIG, force) as folder:
        (folder.path / CONFIG).write_bytes(_describe(state.model, state.config, state.data, began or origin()))
        state.snapshot().save(folder.path / LAST)
        if not force:
            folder.settle()
        yield folder


def resume_run(
    path: Path,
    data: Data,
    asked: dict[str, Any],
    remarks: dict[str, str] | None = None,
    refuse: Callable[[ModelConfig, TrainConfig], None] = lambda *_: None,
) -> Checkpoint:
    """The checkpoint last.npz of a run, ready to be resumed; the caller must lock the folder.

    Args:
        path: the RUN folder.
        data: the training data, which must be the run's own.
        asked: settings that the user gave; those in RESUMABLE replace the run's, the others must agree with the run's.
        remarks: a new name and note, see `origin`.
        refuse: raises an error if the run cannot go on here; called before anything is written.
    Raises:
        CheckpointError: the path is not a RUN folder, or the data is not the run's own.
        ConfigError: a setting that cannot change differs.
    """
    if not (path / CONFIG).is_file():
        there = (path.parent / CONFIG).is_file()
        hint = f"--out {path.parent}" if there else "without --resume to start one"
        raise CheckpointError(f"expected a RUN folder to resume, got {what_is(path)}; try {hint}")
    if not (path / LAST).exists() and (path / BEST).is_file():
        raise CheckpointError(f"expected {path / LAST}, got none; try cp {path / BEST} {path / LAST}, and once more")
    checkpoint = load_checkpoint(path / LAST)
    checkpoint.refuse_other_vocabulary(data.vocabulary, data.path)
    if checkpoint.data != data.fingerprint:
        raise CheckpointError(
            f"expected the data that {path} was trained on, got {data.path}, another text or split; "
            "try the DATA folder that the run began with, or a new --out"
        )
    _check_progress(checkpoint, data, path)
    settings = checkpoint.model.as_dict() | checkpoint.training.as_dict()
    if asked.get("bptt"):
        lengths = TrainConfig(bptt=asked["bptt"])
        asked = asked | {"bptt": lengths.bptt, "seq_len": lengths.seq_len}
    refuse_changes(settings, {n: v for n, v in asked.items() if n not in RESUMABLE}, f"{path} has it", "--resume")
    changes = {name: value for name, value in asked.items() if name in RESUMABLE}
    if changes.keys() & {"epochs", "steps", "minutes"}:
        changes = {"epochs": 0.0, "steps": 0, "minutes": 0.0} | changes
    checkpoint.training = replace(checkpoint.training, **changes)
    refuse(checkpoint.model, checkpoint.training)
    clear_half_written(path)
    if changes:  # the next resume reads them from there
        checkpoint.save(path / LAST)
    began = origin_of(path) | (remarks or {})
    with replacing(path / CONFIG) as file:
        file.write(_describe(checkpoint.model, checkpoint.training, data, began))
    return checkpoint


def read_config(path: Path) -> dict[str, Any]:
    """What the config.json of a RUN folder holds.

    Raises:
        OSError, ValueError: the file cannot be read, or holds no JSON object.
    """
    return read_object(path / CONFIG, LARGEST_CONFIG)


def origin_of(path: Path) -> dict[str, Any]:
    """What config.json says about the beginning of a run; empty if it says nothing, as in runs of older versions."""
    try:
        began = read_config(path).get("origin")
    except (OSError, ValueError):
        return {}
    return began if isinstance(began, dict) else {}


def _check_progress(checkpoint: Checkpoint, data: Data, path: Path) -> None:
    """Raise CheckpointError unless the run can have come so far in this text."""
    streams = streams_of(data.split("train"), checkpoint.training)
    try:
        checkpoint.progress.check_within(streams.steps, streams.batch)
    except ValueError as error:
        raise CheckpointError(
            f"expected a whole checkpoint, got {path / LAST}, damaged ({error}); try a new --out, with "
            f"--init-from {path}"
        ) from None


def refuse_changes(settings: dict[str, Any], asked: dict[str, Any], whose: str, option: str) -> None:
    """Raise ConfigError unless the settings that the user asked for agree with the existing ones.

    Args:
        settings: the existing settings, all of them.
        asked: those that the user gave.
        whose: what has the existing settings, for the message.
        option: what takes them over, for the message.
    """
    for name, value in asked.items():
        if settings[name] == value:
            continue
        option_of = flag(f"no_{name}" if value is False else name)
        alone = isinstance(value, bool) or settings[name] == ""
        wanted = f"no {option_of}," if alone else f"{option_of} {settings[name]}"
        got = "it" if isinstance(value, bool) else value
        raise ConfigError(f"expected {wanted} as {whose}, got {got}; try without {option_of}, or without {option}")


def data_of_run(path: Path, hint: str = "naming DATA or a file") -> Path:
    """The DATA folder that a run, or the run of a checkpoint, was trained on, as its config.json names it.

    If it does not, a CheckpointError says what to try: `hint`.
    """
    folder = path if path.is_dir() else path.parent
    try:
        content = read_config(folder)
        check(content, {"data": {"path": str}}, CONFIG)
        os.fsencode(content["data"]["path"])  # raises ValueError for a text that cannot be a path
        return Path(content["data"]["path"])
    except (OSError, ValueError) as error:
        expected = "expected a RUN folder, or a checkpoint in it, which knows its data, got"
        if not path.exists():
            raise CheckpointError(f"{expected} {what_is(path)}; try the --out of charrnn train") from None
        state = "an unreadable" if isinstance(error, PermissionError) else "a damaged"
        got = f"{what_is(path)}, with {state} {CONFIG}" if (folder / CONFIG).exists() else what_is(path)
        raise CheckpointError(f"{expected} {got}; try {hint}") from None
