"""One flat vector with a named view for every array: parameters, gradients and moments all have this form."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine.optimisers import ALIGNMENT
from charrnn.engine.panels import Array, zeros

Shapes = dict[str, tuple[int, ...]]


class Parameters:
    """Zeros under names, stored one after the other in a single vector.

    Args:
        shapes: name and shape of each array, in the order of storage.
        dtype: float32 or float64.

    Attributes:
        flat: (n,) the vector; n is a multiple of ALIGNMENT, the end is padding.
    """

    def __init__(self, shapes: Shapes, dtype: DTypeLike) -> None:
        self.shapes = shapes
        self.count = sum(int(np.prod(shape)) for shape in shapes.values())
        self.flat: Array = zeros((-(-self.count // ALIGNMENT) * ALIGNMENT,), dtype)
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            self._views[name] = self.flat[start : start + size].reshape(shape)
            start += size

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def items(self) -> list[tuple[str, Array]]:
        """Names and views, in the order of storage."""
        return list(self._views.items())

    def like(self) -> Parameters:
        """Zeros of the same names, shapes and dtype."""
        return Parameters(self.shapes, self.flat.dtype)
