"""Texts that a network reads side by side, each from its beginning.

The results are how well each character was predicted, and the state at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from charrnn.model.network import Network, State
from charrnn.model.unrolled import Unrolled

STREAMS, STEPS = 64, 64  # texts read side by side, and characters of each in one pass
SINGLE_STEPS = 256  # characters in one pass of a text that is read alone
SORTED = 64  # batches of texts that are sorted by length together

Text = NDArray[np.integer]


@dataclass(frozen=True)
class Read:
    """A text that was read.

    Args:
        number: its place among the texts.
        nats: (n - 1,) -ln of the probability of each of its symbols but the first.
    """

    number: int
    nats: NDArray[np.floating]


class Reader:
    """Reads texts with a network.

    Args:
        network: packed.
        streams: B, texts side by side.
        steps: characters of each in one pass; 0 for the usual number.
        look: called before each pass; may raise an error to end the reading.
    """

    def __init__(
        self, network: Network, streams: int = STREAMS, steps: int = 0, look: Callable[[], None] = lambda: None
    ) -> None:
        self.network, self.look = network, look
        self.unrolled = Unrolled(network, streams, steps or (STEPS if streams > 1 else SINGLE_STEPS))

    def losses(self, symbols: NDArray[np.int32]) -> NDArray[np.floating]:
        """Read the next symbols of each stream, (t + 1, B). The last ones are only predicted; the next call reads them.

        Returns:
            (t, B), -ln of the probability of each symbol but the first of its stream; valid until the next call.
        """
        self.unrolled.forward(symbols[:-1])
        self.unrolled.loss(symbols[1:])
        return self.unrolled.losses[: symbols[1:].size].reshape(-1, self.unrolled.batch)

    def read(self, texts: Iterable[Text]) -> Iterator[list[Read]]:
        """Read texts of two symbols or more. The results come in groups, each in the order of the texts.

        To leave few streams idle, texts of about the same length are read together.
        """
        numbered, batch = enumerate(texts), self.unrolled.batch
        while group := list(islice(numbered, SORTED * batch)):
            group.sort(key=lambda item: len(item[1]))
            found = [read for at in range(0, len(group), batch) for read in self._read(group[at : at + batch])]
            yield sorted(found, key=lambda read: read.number)

    def _read(self, texts: Sequence[tuple[int, Text]]) -> list[Read]:
        """Texts that are read together."""
        unrolled = self.unrolled
        unrolled.carried.reset()
        parts: list[list[NDArray[np.floating]]] = [[] for _ in texts]
        alone = [text for _, text in texts]
        for at in range(0, max(map(len, alone)) - 1, unrolled.most_steps):
            self.look()
            losses = self.losses(self._piece(alone, at, unrolled.most_steps + 1))
            for stream, (_, text) in enumerate(texts):
                if (left := len(text) - 1 - at) > 0:
                    parts[stream].append(losses[:left, stream].copy())
        return [Read(number, np.concatenate(part)) for (number, _), part in zip(texts, parts, strict=True)]

    def state_after(self, state: State, text: Text) -> State:
        """The state after a text that begins in the given state. The reader must have one stream.

        A state has an array (L, 1, H) for each state of the cell.
        """
        unrolled = self.unrolled
        unrolled.carried.set(state)
        for at in range(0, len(text), unrolled.most_steps):
            self.look()
            unrolled.forward(np.asarray(text[at : at + unrolled.most_steps], np.int32)[:, None])
        return unrolled.carried.state()

    def states_after(self, texts: Sequence[Text]) -> list[State]:
        """The state after each text: an array (L, 1, H) for each state of the cell.

        There may be at most as many texts as streams. A text may be empty; its state is zeros.
        """
        unrolled = self.unrolled
        unrolled.carried.reset()
        states = [unrolled.carried.after(0, stream) for stream in range(len(texts))]
        for at in range(0, max(map(len, texts)), unrolled.most_steps):
            self.look()
            chunk = self._piece(texts, at, unrolled.most_steps)
            unrolled.forward(chunk)
            for stream, text in enumerate(texts):
                if at < len(text) <= at + len(chunk):
                    states[stream] = unrolled.carried.after(len(text) - at, stream)
        return states

    def _piece(self, texts: Sequence[Text], at: int, most: int) -> NDArray[np.int32]:
        """(n, B): up to `most` symbols of each text from `at` on, in columns.

        Texts that end earlier are filled up, but not with line breaks: before these, a stateless model forgets.
        """
        network = self.network
        filling = 1 if network.line_break == 0 and network.config.symbols > 1 else 0
        length = min(most, max(map(len, texts)) - at)
        symbols = np.full((length, self.unrolled.batch), filling, np.int32)
        for stream, text in enumerate(texts):
            part = text[at : at + length]
            symbols[: len(part), stream] = part
        return symbols
