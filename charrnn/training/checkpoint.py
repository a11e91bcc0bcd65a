"""Checkpoints: one .npz file that holds everything that a model and its training need, and no code.

Arrays under plain names:

    format, format_version      what the file is
    model, training, progress   JSON texts: ModelConfig, TrainConfig, Progress
    level, vocabulary           "char" or "byte"; (V,) uint32 code points or bytes, in symbol order
    unknown                     bool, whether U+FFFD among them stands for all other characters
    form                        JSON text: TextForm, what is done to characters before they are read
    data                        fingerprint of the training data
    parameters/NAME             float32, unpacked
    optimiser/m/NAME, .../v/... the moments that the optimiser has
    average/NAME                moving average of the parameters, if the run has one
    state/h, state/c            (L, B, H) hidden state of all B streams (batch times accumulate) before the next chunk
                                and its history
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from charrnn import runtime
from charrnn.engine.panels import Array
from charrnn.errors import CharRNNError, CheckpointError
from charrnn.files import reason, replacing
from charrnn.folders import BEST, LAST, what_is
from charrnn.json_files import build, parse
from charrnn.model.cell import EquationError
from charrnn.model.config import ModelConfig
from charrnn.model.layer import programs_of
from charrnn.model.network import Network, State, parameter_shapes
from charrnn.model.own import other_source
from charrnn.model.parameters import Shapes
from charrnn.npz import Archive, NotAnArchive
from charrnn.text.reading import TextForm
from charrnn.text.vocabulary import CODE_POINTS, Vocabulary
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import MOMENTS
from charrnn.training.progress import Progress

FORMAT = "charrnn-checkpoint"
FORMAT_VERSION = 3
READABLE_VERSIONS = (2, 3)  # 2 knows fewer settings of a model
OLDER_DEFAULTS = {"reset_every": 0}  # the behaviour of runs that began before these settings existed
Part = TypeVar("Part")


@dataclass
class Checkpoint:
    """What a checkpoint file holds, see the head of this module."""

    model: ModelConfig
    training: TrainConfig
    progress: Progress
    vocabulary: Vocabulary
    data: str
    parameters: dict[str, Array]
    moments: dict[str, dict[str, Array]]
    state: State
    form: TextForm
    average: dict[str, Array]

    @property
    def best_parameters(self) -> dict[str, Array]:
        """The parameters for evaluation and sampling: the averaged ones if the run has an average."""
        return self.average or self.parameters

    def network(self, dtype: Any = np.float32, precision: str = "float32") -> Network:
        """A network with the parameters of the model, packed and ready; see `Network` for the precision."""
        network = Network(self.model, dtype, self.vocabulary.line_break, precision)
        network.parameters.set(self.best_parameters)
        network.pack()
        return network

    def refuse_other_vocabulary(self, vocabulary: Vocabulary, path: Path) -> None:
        """Raise CheckpointError unless the data has the model's vocabulary; `path` is the path of the data."""
        if vocabulary != self.vocabulary:
            raise CheckpointError(
                f"expected data with the model's vocabulary ({len(self.vocabulary)} symbols), got {path} with another "
                f"({len(vocabulary)}); try the DATA folder that the model was trained on"
            )

    def save(self, path: Path) -> None:
        """Write the whole file, flush it to disk, and replace an older file."""
        arrays: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model": json.dumps(self.model.as_dict()),
            "training": json.dumps(self.training.as_dict()),
            "progress": json.dumps(asdict(self.progress)),
            "level": self.vocabulary.level,
            "vocabulary": self.vocabulary.codes,
            "unknown": self.vocabulary.has_unknown,
            "form": json.dumps(asdict(self.form)),
            "data": self.data,
        }
        arrays |= {f"parameters/{name}": value for name, value in self.parameters.items()}
        for moment, values in self.moments.items():
            arrays |= {f"optimiser/{moment}/{name}": value for name, value in values.items()}
        arrays |= {f"average/{name}": value for name, value in self.average.items()}
        arrays |= {f"state/{name}": value for name, value in self.state.items()}
        with replacing(path) as file:
            np.savez(file, **arrays)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Nothing in the file is executed, and only the parts that belong to a checkpoint are read.

    Args:
        path: the `.npz`.
    Raises:
        CheckpointError: the file is missing, truncated, damaged, not a checkpoint, of a format that this version cannot
            read, or larger than the free memory.
    """
    return _opened(path, _read)


def load_vocabulary(path: Path) -> Vocabulary:
    """Only the vocabulary of a checkpoint. A model with a cell of the user's own needs no file for it.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """

    def read(archive: Archive, _: Path) -> Vocabulary:
        return _vocabulary(archive, build(ModelConfig, parse(archive.text("model"))).symbols)

    return _opened(path, read)


def _opened(path: Path, read: Callable[[Archive, Path], Part]) -> Part:
    """What `read` finds in a checkpoint."""
    if not path.is_file():
        raise CheckpointError(
            f"expected a checkpoint or a RUN folder, got {what_is(path)}; try the --out of charrnn train"
        )
    try:
        with Archive(path) as archive:
            _check_format(archive, path)
            return read(archive, path)
    except (CheckpointError, EquationError):
        raise
    except NotAnArchive:
        raise _foreign(path) from None
    except PermissionError as error:
        raise CheckpointError(f"expected a readable checkpoint, got {path}: {reason(error)}; try chmod") from None
    except (OSError, ValueError, CharRNNError) as error:
        raise CheckpointError(
            f"expected a whole checkpoint, got {path}, truncated or damaged ({_short(error)}); "
            "try another checkpoint of the run"
        ) from None


def _foreign(path: Path) -> CheckpointError:
    return CheckpointError(f"expected a checkpoint of charrnn, got {path}, another kind of file; try last.npz of a run")


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _check_format(archive: Archive, path: Path) -> None:
    try:
        name = archive.text("format")
    except ValueError:
        name = ""
    if name != FORMAT:
        raise _foreign(path)
    if (found := archive.number("format_version", "iu")) not in READABLE_VERSIONS:
        raise CheckpointError(
            f"expected checkpoint format {FORMAT_VERSION}, got {found} in {path}; "
            f"try {'a newer' if found > FORMAT_VERSION else 'an older'} charrnn"
        )


def _read(archive: Archive, path: Path) -> Checkpoint:
    model = build(ModelConfig, parse(archive.text("model")))
    settings = OLDER_DEFAULTS | _object(archive, "training")
    if settings.get("bptt") == f"{settings.get('seq_len')}:{settings.get('seq_len')}":
        settings["bptt"] = ""  # format 2 wrote out two equal lengths
    training = build(TrainConfig, settings)
    values = _object(archive, "progress")
    progress = build(Progress, {"evaluated_step": values.get("step", 0)} | values)
    progress.check()
    shapes = parameter_shapes(model)
    folders = {"parameters": shapes} | {f"optimiser/{name}": shapes for name in MOMENTS[training.optimiser]}
    if training.ema:
        folders["average"] = shapes
    state_shape = (model.layers, training.batch * training.accumulate, model.hidden)
    folders["state"] = dict.fromkeys(programs_of(model).step.cell.states, state_shape)
    try:
        _check_sizes(archive, folders, path)
    except ValueError as error:
        if changed := other_source(model):
            raise CheckpointError(f"expected the cell of {path}, got another one ({error}): {changed}") from None
        raise
    arrays = {folder: {name: _floats(archive, f"{folder}/{name}") for name in folders[folder]} for folder in folders}
    return Checkpoint(
        model,
        training,
        progress,
        _vocabulary(archive, model.symbols),
        archive.text("data"),
        arrays["parameters"],
        {name: arrays[f"optimiser/{name}"] for name in MOMENTS[training.optimiser]},
        arrays["state"],
        build(TextForm, parse(archive.text("form"))),
        arrays.get("average", {}),
    )


def _object(archive: Archive, name: str) -> dict[str, Any]:
    values = parse(archive.text(name))
    if not isinstance(values, dict):
        raise ValueError(f"{name} is not an object")
    return values


def _check_sizes(archive: Archive, folders: dict[str, Shapes], path: Path) -> None:
    """Compare the declared shapes and types of the arrays with the expected ones, and their size with free memory."""
    total = 0
    for folder, shapes in folders.items():
        for name, shape in shapes.items():
            header = archive.header(f"{folder}/{name}")
            if header.shape != shape or header.dtype.kind != "f":
                raise ValueError(f"{folder}/{name} is {header.dtype} of shape {header.shape}, not floats {shape}")
            total += header.nbytes
    there = runtime.available_memory()
    if there is not None and total > there:
        raise CheckpointError(
            f"expected a checkpoint that fits into {there / 2**30:.1f} GB of free memory, got {path} of "
            f"{total / 2**30:.1f} GB; try it on a larger machine"
        )


def _floats(archive: Archive, name: str) -> Array:
    """An array as float32; raise ValueError unless all its numbers are finite."""
    with np.errstate(over="ignore"):
        array = archive.array(name).astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array


def _vocabulary(archive: Archive, symbols: int) -> Vocabulary:
    header = archive.header("vocabulary")
    if header.dtype.kind not in "iu" or header.shape != (symbols,):
        raise ValueError(f"vocabulary is {header.dtype} of shape {header.shape}, not {symbols} symbols of the model")
    codes = archive.array("vocabulary")
    if codes.min() < 0 or codes.max() >= CODE_POINTS:
        raise ValueError("vocabulary holds numbers that are not code points")
    vocabulary = Vocabulary(archive.text("level"), codes.tolist(), archive.number("unknown", "b"))
    if not np.array_equal(vocabulary.codes, codes):
        raise ValueError("vocabulary out of order")
    return vocabulary


def find_checkpoint(path: Path) -> Path:
    """The checkpoint meant by CKPT|RUN: the file itself, or a run's best.npz, else its last.npz."""
    if path.is_dir():
        for name in (BEST, LAST):
            if (path / name).is_file():
                return path / name
        raise CheckpointError(
            f"expected a checkpoint or a RUN folder, got {what_is(path)}, without best.npz or last.npz; "
            f"try the --out of charrnn train"
        )
    return path
