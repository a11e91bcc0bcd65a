"""bfloat16 in NumPy: a number is the upper half of a float32 number."""

import numpy as np


def rounded(x):
    """The bits of the nearest bfloat16 numbers, ties to even; NaN stays NaN.

    Args:
        x: any shape, float32.
    Returns:
        The same shape, uint16.
    """
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    upper = bits >> 16
    nearest = (bits.astype(np.uint64) + 0x7FFF + (upper & 1)) >> 16
    return np.where(np.isnan(x), upper | 0x40, nearest).astype(np.uint16)


def widened(bits):
    """The float32 numbers that bfloat16 numbers are: the same shape, uint16 in, float32 out."""
    return (np.asarray(bits, np.uint32) << 16).view(np.float32)
