"""Beam search: a search for the likeliest text that keeps only a few beginnings at a time. It may miss that text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.engine.panels import rows_of
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled
from charrnn.sampling.constraints import ENDS, FORBIDDEN, FREE, Constraint
from charrnn.sampling.texts import Ending, Text, Wanted


@dataclass(frozen=True)
class Hypothesis:
    """A beginning of the text.

    Args:
        text: the text up to here.
        symbol: the latest symbol, which the network has not read yet.
        nats: the log-probability of the symbols that were chosen.
        state: the state of the constraint.
        stream: the stream that holds the network's state before the last symbol.
    """

    text: Text
    symbol: int
    nats: float
    state: int
    stream: int


class Beam:
    """Searches for likely texts.

    Args:
        network: packed.
        width: how many beginnings are kept at a time.
        ending: where a text ends.
        constraint: what may come.
    """

    def __init__(self, network: Network, width: int, ending: Ending, constraint: Constraint = FREE) -> None:
        self.network, self.width, self.ending = network, width, ending
        self.constraint, self.follows = constraint, constraint.follows
        self.unrolled = Unrolled(network, width, 1)

    def search(self, wanted: Wanted, look: Callable[[], None] = lambda: None) -> Text:
        """The text with the highest log-probability for each symbol of all that were found.

        Args:
            wanted: where it begins.
            look: called before each symbol; may raise an error to end the search.
        """
        for stream in range(self.width):
            self.unrolled.carried.set_stream(stream, wanted.beginning.state)
        empty = Text(wanted.index, wanted.prompt, self.ending)
        before = wanted.beginning.symbols
        state = self.constraint.state_after(before)
        live, ended = [Hypothesis(empty, int(before[-1]), 0.0, state, 0)], list[Text]()
        while live and len(ended) < self.width:
            look()
            live = self._step(live, ended)
        return max(ended, key=lambda text: text.mean)

    def _step(self, live: list[Hypothesis], ended: list[Text]) -> list[Hypothesis]:
        """The likeliest continuations by one symbol. Continuations that end a text go to `ended`."""
        logs = self._log_probs(live)
        ends = self._log_probs_of_end(live, logs)
        totals = np.array([[h.nats] for h in live]) + np.hstack([logs, ends])
        kept: list[Hypothesis] = []
        for place in np.argsort(-totals, axis=None, kind="stable")[: 3 * self.width + len(ended)]:
            parent, symbol = divmod(int(place), totals.shape[1])
            if totals[parent, symbol] == -np.inf or len(kept) == self.width:
                break
            if symbol == logs.shape[1]:
                ended.append(live[parent].text.followed_by(ENDS, float(ends[parent, 0])))
                continue
            state = int(self.follows[live[parent].state, symbol]) if len(self.follows) else 0
            text = live[parent].text.followed_by(symbol, float(logs[parent, symbol]))
            if text.stopped:
                ended.append(text)
            else:
                kept.append(Hypothesis(text, symbol, float(totals[parent, symbol]), state, parent))
        if not kept and not ended:  # the constraint leaves nothing
            ended += [h.text.followed_by(FORBIDDEN, -math.inf) for h in live]
        return kept

    def _log_probs(self, live: list[Hypothesis]) -> NDArray[np.float64]:
        """(n, V): the log-probability of each next symbol; -inf where a constraint forbids it."""
        unused = [0] * (self.width - len(live))
        parents = [h.stream for h in live] + unused
        self.unrolled.carried.set({name: values[:, parents] for name, values in self.unrolled.carried.state().items()})
        self.unrolled.forward(np.array([[h.symbol for h in live] + unused], np.int32))
        z = rows_of(self.unrolled.logits, self.network.config.symbols)[: len(live)].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        logs: NDArray[np.float64] = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        for row, h in enumerate(live):
            if len(self.follows):
                logs[row, self.follows[h.state] == FORBIDDEN] = -np.inf
        return logs

    def _log_probs_of_end(self, live: list[Hypothesis], logs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 1): log-probability that the constraint ends the text here; symbols that end it get -inf in `logs`."""
        log_probs = np.full((len(live), 1), -np.inf)
        for row, h in enumerate(live if len(self.follows) else []):
            ends = self.follows[h.state] == ENDS
            if ends.any():
                log_probs[row] = np.logaddexp.reduce(logs[row, ends])
                logs[row, ends] = -np.inf
        return log_probs
