"""The symbol numbers of a text in a .npy file, read piece by piece as they are needed."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DataError
from charrnn.files import open_regular, reason
from charrnn.npy import read_header

BLOCK = 1 << 20  # symbols


class StoredSymbols:
    """An array (n,) in a .npy file; its slices are arrays in memory.

    A memory map would be as simple. But if the file became shorter while it is mapped, SIGBUS would end the process.

    Args:
        path: the file.
    Raises:
        OSError, ValueError: the file cannot be read, or is not a complete .npy file.

    Attributes:
        shape, dtype: as the file declares them.
        bound: numbers from here on are refused, because the engine uses them as row numbers; None for any number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bound: int | None = None
        self._whole: StoredSymbols | None = None  # closes the file when it is not needed any more
        opened: Any = open_regular(path)
        self._file = opened.detach()  # without a buffer, which would hide changes
        weakref.finalize(self, self._file.close)
        header = read_header(self._file)
        self.shape, self.dtype, self._offset = header.shape, header.dtype, header.size
        there = os.fstat(self._file.fileno()).st_size - self._offset
        if there != header.nbytes:
            raise ValueError(f"{path.name} holds {there} bytes, not {self.dtype} of shape {self.shape}")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> NDArray[np.unsignedinteger]:
        start, stop, step = part.indices(len(self))
        symbols = np.empty(max(0, stop - start), self.dtype)
        self._file.seek(self._offset + start * self.dtype.itemsize)
        rest = symbols.data.cast("B") if symbols.size else memoryview(b"")
        while rest:  # a system may read less than it is asked for, such as 2 GB at most
            try:
                read = self._file.readinto(rest)
            except OSError as error:
                raise DataError(f"expected to read {self.path}, got: {reason(error)}; try once more") from None
            if not read:
                raise self._changed("it cut short while it was read")
            rest = rest[read:]
        if self.bound is not None and symbols.size and symbols.max() >= self.bound:
            raise self._changed(f"symbol {symbols.max()} of a vocabulary of {self.bound}")
        return symbols[::step]

    def first(self, count: int) -> StoredSymbols:
        """The first `count` symbols, or all if there are fewer; they stay in the file."""
        part = copy(self)
        part.shape, part._whole = (min(count, len(self)),), self
        return part

    def _changed(self, found: str) -> DataError:
        return DataError(f"expected {self.path} to stay as it is, got {found}; try charrnn prepare with --force")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype)


Symbols = NDArray[np.unsignedinteger] | StoredSymbols  # a text: in memory, or in a file


def first(symbols: Symbols, count: int) -> Symbols:
    """The first `count` symbols of a text, or all if there are fewer; those in a file stay there."""
    return symbols.first(count) if isinstance(symbols, StoredSymbols) else symbols[:count]


def blocks(symbols: Symbols) -> Iterator[NDArray[np.unsignedinteger]]:
    """A text in pieces that fit into memory."""
    for start in range(0, len(symbols), BLOCK):
        yield symbols[start : start + BLOCK]
