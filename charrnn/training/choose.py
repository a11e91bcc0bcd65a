"""The settings that a user leaves open, chosen for the text and for the length of the run.

The rule, which docs/defaults.md explains and measures:

1. A run reads so many characters: as many as --steps and --epochs say, or as the CPU can read in --minutes, by its
   measured peak.
2. The model is the largest of SIZES that will read CHARS_PER_PARAMETER characters for each of its parameters.
3. The more often the text is read, the more dropout: see `_dropout`.
4. A vocabulary of more than LARGE_VOCABULARY symbols gets an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from charrnn.model.config import ModelConfig
from charrnn.model.size import multiply_adds_per_char, parameter_count
from charrnn.training.config import TrainConfig

SIZES = (64, 128, 192, 256, 384, 512, 768, 1024)
CHARS_PER_PARAMETER = 8.0
LARGE_VOCABULARY = 256
EFFICIENCY = 0.45  # share of the peak that training reaches, with all that belongs to it
MODEL = {field.name for field in fields(ModelConfig)}
TRAINING = {field.name for field in fields(TrainConfig)}
