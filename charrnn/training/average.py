"""An exponential moving average of the parameters (Polyak & Juditsky 1992 averaged evenly)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from charrnn.engine.optimisers import move_towards
from charrnn.model.parameters import Parameters


class Average:
    """Follows the parameters; early on with a shorter memory, so that the beginning is soon forgotten.

    Args:
        decay: of the memory, below 1.
        parameters: what to follow.

    Attributes:
        values: the average, in the form of the parameters.
    """

    def __init__(self, decay: float, parameters: Parameters) -> None:
        self.decay, self.values = decay, parameters.like()

    def follow(self, parameters: Parameters, step: int) -> None:
        """Take update number `step`, counted from 1, into the average."""
        decay = min(self.decay, step / (10.0 + step))
        move_towards((self.values.flat, parameters.flat), (self.values.flat,), (1.0 - decay,))

    @contextmanager
    def in_place_of(self, parameters: Parameters) -> Iterator[None]:
        """The parameters are the averaged ones inside the block."""
        own = parameters.flat.copy()
        parameters.flat[:] = self.values.flat
        try:
            yield
        finally:
            parameters.flat[:] = own
