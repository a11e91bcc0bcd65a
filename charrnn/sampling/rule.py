"""How the next symbol is drawn from the logits."""

from __future__ import annotations

from typing import NamedTuple

from numba import njit

from charrnn.engine.reduce import row_maximum
from charrnn.engine.softmax import exponentiate_row
from charrnn.engine.tile import W


class Rule(NamedTuple):
    """What a user may say about the draw.

    Args:
        temperature: divides the logits; 0 takes the likeliest symbol.
    """

    temperature: float = 1.0


@njit
def draw(logits, r, symbols, rule, u):  # type: ignore[no-untyped-def]
    """A symbol from softmax(logits[:, r] / temperature) by inversion; the row is used up.

    Args:
        logits: [panels, rows, W].
        symbols: V.
        rule: with temperature 0, the likeliest symbol is taken, the first of them in a tie.
        u: a uniform number in [0, 1).
    """
    if rule.temperature == 0.0:
        return _likeliest(logits, r, symbols)
    peak = row_maximum(logits, r)
    for panel in range(logits.shape[0]):
        for c in range(W):
            logits[panel, r, c] = (logits[panel, r, c] - peak) / rule.temperature
    wanted = u * exponentiate_row(logits, r, 0.0)
    total = 0.0
    last = 0
    for v in range(symbols):
        p = logits[v // W, r, v % W]
        if p > 0.0:
            total += p
            last = v
            if total > wanted:
                return v
    return last


@njit
def _likeliest(logits, r, symbols):  # type: ignore[no-untyped-def]
    likeliest = 0
    for v in range(symbols):
        if logits[v // W, r, v % W] > logits[likeliest // W, r, likeliest % W]:
            likeliest = v
    return likeliest
