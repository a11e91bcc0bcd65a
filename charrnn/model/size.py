"""How much work and memory a model takes, before it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from charrnn.engine.panels import panels_for
from charrnn.engine.simd import W
from charrnn.model.config import ModelConfig
from charrnn.model.layer import programs_of
from charrnn.model.network import of_layer, parameter_shapes

PACKED_COPIES = 3  # of each weight matrix: for the product, for the product with the transpose, for the gradient


def parameter_count(config: ModelConfig) -> int:
    """How many numbers the model learns."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


@dataclass(frozen=True)
class PartSize:
    """How much work and memory one part of a model takes.

    Args:
        name: the name of the part.
        shapes: the shapes of its parameters.
        multiply_adds: the multiply-adds of its dense products for one character in the forward pass.
        numbers: how many numbers its activations have for each character of a chunk.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    multiply_adds: int
    numbers: int

    @property
    def parameters(self) -> int:
        """How many numbers the part learns."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def part_sizes(config: ModelConfig) -> list[PartSize]:
    """Embedding, layers and output, from bottom to top. The first layer's input is looked up and takes no product."""
    shapes, hidden = parameter_shapes(config), config.hidden
    cell, wide = programs_of(config).step.cell, panels_for(hidden) * W
    parts = [PartSize("embedding", {"embed": shapes["embed"]}, 0, 0)] if config.embed else []
    for layer in range(config.layers):
        own = of_layer(layer, shapes.items())
        blocks = len(cell.recurrent) + len(cell.gates) * (layer > 0)
        products = hidden * hidden * blocks + ("W_y" in own) * hidden * config.symbols
        parts.append(PartSize(f"layer {layer}", own, products, _buffers(config) * wide))
    own = {name: shapes[name] for name in ("W_y", "b_y") if name in shapes}
    return [*parts, PartSize("output", own, hidden * config.symbols, panels_for(config.symbols) * W)]


def multiply_adds_per_char(config: ModelConfig) -> int:
    """Multiply-adds of the dense products for one character. A forward pass takes 2 operations for each, training 6."""
    return sum(part.multiply_adds for part in part_sizes(config))


def _buffers(config: ModelConfig) -> int:
    """How many rows of hidden units a layer keeps for each character of a chunk."""
    step = programs_of(config).step
    slots, states = len(step.slots), len(step.cell.states)
    buffers = slots + states + step.stages + len(step.cell.units)  # gates, states, gradient of h, operands, d_units
    return buffers + 2 * slots * config.layer_norm + states * step.beside.zoneout + step.beside.lines + config.residual


def _tables(config: ModelConfig) -> int:
    """How many numbers the tables of embedded characters, further copies of the embedding, and their gradients have.

    Tables of one-hot characters do not count here: they are weights.
    """
    if not config.embed:
        return 0
    hidden, embed = panels_for(config.hidden) * W, panels_for(config.embed) * W
    gates, skips = len(programs_of(config).step.cell.gates), (config.layers - 1) * config.input_skips
    copies = skips + config.tied  # a tied embedding is packed for the input as well
    return 2 * config.symbols * (gates * hidden * (1 + skips) + embed * copies)


def memory_needed(
    config: ModelConfig,
    batch: int,
    steps: int,
    vectors: int,
    itemsize: int = 4,
    rounded: bool = False,
    dropped: int = 0,
) -> int:
    """About how many bytes training takes.

    Args:
        config: the model.
        batch, steps: B and T of a chunk.
        vectors: how many numbers are kept for each parameter: itself, its gradient, moments, average.
        itemsize: bytes of a number.
        rounded: whether products are computed in bfloat16.
        dropped: how many layers have dropout above them, which keeps a copy of what they give.
    """
    wide = panels_for(config.hidden) * W
    padded = parameter_count(replace(config, hidden=wide, embed=wide if config.tied else config.embed))
    parts = part_sizes(config)
    activations = batch * (steps + 1) * (sum(part.numbers for part in parts) + dropped * wide)
    numbers = vectors * parameter_count(config) + PACKED_COPIES * padded + activations + _tables(config)
    further = 0
    if rounded:
        # Copies, half as large as the originals: gates, operands and logits, and the two factors of a sum over rows.
        step = programs_of(config).step
        slots, logits = len(step.slots), parts[-1].numbers
        rows = slots + step.stages + config.residual + step.beside.lines
        copies = (config.layers * rows + dropped) * wide + logits
        factors = max(slots * wide, logits) + wide
        further = (batch * (steps + 1) * (copies + factors)) // 2 - padded
    return itemsize * (numbers + further)
