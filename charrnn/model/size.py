"""How much work and memory a model takes, before it is made."""

from __future__ import annotations

import math
from dataclasses import replace

from charrnn.engine.panels import panels_for
from charrnn.engine.tile import W
from charrnn.model.config import ModelConfig
from charrnn.model.network import layer_type, parameter_shapes

PACKED_COPIES = 3  # of each weight matrix: for the product, for that of the transpose, and of its gradient


def parameter_count(config: ModelConfig) -> int:
    """How many numbers the model learns."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def multiply_adds_per_char(config: ModelConfig) -> int:
    """Multiply-adds of the dense products for one character: the recurrent ones, the inputs above the first layer, the
    output. A forward pass takes 2 operations for each, training 6.
    """
    width = len(layer_type(config).gates) * config.hidden
    return config.hidden * (width * (2 * config.layers - 1) + config.symbols)


def memory_needed(config: ModelConfig, batch: int, steps: int, vectors: int, itemsize: int = 4) -> int:
    """About how many bytes training takes.

    Args:
        config: the model.
        batch, steps: B and T of a chunk.
        vectors: how many numbers are kept for each parameter: itself, its gradient, moments, average.
        itemsize: bytes of a number.
    """
    kind, rows = layer_type(config), batch * (steps + 1)
    buffers = kind.slots + len(kind.states) + 2  # gates, states, gradient of h, and one that some cells have
    buffers += 2 * kind.slots * config.layer_norm + config.residual
    if config.zoneout or config.zoneout_cell or config.stateless:
        buffers += len(kind.states) + 1
    wide = panels_for(config.hidden) * W
    packed = PACKED_COPIES * parameter_count(replace(config, hidden=wide, embed=wide if config.tied else config.embed))
    activations = config.layers * buffers * wide * rows
    logits = panels_for(config.symbols) * W * rows
    return itemsize * (vectors * parameter_count(config) + packed + activations + logits)
