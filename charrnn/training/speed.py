"""How fast this machine trains a model, computed from its peak speed.

A training step multiplies matrices at a constant share of the peak speed. Everything else in it, such as the equations
of the cells, reads and writes activations, so its time is in proportion to their number. Both hold for a usual batch.
In each time step the weights are read and the threads wait for each other, however small the batch is. That takes as
long as some further streams would.
"""

from __future__ import annotations

from charrnn import runtime
from charrnn.engine import bfloat16
from charrnn.engine.peak import peak_flops
from charrnn.model.config import ModelConfig
from charrnn.model.size import multiply_adds_per_char, part_sizes

PRODUCT_SHARE, TILE_SHARE = 0.9, 0.3  # of the peak, in products; matrix tiles wait for memory
SECONDS_PER_NUMBER = 2e-9  # of one thread, for each number of the activations
USUAL_BATCH, FURTHER_STREAMS = 32, 6  # streams for which these figures hold; what a time step takes besides its batch
PEAK_SECONDS, PEAK_ROUNDS = 0.05, 5


def product_speed(rounded: bool = False) -> float:
    """About how many floating-point operations a second the products of training reach, on all threads.

    It follows from the highest of several short measurements of the peak, because other work on the machine can only
    lower a measurement.

    Args:
        rounded: whether products are computed in bfloat16.
    """
    share = TILE_SHARE if rounded and bfloat16.on_tiles() else PRODUCT_SHARE
    return share * max(peak_flops(PEAK_SECONDS, rounded) for _ in range(PEAK_ROUNDS))


def seconds_per_char(model: ModelConfig, speed: float, batch: int = USUAL_BATCH) -> float:
    """About how many seconds training takes for each character, without evaluations.

    Args:
        model: the model.
        speed: the speed of products, see `product_speed`.
        batch: streams that are read side by side.
    """
    waiting = (1 + FURTHER_STREAMS / batch) / (1 + FURTHER_STREAMS / USUAL_BATCH)
    numbers = sum(part.numbers for part in part_sizes(model))
    products = 6 * multiply_adds_per_char(model) / speed
    return waiting * (products + SECONDS_PER_NUMBER * numbers / runtime.threads())
