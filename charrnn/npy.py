"""The .npy format as NumPy writes it, version 1.0: a header, which is read strictly, then the numbers themselves.

NumPy's own reader passes a damaged header to Python's parser, and allocates as much memory as the header asks for.
"""

from __future__ import annotations

import math
import re
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x93NUMPY\x01\x00"
LONGEST = 1024  # bytes of a header; the headers of our arrays have 118
BLOCK = 1 << 20  # bytes that are read at a time
HEADER = re.compile(
    rb"\{'descr': '([<|>=][biufU]\d{1,9})', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,18}, ){0,3}\d{1,18},?)?\), \} *\n"
)


class Header(NamedTuple):
    """The header of a .npy file.

    Attributes:
        dtype, shape: the dtype and the shape of the array.
        order: "C", or "F" if the first axis changes fastest.
        size: bytes of the header, after which the numbers begin.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """Read the header at the beginning of a file; the file then stands at the first number.

    Raises:
        ValueError: the header is damaged, or has another version.
    """
    start = file.read(len(MAGIC) + 2)
    if len(start) < len(MAGIC) + 2 or not start.startswith(MAGIC):
        raise ValueError("no array in NumPy's format 1.0")
    length = int.from_bytes(start[-2:], "little")
    found = HEADER.fullmatch(file.read(length)) if length <= LONGEST else None
    if found is None:
        raise ValueError("the header of an array is damaged")
    try:
        dtype = np.dtype(found[1].decode())
    except TypeError:
        raise ValueError(f"no array has numbers of type {found[1].decode()}") from None
    shape = tuple(int(size) for size in (found[3] or b"").split(b",") if size.strip())
    return Header(dtype, shape, "F" if found[2] == b"True" else "C", len(start) + length)


def read_numbers(file: IO[bytes], header: Header) -> NDArray[Any]:
    """The array that follows a header, in its shape.

    Raises:
        ValueError: the file ends before the array is complete.
    """
    array = np.empty(math.prod(header.shape), header.dtype)
    memory: Any = array.view(np.uint8).data
    for start in range(0, len(memory), BLOCK):
        block = file.read(min(BLOCK, len(memory) - start))
        memory[start : start + len(block)] = block
        if len(block) < min(BLOCK, len(memory) - start):
            raise ValueError("an array is cut off")
    return array.reshape(header.shape, order="F" if header.order == "F" else "C")
