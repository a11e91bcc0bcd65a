"""Whole texts: where and why each of them ends, how many are drawn at once, and the likeliest of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from charrnn.model.network import Network
from charrnn.sampling.constraints import ENDS, FORBIDDEN
from charrnn.sampling.sampler import PIECE, Beginning, Sampler, beginnings

LEAST_PIECE = 4  # symbols of each stream in one call, at least; it matters where there are many streams

Symbols = NDArray[np.integer]


@dataclass(frozen=True)
class Ending:
    """Where a text ends: at the first of these places. If several stops end at the same symbol, the first one counts.

    Args:
        length: after this many symbols.
        stops: before any of these texts. Each of them has one symbol or more.
        keep_stop: the text ends after a stop, not before it.
        lines: after this many line breaks; 0 for never.
        line_break: the symbol of a line break.
    """

    length: int
    stops: tuple[Symbols, ...] = ()
    keep_stop: bool = False
    lines: int = 0
    line_break: int = -1


@dataclass
class Text:
    """A text that is being drawn.

    Args:
        index: the number of this text among all texts.
        prompt: the symbols that the text begins with.
        ending: where the text ends.

    Attributes:
        stopped: why the text ended: "length", "stop", "lines", "pattern" or "constraint"; empty before its end.
    """

    index: int
    prompt: Symbols
    ending: Ending
    stopped: str = ""
    _symbols: list[int] = field(default_factory=list)
    _log_probs: list[float] = field(default_factory=list)  # also of a stop that is removed, and of a pattern's end
    _handed_over: int = 0
    _lines: int = 0

    @property
    def drawn(self) -> NDArray[np.int64]:
        """The symbols after the prompt, without those that were handed over."""
        return np.array(self._symbols, np.int64)

    @property
    def nats(self) -> float:
        """The log-probability of the drawn symbols, in nats; 0 if log-probabilities are missing."""
        return math.fsum(self._log_probs[: len(self._symbols)])

    @property
    def mean(self) -> float:
        """The log-probability for each symbol, in nats, by which texts of different lengths are compared.

        The symbols of a removed stop count, and the end of a pattern counts as one more symbol.
        """
        return math.fsum(self._log_probs) / max(1, len(self._log_probs))

    def hand_over(self) -> NDArray[np.int64]:
        """The symbols after the prompt that are certain to belong to the text. They are no longer kept."""
        certain = len(self._symbols) - (0 if self.stopped else self._held_back())
        symbols = self.drawn[:certain]
        del self._symbols[:certain]
        self._handed_over += certain
        return symbols

    def _held_back(self) -> int:
        """How many of the last symbols may be the beginning of a stop."""
        held = 0
        for stop in self.ending.stops:
            for count in range(min(len(stop) - 1, len(self._symbols)), held, -1):
                if self._symbols[-count:] == stop[:count].tolist():
                    held = count
                    break
        return held

    @property
    def left(self) -> int:
        """How many more symbols the text can have."""
        return 0 if self.stopped else self.ending.length - self._handed_over - len(self._symbols)

    def add(self, symbols: Symbols, log_probs: NDArray[np.floating]) -> None:
        """Add the drawn symbols, up to the end of the text. The log-probabilities may be missing.

        ENDS or FORBIDDEN in place of a symbol says that a constraint ended the text. ENDS has a log-probability too.
        """
        if not (self.ending.stops or self.ending.lines) and symbols.min() >= 0:
            symbols, log_probs = symbols[: self.left], log_probs[: self.left]
            self._symbols += symbols.tolist()
            self._log_probs += log_probs.tolist()
            self.stopped = "" if self.left else "length"
            return
        for k, symbol in enumerate(symbols.tolist()):
            if self.stopped:
                break
            if symbol == FORBIDDEN:
                self.stopped = "constraint"
                break
            self._log_probs += log_probs[k : k + 1].tolist()
            if symbol == ENDS:
                self.stopped = "pattern"
            else:
                self._symbols.append(symbol)
                self._look_for_the_end(symbol)

    def followed_by(self, symbol: int, log_prob: float) -> Text:
        """A copy with one more symbol, or with ENDS or FORBIDDEN; see `add`."""
        text = replace(self, _symbols=self._symbols.copy(), _log_probs=self._log_probs.copy())
        text.add(np.array([symbol]), np.array([log_prob]))
        return text

    def _look_for_the_end(self, symbol: int) -> None:
        ending = self.ending
        for stop in ending.stops:
            if symbol == stop[-1] and self._symbols[-len(stop) :] == stop.tolist():
                self.stopped = "stop"
                if not ending.keep_stop:
                    del self._symbols[-len(stop) :]
                return
        self._lines += symbol == ending.line_break
        if ending.lines and self._lines == ending.lines:
            self.stopped = "lines"
        elif self.left == 0:
            self.stopped = "length"


@dataclass(frozen=True)
class Wanted:
    """A text to be drawn.

    Args:
        index: its number among all texts.
        prompt: the symbols that are shown as its beginning.
        beginning: where it begins.
    """

    index: int
    prompt: Symbols
    beginning: Beginning


def wanted_texts(
    network: Network,
    prompts: Sequence[tuple[Symbols, Symbols]],
    count: int,
    batch: int,
    look: Callable[[], None] = lambda: None,
) -> Iterator[Wanted]:
    """`count` texts after each prompt, one prompt after the other.

    Args:
        network: packed.
        prompts: for each prompt, the symbols that are shown, and the symbols that are read before the text. At least
            one symbol is read.
        count: how many texts follow each prompt.
        batch: how many prompts are read side by side.
        look: called often while prompts are read; may raise an error to end it.
    """
    rest, index = iter(prompts), 0
    while group := list(islice(rest, batch)):
        begun = beginnings(network, [read for _, read in group], look)
        for (shown, _), beginning in zip(group, begun, strict=True):
            for _ in range(count):
                yield Wanted(index, shown, beginning)
                index += 1


def piece_of(streams: int, ending: Ending, may_end: bool) -> int:
    """How many symbols to draw in one call. It is few where texts may end inside a call: the rest is drawn in vain.

    `may_end` says whether a constraint may end them.
    """
    ends_anywhere = streams > 1 and (ending.stops or ending.lines or may_end)
    return max(LEAST_PIECE, PIECE // streams) if ends_anywhere else PIECE


def draw_texts(
    sampler: Sampler, wanted: Iterable[Wanted], ending: Ending, going_on: Callable[[Text], None] = lambda _: None
) -> Iterator[Text]:
    """Draw texts, as many at once as the sampler has streams. Each text is returned as soon as it has ended.

    Args:
        sampler: the streams of this sampler are used.
        wanted: the texts.
        ending: where each text ends.
        going_on: called with a text after each of its pieces.
    """
    waiting = iter(wanted)
    running: list[Text | None] = [None] * sampler.count
    while True:
        for stream, text in enumerate(running):
            if text is None and (more := next(waiting, None)) is not None:
                sampler.begin(stream, more.index, more.beginning)
                running[stream] = Text(more.index, more.prompt, ending)
        longest = max((text.left for text in running if text is not None), default=0)
        if longest == 0:
            return
        piece = sampler.take(min(piece_of(sampler.count, ending, sampler.constraint.may_end), longest))
        for stream, text in enumerate(running):
            if text is None:
                continue
            text.add(piece[:, stream], sampler.log_probs[:, stream])
            going_on(text)
            if text.stopped:
                running[stream] = None
                yield text


def likeliest_of(texts: Iterable[Text], group: int) -> Iterator[Text]:
    """The text with the highest log-probability for each symbol, from each `group` of texts with neighbouring numbers.

    A text that a constraint cut off is taken only if there is no other.
    """
    groups: dict[int, list[Text]] = {}
    for text in texts:
        found = groups.setdefault(text.index // group, [])
        found.append(text)
        if len(found) == group:
            best = max(groups.pop(text.index // group), key=lambda t: (t.stopped != "constraint", t.mean, -t.index))
            best.index //= group
            yield best
