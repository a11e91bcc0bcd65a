"""Input tables: products of characters and weights, looked up instead of computed.

A character selects one row of a table [panels, V, W]; the gradient of that row is the sum of the
gradients of all the places where the character stood.
"""

from __future__ import annotations

from numba import prange

from charrnn.engine.kernel import kernel
from charrnn.engine.rows import plus_multiple
from charrnn.engine.simd import W


@kernel(parallel=True)
def lookup(table, bias, symbols, weights, rows):  # type: ignore[no-untyped-def]
    """rows[p, r] = bias[p] + weights[r] * table[p, symbols[r]].

    Args:
        table: [panels, V, W].
        bias: (panels * W,).
        symbols: (R,) int32, each below V.
        weights: (>= R,), the factors of the input from dropout; without dropout ones.
        rows: [panels, >= R, W], written.
    """
    for panel in prange(table.shape[0]):
        for r in range(symbols.shape[0]):
            entry, row = (panel * table.shape[1] + symbols[r]) * W, (panel * rows.shape[1] + r) * W
            plus_multiple((bias, table, rows), (panel * W, entry, row), (weights[r],), W)


@kernel(parallel=True)
def add_looked_up(table, symbols, weights, rows):  # type: ignore[no-untyped-def]
    """rows[p, r] += weights[r] * table[p, symbols[r]]; arguments as for `lookup`."""
    for panel in prange(table.shape[0]):
        for r in range(symbols.shape[0]):
            entry, row = (panel * table.shape[1] + symbols[r]) * W, (panel * rows.shape[1] + r) * W
            plus_multiple((rows, table, rows), (row, entry, row), (weights[r],), W)


@kernel(parallel=True)
def add_to_table(d, symbols, weights, d_table):  # type: ignore[no-untyped-def]
    """d_table[p, v] = the sum of weights[r] * d[p, r] over all r where symbols[r] == v, in the order of r.

    Args:
        d: [panels, >= R, W].
        symbols: (R,) int32.
        weights: (>= R,), as for `lookup`.
        d_table: [panels, V, W], written.
    """
    for panel in prange(d.shape[0]):
        d_table[panel] = 0
        for r in range(symbols.shape[0]):
            entry, row = (panel * d_table.shape[1] + symbols[r]) * W, (panel * d.shape[1] + r) * W
            plus_multiple((d_table, d, d_table), (entry, row, entry), (weights[r],), W)
