"""Keeps the first symbols whose weights reach a sum, for top-k, top-p and typical sampling. Nothing is sorted."""

from __future__ import annotations

import numpy as np

from charrnn.engine.kernel import subroutine
from charrnn.engine.reduce import sum_of_chosen

HALVINGS = 8  # after so many steps of a bisection, symbols that are already decided are left out


@subroutine()
def keep_first(p, weights, order, wanted, few, few_order):  # type: ignore[no-untyped-def]
    """Keep the probabilities of the first symbols in descending order, and set all others to 0.

    The smallest number of symbols that have the wanted sum is kept. If symbols are equal, those with lower numbers are
    first.

    Args:
        p: (n,) changed in place; n is a multiple of W.
        weights: (n,) what is summed up. It may be p.
        order: (n,) integers; the first symbol has the largest one.
        wanted: the sum.
        few, few_order: (n,) scratch, of the same types as weights and order.
    """
    if sum_of_chosen(weights, order, _range(order)[0]) <= wanted:
        return
    least, beyond = _last_kept(weights, order, wanted, few, few_order)
    missing = wanted - beyond
    for v in range(p.size):
        if order[v] == least:
            taken = weights[v] if missing > 0.0 else 0.0
            p[v] = p[v] if missing > 0.0 else 0.0
            missing -= taken
    for v in range(p.size):
        p[v] = p[v] if order[v] >= least else 0.0


@subroutine()
def _last_kept(weights, order, wanted, few, few_order):  # type: ignore[no-untyped-def]
    """The value in the order at which the wanted sum of weights is reached, and the sum of the weights beyond it.

    The value is found by bisection. After some steps, only the symbols that are still undecided are kept.
    """
    low, high = _range(order)
    count, beyond, above = order.size, 0.0, 0.0  # beyond: the sum from `high` on; above: that of the left-out weights
    halvings = 0
    while high - low > 1:
        middle = low + (high - low) // 2
        found = above + sum_of_chosen(weights[:count], order, middle)
        if found >= wanted:
            low = middle
        else:
            high, beyond = middle, found
        halvings += 1
        if halvings % HALVINGS == 0:
            count = _gather(weights, order, low, high, few, few_order, count)
            weights, order, above = few, few_order, beyond
    return low, beyond


@subroutine()
def _range(order):  # type: ignore[no-untyped-def]
    """The least number, and one more than the largest."""
    low, high = order[0], order[0]
    for v in range(order.size):
        low, high = min(low, order[v]), max(high, order[v])
    return np.int64(low), np.int64(high) + 1


@subroutine()
def _gather(weights, order, low, high, few, few_order, count):  # type: ignore[no-untyped-def]
    """Write to few and few_order those of the first `count` weights that have low <= order < high; returns how many."""
    found = 0
    for v in range(count):
        place = order[v]
        few[found], few_order[found] = weights[v], place
        found += (place >= low) & (place < high)
    return found
