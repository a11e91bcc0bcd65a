"""Sampling rules: what becomes of the logits before a symbol is drawn from them, each rule one small function.

They apply in the order of Hugging Face's generation: repetition penalty, forbidden symbols, temperature, top-k, top-p,
min-p, typical. Each looks at what those before it have left.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from charrnn.engine.softmax import shifted_exp
from charrnn.sampling.constraints import FORBIDDEN

CUTS = 4  # rules that take symbols away, in their order
TOP_K, TOP_P, MIN_P, TYPICAL = range(CUTS)


class Rule(NamedTuple):
    """What a user may say about the draw. The defaults draw from the softmax of the logits as they are.

    Args:
        temperature: divides the logits; 0 takes the likeliest symbol.
        top_k: only this many of the likeliest symbols stay; 0 for all.
        top_p: only the likeliest symbols stay, as few as have this probability together (Holtzman et al. 2020).
        min_p: symbols stay that are at least this share as probable as the likeliest (Nguyen et al. 2024).
        typical: only the symbols stay whose surprisal is closest to the entropy, as few as have this probability
            together (Meister et al. 2023).
        repetition_penalty: divides the logits of recent symbols that are above 0, and multiplies the others (Keskar et
            al. 2019).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical: float = 1.0
    repetition_penalty: float = 1.0


@njit(fastmath={"reassoc", "contract"})
def _maximum(z):  # type: ignore[no-untyped-def]
    largest = z[0]
    for v in range(z.size):
        largest = max(largest, z[v])
    return largest


@njit(fastmath={"reassoc", "contract"})
def _sum(p):  # type: ignore[no-untyped-def]
    total = p.dtype.type(0.0)
    for v in range(p.size):
        total += p[v]
    return total


@njit
def draw(p, bits, spare, spare_bits, ones, rule, u):  # type: ignore[no-untyped-def]
    """A symbol by the rule; -1 if all logits are -inf.

    The bits of floating-point numbers that are not negative, read as whole numbers, have the order of the numbers.

    Args:
        p: (n,) the logits, n a multiple of W, of which those beyond the symbols are -inf; used up.
        bits: (n,) the same memory as whole numbers of the same size.
        spare, spare_bits: (n,) scratch, and the same memory as whole numbers.
        ones: (n,) scratch.
        rule: with temperature 0, the likeliest symbol is taken, the first of them in a tie.
        u: a uniform number in [0, 1); the symbol is the inverse of the cumulative distribution there.
    """
    peak = _maximum(p)
    if peak == -np.inf:
        return -1
    if rule.temperature == 0.0:
        return _first(p, peak)
    for v in range(p.size):
        p[v] = (p[v] - peak) / rule.temperature
    if rule.typical < 1.0:
        spare[:] = p
    shifted_exp((p, p), 0, (0.0,), p.size)
    for cut in range(CUTS):
        _cut(cut, p, bits, spare, spare_bits, ones, rule)
    return _inverse(p, u * _sum(p))


@njit
def _cut(cut, p, bits, spare, spare_bits, ones, rule):  # type: ignore[no-untyped-def]
    """Set to 0 what one of the rules forbids, if it applies."""
    weights, order, wanted = p, bits, 0.0
    if cut == TOP_K and rule.top_k > 0:
        for v in range(p.size):
            ones[v] = 1.0 if p[v] > 0.0 else 0.0
        weights, wanted = ones, float(rule.top_k)
    elif cut == TOP_P and rule.top_p < 1.0:
        wanted = rule.top_p * _sum(p)
    elif cut == MIN_P and rule.min_p > 0.0:
        _keep_above(p, rule.min_p)
    elif cut == TYPICAL and rule.typical < 1.0:
        total = _sum(p)
        _order_by_typicality(p, spare, spare_bits, total)
        order, wanted = spare_bits, rule.typical * total
    if wanted > 0.0:
        _keep_first(p, weights, order, wanted)


@njit
def _first(z, value):  # type: ignore[no-untyped-def]
    """The first place of a value."""
    for v in range(z.size):
        if z[v] == value:
            return v
    return 0


@njit
def _inverse(p, wanted):  # type: ignore[no-untyped-def]
    """The symbol at which the sum over p exceeds `wanted`; the last possible one if rounding forbids that."""
    total = 0.0
    last = 0
    for v in range(p.size):
        if p[v] > 0.0:
            total += p[v]
            last = v
            if total > wanted:
                return v
    return last


@njit
def _keep_above(p, share):  # type: ignore[no-untyped-def]
    """Set to 0 what is below this share of the largest number."""
    least = share * _maximum(p)
    for v in range(p.size):
        p[v] = p[v] if p[v] >= least else 0.0


@njit
def _order_by_typicality(p, spare, spare_bits, total):  # type: ignore[no-untyped-def]
    """spare_bits = the larger, the closer a symbol's surprisal is to the entropy; spare holds ln p + ln total."""
    mean = 0.0
    for v in range(p.size):
        if p[v] > 0.0:
            mean += p[v] * spare[v]
    mean /= total
    for v in range(p.size):
        spare[v] = abs(spare[v] - mean) if p[v] > 0.0 else np.inf
        spare_bits[v] = LARGEST - spare_bits[v]


LARGEST = np.iinfo(
    np.int32
).max  # not below the bits of any float32; those of float64 become negative and keep their order


@njit(fastmath={"reassoc", "contract"})
def _amount(weights, order, least):  # type: ignore[no-untyped-def]
    """The sum of the weights that are at `least` or above in the order."""
    total = 0.0
    for v in range(weights.size):
        total += float(weights[v]) if order[v] >= least else 0.0
    return total


@njit
def _keep_first(p, weights, order, wanted):  # type: ignore[no-untyped-def]
    """Set to 0 all of p but the first symbols in descending order, as few as have the wanted sum of weights.

    The order's value of the last symbol that stays is found by bisection, so nothing is sorted. Of equal symbols those
    with lower numbers are first.
    """
    low, high = np.int64(order.min()), np.int64(order.max()) + 1
    found, beyond = _amount(weights, order, low), 0.0  # from `low` on, and from `high` on
    if found <= wanted:
        return
    while high - low > 1:
        middle = low + (high - low) // 2
        found = _amount(weights, order, middle)
        if found >= wanted:
            low = middle
        else:
            high, beyond = middle, found
    missing = wanted - beyond
    for v in range(p.size):
        if order[v] < low or (order[v] == low and missing <= 0.0):
            p[v] = 0.0
        elif order[v] == low:
            missing -= weights[v]


@njit
def penalise(z, counts, penalty):  # type: ignore[no-untyped-def]
    """Make the symbols less likely that have been drawn recently: counts (V,), how often each was."""
    for v in range(counts.size):
        if counts[v] > 0:
            z[v] = z[v] / penalty if z[v] > 0.0 else z[v] * penalty


@njit
def forbid(z, follows):  # type: ignore[no-untyped-def]
    """Set to -inf what may not follow: follows (V,), FORBIDDEN for these symbols."""
    for v in range(follows.size):
        if follows[v] == FORBIDDEN:
            z[v] = -np.inf


@njit
def log_chance(plain, spare, symbol):  # type: ignore[no-untyped-def]
    """ln of the softmax of the plain logits at a symbol, in nats; `spare` is scratch of the same size."""
    peak = _maximum(plain)
    shifted_exp((plain, spare), 0, (peak,), plain.size)
    return float(plain[symbol]) - peak - math.log(_sum(spare))
