"""How much work and memory a model takes, before it is made."""

from __future__ import annotations

import math
from dataclasses import replace

from charrnn.engine.panels import panels_for
from charrnn.engine.tile import W
from charrnn.model.config import ModelConfig
from charrnn.model.layer import programs_of
from charrnn.model.network import parameter_shapes

PACKED_COPIES = 3  # of each weight matrix: for the product, for that of the transpose, and of its gradient


def parameter_count(config: ModelConfig) -> int:
    """How many numbers the model learns."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def multiply_adds_per_char(config: ModelConfig) -> int:
    """Multiply-adds of the dense products for one character: the recurrent ones, the inputs above the first layer, the
    output. A forward pass takes 2 operations for each, training 6.
    """
    cell, layers = programs_of(config).step.cell, config.layers
    blocks = len(cell.gates) * (layers - 1) + len(cell.recurrent) * layers
    return config.hidden * (config.hidden * blocks + config.symbols)


def memory_needed(config: ModelConfig, batch: int, steps: int, vectors: int, itemsize: int = 4) -> int:
    """About how many bytes training takes.

    Args:
        config: the model.
        batch, steps: B and T of a chunk.
        vectors: how many numbers are kept for each parameter: itself, its gradient, moments, average.
        itemsize: bytes of a number.
    """
    step, rows = programs_of(config).step, batch * (steps + 1)
    slots, states = len(step.slots), len(step.cell.states)
    buffers = slots + states + step.stages + len(step.cell.units)  # gates, states, gradient of h, operands, d_units
    buffers += 2 * slots * config.layer_norm + states * step.beside.zoneout + step.beside.lines + config.residual
    wide = panels_for(config.hidden) * W
    packed = PACKED_COPIES * parameter_count(replace(config, hidden=wide, embed=wide if config.tied else config.embed))
    activations = config.layers * buffers * wide * rows
    logits = panels_for(config.symbols) * W * rows
    return itemsize * (vectors * parameter_count(config) + packed + activations + logits)
