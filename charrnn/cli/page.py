"""A page that shows how surprising each character of a text is: one file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.cli.scored import Score

PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (9, 10)} | {0x7F: 0x2421}
PICTURES |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)  # Annex #9
MOST_BITS = 8.0  # characters of this many bits or more have the deepest colour
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Surprisal of each character</title>
<style>
body { font: 18px/2.2 ui-monospace, monospace; max-width: 60em; margin: 2em auto; padding: 0 1em;
       color: #111; background: #fff; }
p.about { font: 16px/1.5 system-ui, sans-serif; }
div { display: flex; gap: 1em; border-top: 1px solid #ddd; }
div > b { flex: 0 0 5em; text-align: right; font-weight: normal; color: #555; }
div > span { overflow-wrap: anywhere; white-space: pre-wrap; }
ruby { ruby-position: under; }
rt { font-size: 9px; color: #555; }
</style>
</head>
<body>
<h1>Surprisal of each character</h1>
<p class="about">At the left of each line: bits for each character. Below each character: how many bits it needs,
rounded; nothing for less than half a bit. The redder, the more surprising. Hold the pointer over a character for
the exact figure.</p>
"""


def page(scores: Iterable[Score]) -> Iterator[str]:
    """The page, piece by piece."""
    yield HEAD
    for score in scores:
        figure = "-" if score.bpc is None else f"{score.bpc:.3f}"
        yield f"<div><b>{figure}</b><span>"
        for character, nats in score.pieces():
            yield _visible(character) if nats is None else _character(character, nats / math.log(2))
        yield "</span></div>\n"
    yield "</body>\n</html>\n"


def _character(character: str, bits: float) -> str:
    depth = min(1.0, bits / MOST_BITS)
    whole = f"<rt>{bits:.0f}</rt>" if bits >= 0.5 else "<rt></rt>"
    style = f' style="background:rgba(220,40,40,{0.7 * depth:.2f})"' if depth >= 0.05 else ""
    return f'<ruby title="{bits:.3f} bits"{style}>{_visible(character)}{whole}</ruby>'


def _visible(text: str) -> str:
    """The text escaped for HTML; visible characters replace control characters, so that these have no effect."""
    return escape(text.translate(PICTURES))
