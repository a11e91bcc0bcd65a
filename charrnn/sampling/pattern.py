"""A regular expression as an automaton over the model's symbols, by the library greenery.

The expression is matched with the whole text. When the text so far matches, and the model draws a character with which
it would match no longer, the text ends before that character. So the model itself chooses where the text ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.sampling.constraints import ENDS, FORBIDDEN, MOST_ENTRIES, Table

SUBSET = "characters, [classes], ., \\d, \\s, \\w, groups, |, *, +, ? and {m,n}"


def matching(pattern: str, characters: Sequence[str], allowed: NDArray[np.bool_]) -> Table:
    """The automaton of all texts that match a regular expression.

    Args:
        pattern: in Python's notation, see SUBSET; `.` is any character, a line break too.
        characters: for each of the V symbols the character that it is.
        allowed: (V,) the symbols that may come at all.
    Raises:
        ConfigError: it is no such expression, nothing can match it, or greenery is not installed.
    """
    states, start, finals = _states_of(pattern, characters)
    if states.size > MOST_ENTRIES:
        raise ConfigError(f"expected a smaller --pattern, got one of {len(states):,} states; try shorter repetitions")
    states[:, ~allowed] = FORBIDDEN
    whole = np.zeros(len(states), np.bool_)
    whole[finals] = True
    live = _live(states, whole)
    if not live[start]:
        raise ConfigError(
            f"expected a --pattern that some text can match, got {pattern!r}, which needs characters that the model "
            "does not know or that are banned; try another one"
        )
    table = np.where((states >= 0) & live[states], states, FORBIDDEN).astype(np.int32)
    ends = whole[:, None] & (table == FORBIDDEN) & allowed
    table[ends] = ENDS
    order = np.argsort(np.arange(len(table)) != start, kind="stable")  # the first state is the start
    place = np.argsort(order)
    return np.where(table[order] >= 0, place[table[order]], table[order]).astype(np.int32)


def _states_of(pattern: str, characters: Sequence[str]) -> tuple[Table, int, list[int]]:
    """The table of next states, negative where there is none; the start; the states in which the text matches."""
    try:
        from greenery import parse
        from greenery.parse import NoMatch
    except ImportError:
        raise ConfigError(
            "expected the library greenery for --pattern, got a Python without it; try pip install 'charrnn[pattern]'"
        ) from None
    try:
        re.compile(pattern)
        _refuse_anchors(pattern)
        automaton = parse(pattern).to_fsm()
    except (re.error, NoMatch, ValueError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, (re.error, _AnchorError)) else ""
        raise ConfigError(
            f"expected a --pattern of {SUBSET}, got {pattern!r}{reason}; try one without what is beyond these"
        ) from None
    number = {state: k for k, state in enumerate(automaton.states)}
    table = np.full((len(number), len(characters)), FORBIDDEN, np.int32)
    classes = list(automaton.alphabet)
    columns = [next(k for k, class_ in enumerate(classes) if class_.accepts(c)) for c in characters]
    for state, following in automaton.map.items():
        targets = np.array([number[following[c]] if c in following else FORBIDDEN for c in classes])
        table[number[state]] = targets[columns]
    return table, number[automaton.initial], [number[state] for state in automaton.finals]


class _AnchorError(ValueError):
    """An anchor stands in a pattern."""


def _refuse_anchors(pattern: str) -> None:
    """Raise _AnchorError if ^ or $ stands outside of a class: greenery would take it for a character."""
    bare = re.sub(r"\\.|\[\]?\^?\]?(?:\\.|[^\]\\])*\]", "", pattern, flags=re.S)
    if found := re.search(r"[\^$]", bare):
        raise _AnchorError(f"{found[0]} is not needed: the whole text matches")


def _live(states: Table, whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The states from which one of `whole` can be reached."""
    live = whole.copy()
    while True:
        further = live | ((states >= 0) & live[states]).any(axis=1)
        if (further == live).all():
            return live
        live = further
