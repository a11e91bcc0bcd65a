"""Sampling rules: they change the logits before a symbol is drawn. Each rule is one small function.

The rules apply in the order of Hugging Face's generation: repetition penalty, forbidden symbols, temperature, top-k,
top-p, min-p, typical. Each rule sees only the symbols that the rules before it have left.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from charrnn.engine.kernel import subroutine
from charrnn.engine.reduce import inner_product, total
from charrnn.engine.simd import W
from charrnn.engine.softmax import shifted_exp
from charrnn.sampling.constraints import ENDS, FORBIDDEN
from charrnn.sampling.selection import keep_first

PARTS = 5  # how many parts the memory of a draw has
PROBS, SPARE, ONES, FEW, FEW_BITS = range(PARTS)
CUTS = 4  # how many rules take symbols away; the next line names them in their order
TOP_K, TOP_P, MIN_P, TYPICAL = range(CUTS)
BLOCK = 8 * W  # symbols that are skipped at once


class Rule(NamedTuple):
    """The user's settings of the draw. The defaults draw from the softmax of the unchanged logits.

    Args:
        temperature: divides the logits; 0 takes the likeliest symbol.
        top_k: only this many of the likeliest symbols stay; 0 for all.
        top_p: only the likeliest symbols stay: the smallest number of them that together have this probability
            (Holtzman et al. 2020).
        min_p: a symbol stays if its probability is at least this share of the largest probability (Nguyen et al.
            2024).
        typical: only the symbols stay whose surprisal is closest to the entropy: the smallest number of them that
            together have this probability (Meister et al. 2023).
        repetition_penalty: changes the logits of recent symbols. It divides a logit above 0, and it multiplies any
            other logit (Keskar et al. 2019).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical: float = 1.0
    repetition_penalty: float = 1.0


@subroutine(fastmath={"reassoc", "contract"})
def _maximum(z):  # type: ignore[no-untyped-def]
    largest = z[0]
    for v in range(z.size):
        largest = max(largest, z[v])
    return largest


@subroutine()
def draw(numbers, bits, rule, u):  # type: ignore[no-untyped-def]
    """A symbol that is drawn by the rule; -1 if all logits are -inf.

    The bits of a floating-point number that is not negative can be read as an integer. These integers have the same
    order as the numbers.

    Args:
        numbers: (PARTS, n), where n is a multiple of W. numbers[PROBS] holds the logits; the logits beyond the
            symbols are -inf. Everything is overwritten.
        bits: (PARTS, n), the same memory as integers of the same size.
        rule: with temperature 0 the likeliest symbol is taken; in a tie it is the first one.
        u: a uniform number in [0, 1); the symbol is the inverse of the cumulative distribution at u.
    """
    p = numbers[PROBS]
    peak = _maximum(p)
    if peak == -np.inf:
        return -1
    if rule.temperature == 0.0:
        return _first(p, peak)
    for v in range(p.size):
        p[v] = (p[v] - peak) / rule.temperature
    if rule.typical < 1.0:
        copy(p, numbers[SPARE])
    shifted_exp((p, p), 0, (0.0,), p.size)
    for cut in range(CUTS):
        _cut(cut, numbers, bits, rule)
    return _inverse(p, u * total(p))


@subroutine()
def copy(numbers, to):  # type: ignore[no-untyped-def]
    """Copy all numbers."""
    for v in range(numbers.size):
        to[v] = numbers[v]


@subroutine()
def _cut(cut, numbers, bits, rule):  # type: ignore[no-untyped-def]
    """Set the probabilities to 0 that one of the rules forbids, if this rule applies."""
    p, weights, order, wanted = numbers[PROBS], PROBS, PROBS, 0.0
    if cut == TOP_K and rule.top_k > 0:
        for v in range(p.size):
            numbers[ONES, v] = 1.0 if p[v] > 0.0 else 0.0
        weights, wanted = ONES, float(rule.top_k)
    elif cut == TOP_P and rule.top_p < 1.0:
        wanted = rule.top_p * total(p)
    elif cut == MIN_P and rule.min_p > 0.0:
        _keep_above(p, rule.min_p)
    elif cut == TYPICAL and rule.typical < 1.0:
        whole = total(p)
        _order_by_typicality(p, numbers[SPARE], bits[SPARE], whole)
        order, wanted = SPARE, rule.typical * whole
    if wanted > 0.0:
        keep_first(p, numbers[weights], bits[order], wanted, numbers[FEW], bits[FEW_BITS])


@subroutine()
def _first(z, value):  # type: ignore[no-untyped-def]
    """The first place of a value."""
    for v in range(z.size):
        if z[v] == value:
            return v
    return 0


@subroutine()
def _inverse(p, wanted):  # type: ignore[no-untyped-def]
    """The symbol at which the sum over p exceeds `wanted`; the last possible symbol if rounding prevents that."""
    before, first = 0.0, 0
    while first + BLOCK < p.size:
        of_block = float(total(p[first : first + BLOCK]))
        if before + of_block > wanted:
            break
        before, first = before + of_block, first + BLOCK
    for v in range(first, p.size):
        before += p[v]
        if before > wanted:
            return v
    return _last(p)


@subroutine()
def _last(p):  # type: ignore[no-untyped-def]
    """The last place of a number above 0."""
    for v in range(p.size - 1, -1, -1):
        if p[v] > 0.0:
            return v
    return 0


@subroutine()
def _keep_above(p, share):  # type: ignore[no-untyped-def]
    """Set to 0 what is below this share of the largest number."""
    least = share * _maximum(p)
    for v in range(p.size):
        p[v] = p[v] if p[v] >= least else 0.0


# At least the bits of any float32. Those of a float64 are larger; then the difference is negative, and keeps the order.
LARGEST = np.iinfo(np.int32).max


@subroutine()
def _order_by_typicality(p, spare, spare_bits, whole):  # type: ignore[no-untyped-def]
    """Write spare_bits: it is larger for a symbol whose surprisal is closer to the entropy.

    At the call, spare holds ln p. The numbers p are not normalised; their sum is `whole`.
    """
    for v in range(p.size):
        spare[v] = spare[v] if p[v] > 0.0 else 0.0
    mean = inner_product(p, spare) / whole
    for v in range(p.size):
        spare[v] = abs(spare[v] - mean) if p[v] > 0.0 else np.inf
    for v in range(p.size):
        spare_bits[v] = LARGEST - spare_bits[v]


@subroutine()
def penalise(z, counts, penalty):  # type: ignore[no-untyped-def]
    """Make recent symbols less likely. counts (V,) says how often each symbol has been drawn recently."""
    for v in range(counts.size):
        if counts[v] > 0:
            z[v] = z[v] / penalty if z[v] > 0.0 else z[v] * penalty


@subroutine()
def forbid(z, follows):  # type: ignore[no-untyped-def]
    """Set the logits of forbidden symbols to -inf. follows (V,) is FORBIDDEN for these symbols."""
    for v in range(follows.size):
        if follows[v] == FORBIDDEN:
            z[v] = -np.inf


@subroutine()
def _exponentials(plain, spare):  # type: ignore[no-untyped-def]
    """spare = exp(plain - the largest of plain); returns this largest one."""
    peak = _maximum(plain)
    shifted_exp((plain, spare), 0, (peak,), plain.size)
    return peak


@subroutine()
def log_prob(plain, spare, symbol):  # type: ignore[no-untyped-def]
    """ln of the softmax of the plain logits at a symbol, in nats; `spare` is scratch of the same size."""
    peak = _exponentials(plain, spare)
    return float(plain[symbol]) - peak - math.log(total(spare))


@subroutine()
def log_prob_of_end(plain, spare, follows):  # type: ignore[no-untyped-def]
    """The same for all symbols that end the text together. follows (V,) is ENDS for these symbols."""
    _exponentials(plain, spare)
    ending = 0.0
    for v in range(follows.size):
        if follows[v] == ENDS:
            ending += float(spare[v])
    return math.log(ending) - math.log(total(spare))
