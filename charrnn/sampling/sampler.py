"""Drawing text from a network: a prompt goes in, symbols come out a piece at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.engine.panels import activations
from charrnn.engine.recurrence import threads_for_panels
from charrnn.engine.tile import W
from charrnn.model.inputs import flat_symbols
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled
from charrnn.sampling.generate import Weights, generator_for
from charrnn.sampling.rule import Rule

PIECE = 32  # symbols of each stream in one call: what a reader sees appear at a time


PLAIN = Rule()


def weights_of(network: Network) -> Weights:
    """What the kernel reads of a packed network."""
    upper = [u.w_x for u in network.upper_inputs] or [np.empty((0, 1, W), network.dtype)]
    skips = [skip.table for skip in network.skips]
    lower = [o.w_y for o in network.lower_outputs]
    return Weights(
        table=network.input.table,
        biases=np.stack([layer.input_start for layer in network.layers]),
        upper_w_x=np.stack(upper),
        skips=np.stack(skips or [network.input.table[:0]])[: len(skips)],
        lower_w_y=np.stack(lower or [network.output.w_y[:0]])[: len(lower)],
        w_y=network.output.w_y,
        b_y=network.output.b_y,
    )


class Sampler:
    """`count` streams of text from one network.

    Args:
        network: packed and ready.
        count: B, how many streams.
        rule: how symbols are drawn.
        seed: of the random numbers. Stream b is the same whatever the count and the threads.
    """

    def __init__(self, network: Network, count: int = 1, rule: Rule = PLAIN, seed: int = 0) -> None:
        self.network, self.count = network, count
        self.rule, self.seed = rule, np.uint64(seed)
        self.unrolled = Unrolled(network, count, PIECE)
        self.last = np.zeros(count, np.int32)
        self.position = 0
        self._given = activations(network.config.hidden if network.config.residual else 0, count, network.dtype)
        self._logits = activations(network.config.symbols, count, network.dtype)
        self._generate = generator_for(network.layers[0].plan)
        self._weights = weights_of(network)

    def feed(self, symbols: NDArray[np.integer]) -> None:
        """Read a text, (n,) symbols with n >= 1, into every stream; sampling goes on after it.

        Raises:
            ValueError: there is none, or numbers are no symbols.
        """
        symbols = flat_symbols(symbols[:, None], 1, len(symbols), self.network.config.symbols)
        for start in range(0, len(symbols) - 1, PIECE):
            part = symbols[start : min(start + PIECE, len(symbols) - 1)]
            self.unrolled.forward(np.repeat(part[:, None], self.count, axis=1))
        self.last[:] = symbols[-1]

    def take(self, length: int) -> NDArray[np.int32]:
        """The next `length` symbols of every stream: (length, B) int32.

        Raises:
            ValueError: the length is not from 1 to PIECE.
        """
        if not 1 <= length <= PIECE:
            raise ValueError(f"expected a piece of 1 to {PIECE} symbols, got {length}")
        out = np.zeros((length, self.count), np.int32)
        self.unrolled.make_room()
        for layer in self.unrolled.layers:
            layer.masks.no_lines()  # of a text that was fed; the kernel sees to those that are drawn
        self._generate(
            self._weights,
            tuple(layer.arrays for layer in self.unrolled.layers),
            tuple(buffer for layer in self.unrolled.layers for buffer in layer.states.values()),
            self._given,
            self.network.line_break,
            self._logits,
            self.last.copy(),
            out,
            self.rule,
            self.seed,
            self.position,
            threads_for_panels(self.unrolled.layers[0].arrays, self.count),
        )
        self.unrolled.advance = length
        self.last, self.position = out[-1].copy(), self.position + length
        return out
