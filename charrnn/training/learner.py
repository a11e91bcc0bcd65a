"""The gradient of one update, from a chunk of all streams. They form one batch, or several that are read in turn."""

from __future__ import annotations

import numpy as np

from charrnn.engine.random import PURPOSES, fill_uniform
from charrnn.errors import DataError
from charrnn.model.network import NO_SYMBOL, Network, State
from charrnn.model.noise import Noise, Objective
from charrnn.model.unrolled import Unrolled
from charrnn.text.stored import Symbols
from charrnn.text.streams import Sliceable, Streams
from charrnn.training.config import TrainConfig
from charrnn.training.lengths import random_length
from charrnn.training.shuffle import ShuffledText


def noise_of(config: TrainConfig) -> Noise:
    """The noise that the settings ask for."""
    variational = config.dropout_kind == "variational"
    rates = (config.dropout, config.dropout_output, config.dropout_input, config.weight_drop)
    return Noise(*rates, variational, config.seed)


def objective_of(config: TrainConfig) -> Objective:
    """What the settings ask to minimise in addition to the cross-entropy."""
    return Objective(config.label_smoothing, config.activation_penalty, config.temporal_penalty)


def streams_of(symbols: Sliceable, config: TrainConfig) -> Streams:
    """The streams of a training text: `accumulate` batches of them.

    Raises:
        DataError: the text is too short for them.
    """
    streams = config.batch * config.accumulate
    if config.history and len(symbols) <= streams * config.seq_len:
        smaller = "--accumulate 1" if config.accumulate > 1 else "a smaller --batch or K1"
        raise DataError(
            f"expected a training text of more than batch x accumulate x K1 of --bptt = {streams * config.seq_len} "
            f"characters, got {len(symbols)}; try {smaller}"
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
        network: the network; `learn` writes its gradients.
        symbols: (n,) the training text.
        config: batch, accumulate, lengths of chunks, order of the text, noise and objective.
        line_break: the symbol at the end of each line; pieces of a shuffled text begin after it.
    """

    def __init__(self, network: Network, symbols: Symbols, config: TrainConfig, line_break: int = NO_SYMBOL) -> None:
        self.network, self.config = network, config
        self._shuffled: ShuffledText | None = None
        text: Sliceable = symbols
        if config.shuffle:
            stateless = network.config.stateless
            text = self._shuffled = ShuffledText(symbols, config.shuffle, config.seed, line_break, stateless)
        self.streams = streams_of(text, config)
        self.unrolled = Unrolled(network, config.batch, config.chunk_steps, noise_of(config), objective_of(config))
        # With one batch, the state stays in the buffers of the chunk. With several batches, the state of each batch is
        # copied there before the batch is read.
        batches = config.accumulate if config.accumulate > 1 else 0
        self._states = [self.unrolled.carried.state() for _ in range(batches)]
        self._after: list[State] = []
        self._advance = 0  # time steps from the beginning of one chunk to that of the next

    def state(self) -> State:
        """The state before the next chunk: an array (L, streams, H) for each name of a state, "h" (and "c")."""
        if not self._states:
            return self.unrolled.carried.state()
        return {name: np.concatenate([s[name] for s in self._states], axis=1) for name in self._states[0]}

    def set_state(self, state: State) -> None:
        """Continue from this state, which has the form that `state` returns."""
        if not self._states:
            self.unrolled.carried.set(state)
        else:
            for k, part in enumerate(self._parts()):
                self._states[k] = {name: values[:, part] for name, values in state.items()}

    def reset_state(self) -> None:
        """Continue from a state of zeros."""
        self.set_state({name: np.zeros_like(values) for name, values in self.state().items()})

    def learn(self, position: int, draw: int, epoch: int = 0) -> tuple[float, int, int]:
        """Compute the gradient of the objective of the next chunk; call `accept` or `reject` after it.

        Args:
            position: time step in the streams.
            draw: number of the chunk; it selects its length and the random numbers of the noise.
            epoch: number of passes made before; it selects the order of the text.
        Returns:
            Loss in nats per character; time steps that the chunk moves on; characters that count in the loss.
        """
        if self._shuffled is not None:
            self._shuffled.turn_to(epoch)
        past = self._past(position)
        inputs, targets = self.streams.chunk(position, self.length(draw), past)
        steps, chars = len(targets) - past, targets[past:].size
        self._advance = past + steps - self._past(position + steps)
        if self._states:
            return self._accumulate(inputs, targets, past, draw), steps, chars
        self._reset_some(draw, slice(None))
        return self._pass(inputs, targets, past, draw), steps, chars

    def _accumulate(self, inputs: np.ndarray, targets: np.ndarray, past: int, draw: int) -> float:
        """The mean loss of several batches. Their mean gradient is then in `network.gradients`."""
        total, self._after = 0.0, []
        gradients = self.network.gradients.flat
        sums = np.zeros_like(gradients)
        for k, part in enumerate(self._parts()):
            self.unrolled.carried.set(self._states[k])
            self._reset_some(draw, part)
            total += self._pass(inputs[:, part], targets[:, part], past, draw * self.config.accumulate + k)
            sums += gradients
            self._after.append(self.unrolled.carried.state())
        np.divide(sums, self.config.accumulate, out=gradients)
        return total / self.config.accumulate

    def length(self, draw: int) -> int:
        """How many time steps this chunk moves on, if the text is long enough."""
        config = self.config
        return random_length(config.seq_len, config.seed, draw) if config.random_lengths else config.seq_len

    def _past(self, position: int) -> int:
        """The number of time steps before `position` over which gradients also flow back."""
        return min(position, self.config.history)

    def _parts(self) -> list[slice]:
        """Which streams are in each batch."""
        batch = self.config.batch
        return [slice(k * batch, (k + 1) * batch) for k in range(self.config.accumulate)]

    def _reset_some(self, draw: int, part: slice) -> None:
        """Set the states of randomly chosen streams back to zeros.

        Evaluation and sampling begin from a state of zeros. Without this method, a stream begins from zeros only once
        in an epoch, and the model is still untrained when it does so for the first time. A model that does not see a
        state of zeros again may predict badly from it.
        """
        if not self.config.reset_every or self.network.config.stateless:
            return
        uniform = np.empty(self.streams.batch)
        fill_uniform(uniform, 0.0, 1.0, np.uint64(self.config.seed), PURPOSES["reset"], np.uint64(draw))
        which = uniform[part] < 1.0 / self.config.reset_every
        if which.any():
            self.unrolled.carried.reset_streams(which)

    def _pass(self, inputs: np.ndarray, targets: np.ndarray, past: int, draw: int) -> float:
        self.unrolled.forward(inputs, draw)
        self.unrolled.carried.advance = self._advance
        loss = self.unrolled.loss(targets, past)
        self.unrolled.backward()
        return loss

    def accept(self) -> None:
        """Let the next chunk begin from the final state of this one."""
        self._states = self._after or self._states

    def reject(self) -> None:
        """Let the next chunk begin from the state before this one."""
        if not self._states:
            self.unrolled.carried.advance = 0
        self.network.pack()  # packed again without the dropout of recurrent weights

    def warm_up(self) -> None:
        """Compile the kernels; only the gradients change."""
        state = self.state()
        inputs, targets = self.streams.chunk(0)
        self._pass(inputs[:2, : self.config.batch], targets[:2, : self.config.batch], past=0, draw=0)
        self.network.pack()
        self.set_state(state)
