"""The gradient of one update: a chunk of text of all streams, in one batch or in several, one after the other."""

from __future__ import annotations

import numpy as np

from charrnn.engine.random import PURPOSES, fill_uniform
from charrnn.errors import DataError
from charrnn.model.network import Network, State
from charrnn.model.noise import Noise, Objective
from charrnn.model.unrolled import Unrolled
from charrnn.text.stored import Symbols
from charrnn.text.streams import Streams
from charrnn.training.config import TrainConfig
from charrnn.training.lengths import random_length


def noise_of(config: TrainConfig) -> Noise:
    """The noise that the settings ask for."""
    variational = config.dropout_kind == "variational"
    rates = (config.dropout, config.dropout_output, config.dropout_input, config.weight_drop)
    return Noise(*rates, variational, config.seed)


def objective_of(config: TrainConfig) -> Objective:
    """What the settings ask to minimise beside the cross-entropy."""
    return Objective(config.label_smoothing, config.activation_penalty, config.temporal_penalty)


def streams_of(symbols: Symbols, config: TrainConfig) -> Streams:
    """The streams of a training text: `accumulate` batches of them.

    Raises:
        DataError: the text is too short for them.
    """
    streams = config.batch * config.accumulate
    if config.history and len(symbols) <= streams * config.seq_len:
        raise DataError(
            f"expected a training text of more than batch x K1 of --bptt = {streams * config.seq_len} characters, "
            f"got {len(symbols)}; try a smaller --batch or K1"
        )
    if config.accumulate > 1 and len(symbols) <= streams * config.seq_len:
        raise DataError(
            f"expected a training text of more than batch x accumulate x seq-len = {streams * config.seq_len} "
            f"characters, got {len(symbols)}; try --accumulate 1"
        )
    return Streams(symbols, streams, config.seq_len)


class Learner:
    """Forward and backward passes over the next chunk of all streams.

    Args:
        network: its gradients are written.
        symbols: (n,) the training text.
        config: batch, accumulate, lengths of chunks, noise and objective.
    """

    def __init__(self, network: Network, symbols: Symbols, config: TrainConfig) -> None:
        self.network, self.config = network, config
        self.streams = streams_of(symbols, config)
        self.unrolled = Unrolled(network, config.batch, config.chunk_steps, noise_of(config), objective_of(config))
        # With one batch, the state stays in the buffers of the chunk; else each batch's is put there in its turn.
        self._states = [self.unrolled.state() for _ in range(config.accumulate)] if config.accumulate > 1 else []
        self._after: list[State] = []
        self._advance = 0  # time steps from the beginning of one chunk to that of the next

    def state(self) -> State:
        """The state before the next chunk: for each of "h" (and "c") an array (L, streams, H)."""
        if not self._states:
            return self.unrolled.state()
        return {name: np.concatenate([s[name] for s in self._states], axis=1) for name in self._states[0]}

    def set_state(self, state: State) -> None:
        """Go on from this state, as `state` returns it."""
        if not self._states:
            self.unrolled.set_state(state)
        else:
            for k, part in enumerate(self._parts()):
                self._states[k] = {name: values[:, part] for name, values in state.items()}

    def reset_state(self) -> None:
        """Go on from a state of zeros."""
        self.set_state({name: np.zeros_like(values) for name, values in self.state().items()})

    def learn(self, position: int, step: int) -> tuple[float, int, int]:
        """Gradient of the objective of the next chunk; the state moves on when it is accepted.

        Args:
            position: time step in the streams.
            step: updates made before, which number the draws of noise.
        Returns:
            Loss in nats per character; time steps read; characters read.
        """
        past = self._past(position)
        inputs, targets = self.streams.chunk(position, self.length(step), past)
        steps, chars = len(targets) - past, targets[past:].size
        self._advance = past + steps - self._past(position + steps)
        if not self._states:
            self._reset_some(step, slice(None))
            loss = self._pass(inputs, targets, past, step)
            return loss, steps, chars
        total, self._after = 0.0, []
        gradients = self.network.gradients.flat
        sums = np.zeros_like(gradients)
        for k, part in enumerate(self._parts()):
            self.unrolled.set_state(self._states[k])
            self._reset_some(step, part)
            total += self._pass(inputs[:, part], targets[:, part], past, step * self.config.accumulate + k)
            sums += gradients
            self._after.append(self.unrolled.state())
        gradients[:] = sums / self.config.accumulate
        return total / self.config.accumulate, steps, chars

    def length(self, step: int) -> int:
        """Time steps that the chunk of this update moves on by, if the text goes on so far."""
        config = self.config
        return random_length(config.seq_len, config.seed, step) if config.random_lengths else config.seq_len

    def _past(self, position: int) -> int:
        """Time steps before `position` over which gradients flow back too."""
        return min(position, self.config.history)

    def _parts(self) -> list[slice]:
        """Which streams are in each batch."""
        batch = self.config.batch
        return [slice(k * batch, (k + 1) * batch) for k in range(self.config.accumulate)]

    def _reset_some(self, step: int, part: slice) -> None:
        """Streams go back to a state of zeros at random.

        Evaluation and sampling begin at zeros, and a stream does so only once in an epoch, the first time with an
        untrained model. A model that never sees zeros again may come to be lost there.
        """
        if not self.config.reset_every or self.network.config.stateless:
            return
        uniform = np.empty(self.streams.batch)
        fill_uniform(uniform, 0.0, 1.0, np.uint64(self.config.seed), PURPOSES["reset"], np.uint64(step))
        which = uniform[part] < 1.0 / self.config.reset_every
        if which.any():
            self.unrolled.reset_streams(which)

    def _pass(self, inputs: np.ndarray, targets: np.ndarray, past: int, draw: int) -> float:
        self.unrolled.forward(inputs, draw)
        self.unrolled.advance = self._advance
        loss = self.unrolled.loss(targets, past)
        self.unrolled.backward()
        return loss

    def accept(self) -> None:
        """Let the next chunk begin from the final state of this one."""
        self._states = self._after or self._states

    def reject(self) -> None:
        """Let the next chunk begin from the state before this one."""
        if not self._states:
            self.unrolled.advance = 0
        self.network.pack()  # without the draw of a recurrent dropout

    def warm_up(self) -> None:
        """Have the kernels compiled; nothing changes but the gradients."""
        state = self.state()
        inputs, targets = self.streams.chunk(0)
        self._pass(inputs[:2, : self.config.batch], targets[:2, : self.config.batch], past=0, draw=0)
        self.network.pack()
        self.set_state(state)
