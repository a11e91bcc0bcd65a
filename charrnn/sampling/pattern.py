"""A regular expression as an automaton over the model's symbols, made with the library greenery.

The expression is matched with the whole text. Suppose that the text so far matches, and that the model draws a
character with which no match is possible any more. Then the text ends before that character. So the model itself
chooses where the text ends.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.sampling.constraints import ENDS, FORBIDDEN, MOST_ENTRIES, Constraint, SymbolSet, Table

SUBSET = "characters, [classes], ., \\d, \\s, \\w, groups, |, *, +, ? and {m,n}"


def matching(pattern: str, characters: Sequence[str], banned: SymbolSet) -> Constraint:
    """Whole texts match a regular expression.

    Args:
        pattern: in Python's notation, see SUBSET. `.` is any character, including a line break. \\d, \\s and \\w stand
            for ASCII characters only.
        characters: the character of each of the V symbols.
        banned: (V,) the symbols that never come.
    Raises:
        ConfigError: the pattern is not such an expression, nothing can match it, or greenery is not installed.
    """
    states, start, finals = _states_of(pattern, characters)
    states[:, banned] = FORBIDDEN
    whole = np.zeros(len(states), np.bool_)
    whole[finals] = True
    live = _live(states, whole)
    if not live[start]:
        raise ConfigError(
            f"expected a --pattern that some text can match, got '{pattern}', which needs characters that the model "
            "does not know or that are banned; try another one"
        )
    table = np.where((states >= 0) & live[states], states, FORBIDDEN).astype(np.int32)
    ends = whole[:, None] & (table == FORBIDDEN) & ~banned
    table[ends] = ENDS
    order = np.argsort(np.arange(len(table)) != start, kind="stable")  # the first state is the start
    place = np.argsort(order)
    return Constraint(np.where(table[order] >= 0, place[table[order]], table[order]).astype(np.int32))


def _states_of(pattern: str, characters: Sequence[str]) -> tuple[Table, int, list[int]]:
    """The table of next states (negative where there is none), the start, and the states in which the text matches."""
    try:
        from greenery import parse
        from greenery.parse import NoMatch
    except ImportError:
        raise ConfigError(
            "expected the library greenery for --pattern, got a Python without it; try pip install greenery"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(pattern)
        if (size := _size(pattern)) > MOST_SIZE:
            raise _LimitError(f"{size:,} characters with its repetitions written out, of at most {MOST_SIZE}")
        automaton = parse(_translated(pattern)).to_fsm()
    except (re.error, NoMatch, ValueError, OverflowError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, (re.error, _LimitError)) else ""
        shown = pattern if len(pattern) <= MOST_SHOWN else f"{pattern[:MOST_SHOWN]}..."
        raise ConfigError(
            f"expected a --pattern of {SUBSET}, got '{shown}'{reason}; try a simpler one, with a backslash before a "
            "sign that is meant as a character"
        ) from None
    number = {state: k for k, state in enumerate(automaton.states)}
    if len(number) * len(characters) > MOST_ENTRIES:
        raise ConfigError(f"expected a smaller --pattern, got one of {len(number):,} states; try shorter repetitions")
    table = np.full((len(number), len(characters)), FORBIDDEN, np.int32)
    classes = list(automaton.alphabet)
    columns = [next(k for k, class_ in enumerate(classes) if class_.accepts(c)) for c in characters]
    for state, following in automaton.map.items():
        targets = np.array([number[following[c]] if c in following else FORBIDDEN for c in classes])
        table[number[state]] = targets[columns]
    return table, number[automaton.initial], [number[state] for state in automaton.finals]


class _LimitError(ValueError):
    """A pattern exceeds a limit of this module."""


MOST_SIZE = 250  # characters of a pattern with its repetitions written out; time grows with the square
MOST_SHOWN = 60  # of a pattern in a message
OUTSIDE, INSIDE = "()*+?[]{}|.\\", "[]^-\\"  # signs that greenery takes as characters only after a backslash
TOKEN = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)


def _translated(pattern: str) -> str:
    """A valid Python expression in greenery's notation, where exactly the characters that need it are escaped."""
    tokens, result, inside, first = TOKEN.findall(pattern), "", False, 0
    for place, token in enumerate(tokens):
        if token in ("^", "$") and not inside:
            raise _LimitError(f"{token} is not needed: the whole text matches")
        if token == "[" and not inside:
            inside, first = True, place + 1 + (tokens[place + 1] == "^")
            result += token
        elif token == "]" and inside and place > first:
            inside = False
            result += token
        elif inside and place < first:
            result += token  # the ^ of [^...]
        else:
            between = inside and token == "-" and place > first and tokens[place + 1] != "]"
            is_sign = len(token) == 1 and (between or (not inside and token in OUTSIDE))
            result += token if is_sign else _character(token, INSIDE if inside else OUTSIDE)
    return result


def _size(pattern: str) -> int:
    """How many characters and classes a valid expression has with its repetitions written out."""
    totals, last = [0], 0  # the sizes of the open groups, and the size of the last item
    for token in re.findall(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|.", pattern, re.DOTALL):
        if token == "(":
            totals.append(0)
        elif token == ")":
            last = totals.pop()
            totals[-1] += last
        elif token[0] == "{" and len(token) > 1:
            most = max([1, *(int(number) for number in re.findall(r"\d+", token))])
            totals[-1] += last * (most - 1)
            last *= most
        elif token not in ("*", "+", "?", "|"):
            last = 1
            totals[-1] += last
    return totals[0]


def _character(token: str, special: str) -> str:
    """One character, or a letter with its backslash."""
    if len(token) == 2 and token[1].isalnum():
        return token  # a class such as \\d, or something that greenery rejects
    bare = chr(int(token[2:], 16)) if len(token) > 2 else token[-1]
    return f"\\{bare}" if bare in special else bare


def _live(states: Table, whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The states from which one of `whole` can be reached."""
    live = whole.copy()
    while True:
        further = live | ((states >= 0) & live[states]).any(axis=1)
        if (further == live).all():
            return live
        live = further
