"""Which symbols may follow which: constraints on sampled text as automata over symbols.

An automaton is a table (S, V) int32: in state s, symbol v leads to state table[s, v]. If the entry is FORBIDDEN, the
symbol cannot come. If the entry is ENDS, the symbol ends the text and does not belong to it. The text begins in state
0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int32]
FORBIDDEN, ENDS = -1, -2
MOST_ENTRIES = 1 << 27  # of a table: half a gigabyte


def forbidding(banned: NDArray[np.bool_]) -> Table:
    """The automaton in which the symbols of `banned` (V,) never come."""
    return np.where(banned, FORBIDDEN, 0).astype(np.int32)[None, :]


def only_words(words: Iterable[Sequence[int]], banned: NDArray[np.bool_]) -> Table:
    """The automaton in which letters form only the given words, without those that have a banned symbol.

    A letter is a symbol that occurs in some word. All other symbols separate words. The states are the nodes of a tree
    of the words' beginnings. The root is the place between words.

    Args:
        words: each as symbols. At least one has no banned symbol.
        banned: (V,) the symbols that never come.
    Raises:
        ValueError: the table would have more than MOST_ENTRIES entries.
    """
    nodes: list[dict[int, int]] = [{}]
    symbols = len(banned)
    whole, letters = {0}, np.zeros(symbols, np.bool_)
    for word in words:
        letters[list(word)] = True
        if banned[list(word)].any():
            continue
        node = 0
        for symbol in word:
            if symbol not in nodes[node]:
                nodes[node][symbol] = len(nodes)
                nodes.append({})
            node = nodes[node][symbol]
        whole.add(node)
        if len(nodes) * symbols > MOST_ENTRIES:
            raise ValueError(f"more than {MOST_ENTRIES // symbols:,} beginnings of words")
    table = np.full((len(nodes), symbols), FORBIDDEN, np.int32)
    for node, children in enumerate(nodes):
        table[node, list(children)] = list(children.values())
        if node in whole:
            table[node, ~letters] = 0
    return table


def state_in_word(table: Table, before: Sequence[int] | NDArray[np.integer]) -> int:
    """The state in which an automaton of `only_words` goes on after a text: inside the word that the text ends with.

    It is the root if the text ends between words, or with letters that begin none of the words.
    """
    state = 0
    for symbol in before[-len(table) :]:  # no word is longer
        separates = table[0, symbol] == 0
        state = 0 if separates else table[state, symbol] if state != FORBIDDEN else FORBIDDEN
    return max(0, int(state))


def together(tables: Sequence[Table], symbols: int) -> Table:
    """The automaton of what all of the tables allow. At most one of them may have more than one state."""
    several = [table for table in tables if len(table) > 1]
    if len(several) > 1:
        raise ValueError("more than one automaton with states")
    result = (several or [np.zeros((1, symbols), np.int32)])[0].copy()
    for table in tables:
        if len(table) == 1:
            result[:, table[0] == FORBIDDEN] = FORBIDDEN
    return result
