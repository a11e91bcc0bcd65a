"""Drawing symbols from a network: streams begin after prompts, and symbols come out a piece at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.engine.panels import activations, stacked, zeros
from charrnn.engine.recurrence import threads_for_panels
from charrnn.engine.simd import W
from charrnn.model.dense import BFLOAT16
from charrnn.model.inputs import flat_symbols
from charrnn.model.network import Network, State
from charrnn.model.reader import Reader
from charrnn.model.unrolled import Unrolled
from charrnn.sampling.constraints import FREE, Constraint
from charrnn.sampling.draws import draw_one, draws_for
from charrnn.sampling.generate import Weights, generator_for
from charrnn.sampling.rule import Rule

PIECE = 64  # symbols of each stream in one call, at most; they appear on the screen together
PLAIN = Rule()


@dataclass(frozen=True)
class Beginning:
    """Where a text begins.

    Args:
        symbols: (n,) the symbols that stand before the text, n >= 1.
        state: the network's state before the last of these symbols: an array (L, 1, H) for each state of the cell.
    """

    symbols: NDArray[np.int32]
    state: State


def beginnings(
    network: Network, prompts: list[NDArray[np.integer]], look: Callable[[], None] = lambda: None
) -> list[Beginning]:
    """Read prompts of one symbol or more, side by side. `look` is called often, and may raise an error to end it.

    Raises:
        ValueError: a prompt is empty, or holds numbers that are not symbols.
    """
    checked = [flat_symbols(np.asarray(p)[:, None], 1, len(p), network.config.symbols) for p in prompts]
    states = Reader(network, len(checked), look=look).states_after([p[:-1] for p in checked])
    return [Beginning(symbols, state) for symbols, state in zip(checked, states, strict=True)]


def weights_of(network: Network) -> Weights:
    """The weights of a packed network that the kernel reads."""
    output = network.output.forwards
    upper = [dense.forwards for dense in network.upper_inputs] or [np.empty((0, 1, W), output.dtype)]
    skips = [skip.table for skip in network.skips]
    lower = [lower.forwards for lower in network.lower_outputs]
    return Weights(
        table=network.input.table,
        biases=stacked([layer.input_start for layer in network.layers]),
        upper_w_x=stacked(upper),
        skips=stacked(skips or [network.input.table[:0]])[: len(skips)],
        lower_w_y=stacked(lower or [output[:0]])[: len(lower)],
        w_y=output,
        b_y=network.output.b_y,
    )


class Sampler:
    """`count` streams of text from one network.

    Args:
        network: packed and ready. If it is packed again, it needs a new sampler.
        count: B, how many streams.
        rule: how symbols are drawn.
        seed: of the random numbers. A text does not depend on the count, on its stream or on the number of threads.
        window: how many symbols back a repetition penalty looks.
        constraint: what may come.
        wants_log_probs: whether the log-probabilities of symbols are computed.

    Attributes:
        memory: how many of the symbols before a text make a difference to the rule and to the constraint.
        log_probs: (length, B) after `take`, the log-probability of each symbol in nats, without the rule; or (0, B).
    """

    def __init__(
        self,
        network: Network,
        count: int = 1,
        rule: Rule = PLAIN,
        seed: int = 0,
        window: int = 64,
        constraint: Constraint = FREE,
        wants_log_probs: bool = False,
    ) -> None:
        self.network, self.count, self.rule, self.constraint = network, count, rule, constraint
        self.set_seed(seed)
        self.unrolled = Unrolled(network, count, PIECE)
        self.last = np.zeros(count, np.int32)
        config, dtype = network.config, network.dtype
        window = window if rule.repetition_penalty != 1.0 else 0
        self.memory = max(1, window, constraint.memory)
        kept = PIECE if wants_log_probs else 0
        self._draws = draws_for(count, config.symbols, dtype, window, constraint.follows, kept)
        self._logits = activations(config.symbols, count, dtype)
        self._generate = generator_for(network.layers[0].plan)
        layers = self.unrolled.layers
        given = activations(config.hidden if config.residual else 0, count, dtype)
        self._network = (  # the arguments of the kernel that come from the network
            weights_of(network),
            tuple(layer.arrays for layer in layers),
            tuple(buffer for layer in layers for buffer in layer.states.values()),
            given,
            zeros(given.shape, BFLOAT16) if network.rounded else given,
            network.line_break,
        )
        self._threads = threads_for_panels(layers[0].arrays, count)
        draw_one.load(self._logits, 0, 0, self._draws, self.rule, self.seed)

    def set_seed(self, seed: int) -> None:
        """Draw with other random numbers from now on."""
        self.seed = np.uint64(seed)

    def begin(self, stream: int, number: int, beginning: Beginning) -> None:
        """Begin a text in a stream.

        Args:
            stream: which stream.
            number: of the text; the number and the seed determine the random numbers.
            beginning: where the text begins.
        """
        self.unrolled.carried.set_stream(stream, beginning.state)
        self.last[stream] = beginning.symbols[-1]
        draws = self._draws
        draws.marks[stream] = number, 0, self.constraint.state_after(beginning.symbols)
        if window := draws.recent.shape[1]:
            recent = beginning.symbols[-window:]
            draws.recent[stream] = -1
            draws.recent[stream, window - len(recent) :] = recent  # the first ones are replaced first
            draws.counts[stream] = np.bincount(recent, minlength=draws.counts.shape[1])

    def feed(self, symbols: NDArray[np.integer]) -> None:
        """Begin text b in every stream b after a prompt, (n,) symbols with n >= 1.

        Raises:
            ValueError: there is no symbol, or some numbers are not symbols.
        """
        (beginning,) = beginnings(self.network, [symbols])
        for stream in range(self.count):
            self.begin(stream, stream, beginning)

    def take(self, length: int) -> NDArray[np.int32]:
        """The next `length` symbols of every stream: (length, B) int32.

        A number is negative where a constraint ends the text (ENDS) or leaves no symbol (FORBIDDEN).

        Raises:
            ValueError: the length is not from 1 to PIECE.
        """
        if not 1 <= length <= PIECE:
            raise ValueError(f"expected a piece of 1 to {PIECE} symbols, got {length}")
        out = np.zeros((length, self.count), np.int32)
        self.unrolled.carried.make_room()
        for layer in self.unrolled.layers:
            layer.masks.no_lines()  # the kernel itself sets the state to zeros where a line begins
            layer.begin()
        draws, rule = self._draws, self.rule
        self._generate(*self._network, self._logits, self.last, out, draws, rule, self.seed, self._threads)
        self.unrolled.carried.advance = length
        self.last = out[-1].copy()
        self.log_probs = draws.log_probs[:length]
        return out
