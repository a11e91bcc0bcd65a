"""A conversation: prompts and the model's continuations form one text. The network's state is kept between turns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from charrnn.model.network import Network
from charrnn.model.reader import Reader
from charrnn.sampling.sampler import Beginning, Sampler
from charrnn.sampling.texts import Ending, Text, Wanted, draw_texts

Symbols = NDArray[np.integer]


class Conversation:
    """One text, to which a user and a model add in turn.

    Args:
        network: packed.
        sampler: it has one stream. Its rule and its seed may change between turns.
        beginning: (1,) the symbol before the text.
    """

    def __init__(self, network: Network, sampler: Sampler, beginning: Symbols) -> None:
        self.sampler, self.beginning = sampler, beginning
        self._reader = Reader(network, 1)
        (self._zeros,) = self._reader.states_after([beginning[:0]])
        self._turns = 0
        self.reset()

    def reset(self) -> None:
        """Begin a new text."""
        self._state, self._recent = self._zeros, self.beginning  # the state before the last of the symbols

    def set_seed(self, seed: int) -> None:
        """Draw with the random numbers of a seed, from the first ones on."""
        self.sampler.set_seed(seed)
        self._turns = 0

    def turn(self, prompt: Symbols, ending: Ending, show: Callable[[Symbols], None]) -> Text:
        """Add a prompt, which may be empty, and draw what follows it.

        Args:
            prompt: (n,) symbols.
            ending: where the drawn text ends.
            show: called with each piece of the drawn text. When it raises an error, the text ends with that piece.
        """
        self._read(prompt)
        wanted = Wanted(self._turns, prompt, Beginning(self._recent.astype(np.int32), self._state))
        self._turns += 1
        drawn: list[Symbols] = []

        def take(text: Text) -> None:
            drawn.append(text.hand_over())
            show(drawn[-1])

        try:
            (text,) = draw_texts(self.sampler, [wanted], ending, take)
        finally:
            self._read(*drawn)
        return text

    def _read(self, *pieces: Symbols) -> None:
        """Read all symbols but the last one. The next draw begins with the last one."""
        unread = np.concatenate([self._recent[-1:], *pieces])
        self._state = self._reader.state_after(self._state, unread[:-1])
        self._recent = np.concatenate([self._recent, *pieces])[-self.sampler.memory :]
