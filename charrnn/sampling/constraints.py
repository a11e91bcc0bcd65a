"""Which symbols may follow which: constraints on sampled text as automata over symbols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int32]
SymbolSet = NDArray[np.bool_]  # (V,), whether each symbol belongs to a set
FORBIDDEN, ENDS = -1, -2
MOST_ENTRIES = 1 << 27  # of a table: half a gigabyte


@dataclass(frozen=True)
class Constraint:
    """An automaton of what may come.

    Args:
        follows: (S, V) int32. In state s, symbol v leads to state follows[s, v]. If the entry is FORBIDDEN, the symbol
            cannot come. If the entry is ENDS, the symbol ends the text and does not belong to it. (0, 0) forbids
            nothing.
        letters: (V,) of a constraint of words: its letters. A text then goes on with the word that stands before it. In
            all other constraints, a text begins in state 0.
    """

    follows: Table
    letters: SymbolSet | None = None

    @property
    def memory(self) -> int:
        """How many of the symbols before a text make a difference."""
        return 0 if self.letters is None else len(self.follows)  # no word is longer

    @cached_property
    def may_end(self) -> bool:
        """Whether it may end a text; asked before each piece, so a large table is searched only once."""
        return bool((self.follows == ENDS).any())

    def state_after(self, before: Sequence[int] | NDArray[np.integer]) -> int:
        """The state in which a text begins after the given symbols.

        It is 0 if they end between words, or with letters that begin none of the words.
        """
        if self.letters is None:
            return 0
        state = 0
        for symbol in before[-self.memory :]:
            if not self.letters[symbol]:
                state = 0
            elif state != FORBIDDEN:
                state = int(self.follows[state, symbol])
        return max(0, state)


FREE = Constraint(np.zeros((0, 0), np.int32))


def forbidding(banned: SymbolSet) -> Constraint:
    """The symbols of `banned` (V,) never come."""
    return Constraint(np.where(banned, FORBIDDEN, 0).astype(np.int32)[None, :])


def only_words(words: Iterable[Sequence[int]], banned: SymbolSet) -> Constraint:
    """Letters form only the given words, without those that have a banned symbol.

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
            table[node, ~(letters | banned)] = 0
    return Constraint(table, letters)
