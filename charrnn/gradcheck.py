"""Gradient checks: the gradients of the training kernels, in float64, against finite differences of their own loss.

Central differences of fourth order (Abramowitz & Stegun 1964, 25.3.6) with step e have an error of about
e^4 in truncation and 1e-16 / e in rounding. The differences are useless if a rectified unit's corner falls between the
points, or if the loss is strongly curved: in a large plain RNN over many time steps, or where a normalised gate hardly
varies. So an entry whose error is too large is tried again with smaller steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charrnn.engine.panels import Array, rows_of
from charrnn.engine.random import PURPOSES, fill_uniform
from charrnn.model.config import ModelConfig
from charrnn.model.network import Network, State
from charrnn.model.parameters import Parameters
from charrnn.model.unrolled import Unrolled
from charrnn.training.config import TrainConfig
from charrnn.training.learner import noise_of, objective_of
from charrnn.training.optimiser import Optimiser

BOUND = 1e-6
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))
FLOOR = 1e-3  # the error of an entry is relative to at least this share of the block's largest entry ...
LEAST = 1e-9  # ... and at least this over the step, since the differences have a rounding error of 1e-15 over the step
MOST = 400  # entries of one block that are checked; in larger blocks they are chosen at random


@dataclass(frozen=True)
class BlockResult:
    """The worst entry of one block.

    Args:
        name: the name of the parameter, or "state h", "state c"; "clipped gradient" is the vector of all of them.
        shape: the shape of the block.
        checked: how many of its entries were compared.
        error: worst relative error.
        where: index of the entry with this error.
        analytic, numeric: the two gradients of this entry.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    error: float
    where: tuple[int, ...]
    analytic: float
    numeric: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound. NaN is not."""
        return self.error <= BOUND


def random_network(model: ModelConfig, seed: int) -> Network:
    """A float64 network with all parameters, including biases, drawn from [-0.5, 0.5)."""
    network = Network(model, np.float64, line_break=0)
    for step, (_, view) in enumerate(network.parameters.items()):
        fill_uniform(view.reshape(-1), -0.5, 0.5, np.uint64(seed), PURPOSES["initialise"], np.uint64(step))
    network.pack()
    return network


def random_state(network: Network, batch: int, seed: int) -> State:
    """A state (L, B, H) drawn from [-0.5, 0.5)."""
    shape = (network.config.layers, batch, network.config.hidden)
    state = {}
    for step, name in enumerate(network.layers[0].states):
        state[name] = np.empty(shape)
        first = np.uint64(10_000 + step)
        fill_uniform(state[name].reshape(-1), -0.5, 0.5, np.uint64(seed), PURPOSES["initialise"], first)
    return state


class GradientCheck:
    """Compares all gradients of one chunk with finite differences.

    Args:
        network: float64. The check changes its parameters a little, and restores them.
        inputs, targets: (T, B) symbols.
        state: the state before the chunk.
        training: its dropout and its further terms of the objective are part of what is checked. Its history says how
            many of the first time steps do not count. If it has clipping, clipping is compared too.
        seed: the seed of the choice of entries in large blocks.

    Attributes:
        draw: number of the noise's draw; None for a model without noise, as in evaluation.
    """

    def __init__(
        self, network: Network, inputs: Array, targets: Array, state: State, training: TrainConfig, seed: int = 0
    ) -> None:
        self.network, self.inputs, self.targets, self.state = network, inputs, targets, state
        self.training, self.seed = training, seed
        self.draw: int | None = 0
        self.past = training.history
        self.objective = objective_of(training)
        self.unrolled = Unrolled(network, inputs.shape[1], inputs.shape[0], noise_of(training), self.objective)

    def loss(self) -> float:
        """The objective of the chunk, from the parameters and the state as they are."""
        self.network.pack()
        self.unrolled.carried.set(self.state)
        self.unrolled.forward(self.inputs, self.draw)
        further = self._further()
        share = 1.0 - self.objective.smoothing
        return share * self.unrolled.loss(self.targets, self.past) + further

    def _further(self) -> float:
        """The terms of the objective in addition to the cross-entropy, computed by definition; see `Objective`."""
        goal, first = self.objective, self.past * self.inputs.shape[1]
        total, config = 0.0, self.network.config
        if goal.smoothing:
            logits = rows_of(self.unrolled.logits, config.symbols)[first : self.inputs.size]
            peak = logits.max(axis=1, keepdims=True)
            log_p = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
            total -= goal.smoothing * float(log_p.mean())
        given, output = (
            rows_of(buffer, config.hidden)[row : row + self.inputs.size].reshape(*self.inputs.shape, -1)
            for buffer, row in (self.unrolled.given_by_top(), self.unrolled.layers[-1].output)
        )
        total += goal.activation * float(np.square(given[self.past :]).mean())
        changes = np.diff(output[max(0, self.past - 1) :], axis=0)
        if changes.size:
            total += goal.temporal * float(np.square(changes).mean())
        return total

    def run(self, progress: Callable[[str], None] | None = None) -> list[BlockResult]:
        """Check every parameter block and the state. Each has one result."""
        self.loss()
        self.unrolled.backward()
        layers = self.unrolled.state_gradient()
        d_state = {name: np.stack([d[name] for d in layers]) for name in self.state}
        analytic = {name: view.copy() for name, view in self.network.gradients.items()}
        results = []
        for name, view in self.network.parameters.items():
            if progress:
                progress(name)
            results.append(self._compare(name, view, analytic[name]))
        for name, values in self.state.items():
            results.append(self._compare(f"state {name}", values, d_state[name]))
        if self.training.clip_norm or self.training.clip_value:
            results.append(self._compare_clipping())
        self.network.pack()
        return results

    def _compare(self, name: str, values: Array, analytic: Array) -> BlockResult:
        flat, expected = values.reshape(-1), analytic.reshape(-1)
        entries = np.arange(flat.size)
        if flat.size > MOST:
            entries = np.random.default_rng(self.seed).choice(flat.size, MOST, replace=False)
        floor = FLOOR * float(np.nanmax(np.abs(expected), initial=0.0))
        worst = (-1.0, 0, 0.0)
        for k in entries:
            error, numeric = self._entry_error(flat, int(k), float(expected[k]), floor)
            if math.isnan(error):  # no larger error may take its place
                worst = (error, int(k), numeric)
                break
            if error > worst[0]:
                worst = (error, int(k), numeric)
        where = tuple(int(i) for i in np.unravel_index(worst[1], values.shape))
        return BlockResult(name, values.shape, len(entries), worst[0], where, float(expected[worst[1]]), worst[2])

    def _entry_error(self, flat: Array, k: int, analytic: float, floor: float) -> tuple[float, float]:
        """Relative error and numeric gradient at the first step with an error within the bound, else at the last."""
        for step in STEPS:
            numeric = self._difference(flat, k, step)
            scale = max(abs(analytic), abs(numeric), floor, LEAST / step)
            error = abs(analytic - numeric) / scale
            if error <= BOUND:
                break
        return error, numeric

    def _difference(self, flat: Array, k: int, step: float) -> float:
        before, total = flat[k], 0.0
        for distance, weight in STENCIL:
            flat[k] = before + distance * step
            total += weight * self.loss()
        flat[k] = before
        return total / step

    def _compare_clipping(self) -> BlockResult:
        """Compare the clipped gradient that the optimiser's sweep applies with the definition of clipping."""
        self.loss()
        self.unrolled.backward()
        gradients = self.network.gradients
        sgd = Optimiser(
            TrainConfig(
                optimiser="sgd",
                momentum=0.0,
                clip_norm=self.training.clip_norm,
                clip_value=self.training.clip_value,
            ),
            gradients,
        )
        applied = Parameters(gradients.shapes, np.float64)
        sgd.update(applied, gradients, sgd.norm(gradients), lr=1.0)
        exact = gradients.flat.copy()
        norm = math.sqrt(math.fsum(float(g) ** 2 for g in exact))
        if self.training.clip_norm and norm > self.training.clip_norm:
            exact *= self.training.clip_norm / norm
        if self.training.clip_value:
            exact = np.clip(exact, -self.training.clip_value, self.training.clip_value)
        errors = np.abs(-applied.flat - exact) / (np.abs(exact).max() or 1.0)
        worst = int(errors.argmax())
        return BlockResult(
            "clipped gradient",
            exact.shape,
            gradients.count,
            float(errors[worst]),
            (worst,),
            -float(applied.flat[worst]),
            float(exact[worst]),
        )
