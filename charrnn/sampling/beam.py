"""Beam search: a search for the likeliest text that keeps only a few beginnings at a time. It may miss that text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charrnn.engine.panels import rows_of
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled
from charrnn.sampling.constraints import ENDS, FORBIDDEN
from charrnn.sampling.sampler import FREE
from charrnn.sampling.texts import Ending, Text, Wanted


@dataclass(frozen=True)
class Hypothesis:
    """A beginning of the text.

    Args:
        text: the text up to here.
        symbol: the latest symbol, which the network has not read yet.
        steps: ln of the probability of each symbol that was chosen.
        nats: the sum of these; for a text that a constraint ended, with ln of the probability of the end.
        state: the state of the constraint.
        stream: the stream that holds the network's state before the last symbol.
    """

    text: Text
    symbol: int
    steps: tuple[float, ...]
    nats: float
    state: int
    stream: int

    @property
    def mean(self) -> float:
        """The log-probability for each symbol. Texts of different length are compared by it."""
        return self.nats / max(1, len(self.steps))

    def ended(self, end: int, nats: float) -> Hypothesis:
        """The hypothesis as a text that a constraint ended; `end` is ENDS or FORBIDDEN."""
        return replace(self, text=self.text.followed_by(end), nats=nats)


class Beam:
    """Searches for likely texts.

    Args:
        network: packed.
        width: how many beginnings are kept at a time.
        ending: where a text ends.
        follows: the automaton of a constraint, see `constraints`.
    """

    def __init__(self, network: Network, width: int, ending: Ending, follows: NDArray[np.int32] = FREE) -> None:
        self.network, self.width, self.ending, self.follows = network, width, ending, follows
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
        live, ended = [Hypothesis(empty, int(wanted.beginning.symbols[-1]), (), 0.0, 0, 0)], list[Hypothesis]()
        while live and len(ended) < self.width:
            look()
            live = self._step(live, ended)
        best = max(ended, key=lambda h: h.mean)
        best.text.nats = math.fsum(best.steps[: len(best.text.drawn)])
        return best.text

    def _step(self, live: list[Hypothesis], ended: list[Hypothesis]) -> list[Hypothesis]:
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
                ended.append(live[parent].ended(ENDS, float(totals[parent, symbol])))
                continue
            state = int(self.follows[live[parent].state, symbol]) if len(self.follows) else 0
            steps = (*live[parent].steps, float(logs[parent, symbol]))
            text = live[parent].text.followed_by(symbol)
            longer = Hypothesis(text, symbol, steps, float(totals[parent, symbol]), state, parent)
            (ended if text.stopped else kept).append(longer)
        if not kept and not ended:  # the constraint leaves nothing
            ended += [h.ended(FORBIDDEN, h.nats) for h in live]
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
