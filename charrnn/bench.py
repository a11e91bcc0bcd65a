"""Measures the engine and the machine's own peak in turn. So a change of the machine's speed affects both.

Floating-point operations for a character are counted as 6 times the multiply-adds of the dense products in
training (2 forwards, 4 backwards) and 2 times in sampling. The dense products are the recurrent products of all
layers, the input products of the layers above the first, and the output. The first layer's input is looked up,
not multiplied.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import Any

import numba
import numpy as np

from charrnn.engine.panels import Array
from charrnn.engine.peak import peak_flops
from charrnn.model.config import ModelConfig
from charrnn.model.initialise import Initialiser
from charrnn.model.network import Network
from charrnn.model.size import multiply_adds_per_char
from charrnn.model.unrolled import Unrolled
from charrnn.model.unrolled_layer import UnrolledLayer
from charrnn.sampling.sampler import PIECE, Sampler
from charrnn.training.config import TrainConfig
from charrnn.training.optimiser import Optimiser

PHASES = (
    "input tables and products",
    "recurrence forward",
    "softmax and its products",
    "recurrence backward",
    "weight gradients",
    "update and packing",
)
PEAK_SECONDS, ROUND_SECONDS = 0.05, 0.4


class TimedUnrolled(Unrolled):
    """A chunk that adds up the time of its phases in `seconds`."""

    def __init__(self, network: Network, batch: int, steps: int) -> None:
        super().__init__(network, batch, steps)
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, phase: int, work: Any, *arguments: Any) -> Any:
        """Do some work and add its time to a phase."""
        start = time.perf_counter()
        result = work(*arguments)
        self.seconds[PHASES[phase]] += time.perf_counter() - start
        return result

    def input_forward(self, index: int, rows: int) -> None:
        self.timed(0, super().input_forward, index, rows)

    def recurrence_forward(self, layer: UnrolledLayer) -> None:
        self.timed(1, super().recurrence_forward, layer)

    def output_forward(self, rows: int) -> None:
        self.timed(2, super().output_forward, rows)

    def loss(self, targets: Array, past: int = 0) -> float:
        return float(self.timed(2, super().loss, targets, past))

    def output_gradient(self, rows: int) -> None:
        self.timed(4, super().output_gradient, rows)

    def output_backward(self, rows: int) -> None:
        self.timed(2, super().output_backward, rows)

    def recurrence_backward(self, layer: UnrolledLayer) -> None:
        self.timed(3, super().recurrence_backward, layer)

    def layer_gradient(self, index: int, layer: UnrolledLayer, rows: int) -> None:
        self.timed(4, super().layer_gradient, index, layer, rows)

    def input_backward(self, index: int, rows: int) -> None:
        self.timed(0, super().input_backward, index, rows)


class Bench:
    """One model, trained and sampled on random symbols.

    Args:
        config: the shape of the model.
        training: batch, sequence length, optimiser and clipping.
        streams: how many streams are sampled at once.
        precision: the precision of products, see `Network`. With "int8" the products of training are float32.
    """

    def __init__(self, config: ModelConfig, training: TrainConfig, streams: int, precision: str = "float32") -> None:
        self.config, self.training, self.streams = config, training, streams
        self.rounded = precision == "bfloat16"
        self.network = Network(config, precision="bfloat16" if self.rounded else "float32")
        sampled = Network(config, precision=precision) if precision == "int8" else self.network
        for network in (self.network, sampled):
            Initialiser(config, training.seed).fill(network.parameters)
            network.pack()
        self.unrolled = TimedUnrolled(self.network, training.batch, training.seq_len)
        self.optimiser = Optimiser(training, self.network.parameters)
        symbols = np.random.default_rng(0).integers(0, config.symbols, (training.seq_len + 1, training.batch))
        self.inputs, self.targets = symbols[:-1].astype(np.int32), symbols[1:].astype(np.int32)
        self.sampler = Sampler(sampled, streams)

    def step(self) -> None:
        """One training step, as `charrnn train` makes it."""
        self.unrolled.forward(self.inputs)
        self.unrolled.loss(self.targets)
        self.unrolled.backward()
        self.unrolled.timed(5, self._update)

    def _update(self) -> None:
        gradients = self.network.gradients
        self.optimiser.update(self.network.parameters, gradients, self.optimiser.norm(gradients), self.training.lr)
        self.network.pack()

    def rate(self, work: Any, chars: int) -> float:
        """Characters per second of a piece of work. It is repeated for a round, and the median time counts."""
        times: list[float] = []
        end = time.perf_counter() + ROUND_SECONDS
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return chars / statistics.median(times)

    def run(self, seconds: float) -> dict[str, Any]:
        """Measure peak, training and sampling in turn for about `seconds`. The results are medians of the rounds."""
        self.step()
        self.sampler.take(PIECE)
        peak_flops(PEAK_SECONDS, self.rounded)
        self.unrolled.seconds.clear()
        chunk_chars, chunks = self.inputs.size, 0
        rounds: list[tuple[float, float, float]] = []
        end = time.perf_counter() + seconds
        while len(rounds) < 3 or time.perf_counter() < end:
            before = self.optimiser.updates
            trained = self.rate(self.step, chunk_chars)
            chunks += self.optimiser.updates - before
            peak = peak_flops(PEAK_SECONDS, self.rounded)
            rounds.append((peak, trained, self.rate(lambda: self.sampler.take(PIECE), PIECE * self.streams)))
        peak, trained, sampled = (statistics.median(column) for column in zip(*rounds, strict=True))
        flops = 2 * multiply_adds_per_char(self.config)
        return {
            "threads": numba.get_num_threads(),
            "rounds": len(rounds),
            "peak_gflops": peak / 1e9,
            "train": {
                "chars_per_second": trained,
                "gflops": 3 * flops * trained / 1e9,
                "share_of_peak": statistics.median(3 * flops * r[1] / r[0] for r in rounds),
                "ms_per_chunk": 1e3 * chunk_chars / trained,
                "phases_ms": {name: 1e3 * self.unrolled.seconds[name] / chunks for name in PHASES},
            },
            "sample": {
                "streams": self.streams,
                "chars_per_second": sampled,
                "gflops": flops * sampled / 1e9,
                "share_of_peak": statistics.median(flops * r[2] / r[0] for r in rounds),
            },
        }
