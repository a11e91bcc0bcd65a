"""How much memory a run of training takes."""

from __future__ import annotations

from charrnn.model.config import ModelConfig
from charrnn.model.size import memory_needed
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import MOMENTS, MUON_SCRATCH

PIECE = 70  # bytes for each piece of a text that is read in a random order


def memory_of_run(model: ModelConfig, config: TrainConfig, chars: int = 0) -> int:
    """About how many bytes a training run takes; the text, of `chars` characters, stays in its file."""
    vectors = 2 + len(MOMENTS[config.optimiser]) + 2 * bool(config.ema) + bool(config.accumulate > 1)
    vectors += MUON_SCRATCH * (config.optimiser == "muon")
    dropped = (model.layers - 1) * bool(config.dropout) + bool(config.dropout_output)
    rounded = config.precision == "bfloat16"
    pieces = PIECE * chars // config.shuffle if config.shuffle else 0
    return pieces + memory_needed(model, config.batch, config.chunk_steps, vectors, rounded=rounded, dropped=dropped)
