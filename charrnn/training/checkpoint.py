"""Checkpoints: one .npz that holds everything a model and its training need, and no code.

Arrays under plain names:

    format, format_version      what the file is
    model, training, progress   JSON texts: ModelConfig, TrainConfig, Progress
    level, vocabulary           "char" or "byte"; (V,) uint32 code points or bytes, in symbol order
    unknown                     bool, whether U+FFFD among them stands for all other characters
    form                        JSON text: TextForm, what is done to characters before they are read
    data                        fingerprint of the training data
    parameters/NAME             float32, unpacked
    optimiser/m/NAME, .../v/... moments, as far as the optimiser has them
    average/NAME                moving average of the parameters, if the run has one
    state/h, state/c            (L, B, H) hidden state before the next chunk and its history, of all B streams
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.engine.panels import Array
from charrnn.errors import CharRNNError, CheckpointError
from charrnn.files import replacing
from charrnn.model.config import ModelConfig
from charrnn.model.network import Network, State, layer_type, parameter_shapes
from charrnn.model.parameters import Shapes
from charrnn.text.reading import TextForm
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import MOMENTS

FORMAT = "charrnn-checkpoint"
FORMAT_VERSION = 2
OLDER_DEFAULTS = {"reset_every": 0}  # what runs did that were begun before there was such a setting


@dataclass
class Progress:
    """How far a run has come.

    Args:
        step: updates made.
        epoch: whole epochs read.
        position: time steps read of the present epoch.
        chars: characters trained on.
        seconds: time spent on training alone.
        elapsed: seconds since the command that began the run, with all that belongs to it but compilation.
        overhead: of them, before the first step.
        evaluation_seconds: spent on evaluations.
        evaluation_chars: predicted in each evaluation, of the beginning of the validation text; 0 for all of it.
        best_loss, best_step: lowest validation loss in nats per character, and when; None before there is one.
        evaluations_since_best: evaluations since then.
        lr_scale: what plateaus and rollbacks have made of the learning rate.
        loss_mean, loss_variance: running, of the training loss; None at the beginning.
        best_loss_mean: the running mean when the validation loss was lowest.
        skipped: updates skipped in a row.
        rollbacks: soon after one another, since the loss was last at its best.
        rolled_back_from: the step at which the last of them came.
        evaluated_step: of the last evaluation that was not interrupted.
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
    rollbacks: int = 0
    rolled_back_from: int = 0
    evaluated_step: int = 0


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
        """Those that are evaluated and sampled from: the averaged ones, if the run has an average."""
        return self.average or self.parameters

    def network(self, dtype: Any = np.float32) -> Network:
        """A network with the parameters of the model, packed and ready."""
        network = Network(self.model, dtype, self.vocabulary.line_break)
        for name, view in network.parameters.items():
            view[:] = self.best_parameters[name]
        network.pack()
        return network

    def save(self, path: Path) -> None:
        """Write the file whole, flushed to disk, in place of an older one."""
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
    """Read a checkpoint; nothing in the file is ever executed.

    Args:
        path: the `.npz`.
    Raises:
        CheckpointError: it is missing, truncated, damaged, foreign, or of a newer format.
    """
    if not path.is_file():
        raise CheckpointError(
            f"expected a checkpoint, got {path}, which is no file; try the path of a .npz or a RUN folder"
        )
    try:
        if path.read_bytes()[:2] not in (b"PK", b""):
            raise _foreign(path)
        with np.load(path, allow_pickle=False) as file:
            return _read(dict(file.items()), path)
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise CheckpointError(
            f"expected a whole checkpoint, got {path}, truncated or damaged ({_short(error)}); "
            "try another checkpoint of the run"
        ) from None


# What NumPy, zipfile, json and our own checks raise on content that is not what it should be.
DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    CharRNNError,
    zipfile.BadZipFile,
    zlib.error,
)


def _foreign(path: Path) -> CheckpointError:
    return CheckpointError(f"expected a checkpoint of charrnn, got {path}, another kind of file; try last.npz of a run")


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


def _read(arrays: dict[str, Array], path: Path) -> Checkpoint:
    if str(arrays.get("format")) != FORMAT:
        raise _foreign(path)
    if (found := int(arrays["format_version"])) != FORMAT_VERSION:
        raise CheckpointError(
            f"expected checkpoint format {FORMAT_VERSION}, got {found} in {path}; "
            f"try {'a newer' if found > FORMAT_VERSION else 'an older'} charrnn"
        )
    model = ModelConfig(**json.loads(str(arrays["model"])))
    vocabulary = Vocabulary(str(arrays["level"]), arrays["vocabulary"].tolist(), bool(arrays["unknown"]))
    if len(vocabulary) != model.symbols:
        raise ValueError(f"{model.symbols} symbols in the model, {len(vocabulary)} in the vocabulary")
    if not np.array_equal(vocabulary.codes, arrays["vocabulary"]):
        raise ValueError("vocabulary out of order")
    training = TrainConfig(**OLDER_DEFAULTS | json.loads(str(arrays["training"])))
    progress = json.loads(str(arrays["progress"]))
    shapes = parameter_shapes(model)
    state_shape = (model.layers, training.batch * training.accumulate, model.hidden)
    return Checkpoint(
        model,
        training,
        Progress(**{"evaluated_step": progress["step"]} | progress),
        vocabulary,
        str(arrays["data"]),
        _under("parameters", arrays, shapes),
        {name: _under(f"optimiser/{name}", arrays, shapes) for name in MOMENTS[training.optimiser]},
        _under("state", arrays, dict.fromkeys(layer_type(model).states, state_shape)),
        TextForm(**json.loads(str(arrays["form"]))),
        _under("average", arrays, shapes) if training.ema else {},
    )


def _under(folder: str, arrays: dict[str, Array], shapes: Shapes) -> dict[str, Array]:
    """The arrays of these names below `folder`, each of its shape, of finite numbers."""
    found = {name: arrays[f"{folder}/{name}"] for name in shapes}
    for name, array in found.items():
        if array.shape != shapes[name] or array.dtype.kind != "f":
            raise ValueError(f"{folder}/{name} is {array.dtype} of shape {array.shape}, not floats {shapes[name]}")
        if not np.isfinite(array).all():
            raise ValueError(f"{folder}/{name} holds numbers that are not finite")
    return found


def find_checkpoint(path: Path) -> Path:
    """The checkpoint meant by CKPT|RUN: the file itself, or a run's best.npz, else its last.npz."""
    if path.is_dir():
        for name in ("best.npz", "last.npz"):
            if (path / name).is_file():
                return path / name
        raise CheckpointError(
            f"expected a checkpoint or a RUN folder with best.npz or last.npz, got the folder {path}; "
            f"try charrnn train DATA --out {path}"
        )
    return path
