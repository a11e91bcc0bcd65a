"""Fine-tuning: a model begins with the parameters of another, whose vocabulary may differ."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.model.config import ModelConfig
from charrnn.model.network import symbol_axes
from charrnn.model.parameters import Parameters
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Transferred:
    """How many symbols kept their rows, began afresh, or were dropped."""

    kept: int
    new: int
    dropped: int


def model_for(source: Checkpoint, vocabulary: Vocabulary) -> ModelConfig:
    """The shape of a model like that of `source`, for another vocabulary."""
    return replace(source.model, symbols=len(vocabulary))


def transfer(source: Checkpoint, vocabulary: Vocabulary, parameters: Parameters) -> Transferred:
    """Overwrite fresh parameters with those of another model; the rows of symbols are matched by character.

    Args:
        source: the other model, of the same shape except for its vocabulary.
        vocabulary: the vocabulary of the new model.
        parameters: initialised; rows of symbols that `source` does not know stay as they are.
    Raises:
        CheckpointError: one model reads characters, the other bytes.
    """
    if source.vocabulary.level != vocabulary.level:
        raise CheckpointError(
            f"expected a model of level {vocabulary.level} as the data is, got one of level "
            f"{source.vocabulary.level}; try charrnn prepare --level {source.vocabulary.level}"
        )
    _, new_rows, old_rows = np.intersect1d(vocabulary.codes, source.vocabulary.codes, return_indices=True)
    axes = symbol_axes(source.model)
    for name, view in parameters.items():
        old = source.best_parameters[name]
        if name not in axes:
            view[:] = old
        elif axes[name] == 0:
            view[new_rows] = old[old_rows]
        else:
            view[:, new_rows] = old[:, old_rows]
    kept = len(new_rows)
    return Transferred(kept, len(vocabulary) - kept, len(source.vocabulary) - kept)
