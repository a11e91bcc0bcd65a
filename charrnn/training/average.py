"""An exponential moving average of the parameters (Polyak & Juditsky 1992 gave all updates the same weight)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from charrnn.engine.optimisers import move_towards
from charrnn.model.parameters import Parameters


class Average:
    """Averages the parameters. The memory is shorter at first, so that the initial parameters are soon forgotten.

    Args:
        decay: the decay of the memory, below 1.
        parameters: what to average.

    Attributes:
        values: the average, in the form of the parameters.
    """

    def __init__(self, decay: float, parameters: Parameters) -> None:
        self.decay, self.values = decay, parameters.like()

    def follow(self, parameters: Parameters, step: int) -> None:
        """Add the parameters after update number `step`, counted from 1, to the average."""
        decay = min(self.decay, step / (10.0 + step))
        move_towards((self.values.flat, parameters.flat), (self.values.flat,), (1.0 - decay,))

    @contextmanager
    def in_place_of(self, parameters: Parameters) -> Iterator[None]:
        """Inside the block, the parameters hold the averaged values."""
        own = parameters.flat.copy()
        parameters.flat[:] = self.values.flat
        try:
            yield
        finally:
            parameters.flat[:] = own
