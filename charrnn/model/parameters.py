"""One flat vector with a named view for every array: parameters, gradients and moments all have this form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from charrnn.engine.optimisers import ALIGNMENT
from charrnn.engine.panels import Array, zeros

Shapes = dict[str, tuple[int, ...]]


class Parameters:
    """Named arrays, stored one after the other in a single vector. At the beginning they are zeros.

    Args:
        shapes: name and shape of each array, in the order of storage.
        dtype: float32 or float64.

    Attributes:
        flat: (n,) the vector. Each array begins at a multiple of ALIGNMENT; what lies between them is padding.
        count: how many numbers the arrays hold.
    """

    def __init__(self, shapes: Shapes, dtype: DTypeLike) -> None:
        self.shapes = shapes
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        self.count = sum(sizes.values())
        self._slices: dict[str, slice] = {}
        start = 0
        for name, size in sizes.items():
            stop = start + -(-size // ALIGNMENT) * ALIGNMENT
            self._slices[name] = slice(start, stop)
            start = stop
        self.flat: Array = zeros((start,), dtype)
        self._views = {name: self.flat[self._slices[name]][: sizes[name]].reshape(shapes[name]) for name in shapes}

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def items(self) -> list[tuple[str, Array]]:
        """Names and views, in the order of storage."""
        return list(self._views.items())

    def set(self, values: Mapping[str, Array]) -> None:
        """Copy the numbers of an array for each name."""
        for name, view in self._views.items():
            view[:] = values[name]

    def place(self, name: str) -> slice:
        """Where an array stands in `flat`, with the padding after it."""
        return self._slices[name]

    def like(self) -> Parameters:
        """Zeros of the same names, shapes and dtype."""
        return Parameters(self.shapes, self.flat.dtype)
