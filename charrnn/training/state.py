"""What training changes: the parameters, the optimiser's moments, the average, the hidden state, the progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np

from charrnn.errors import DataError
from charrnn.model.config import ModelConfig
from charrnn.model.initialise import Initialiser
from charrnn.model.network import Network
from charrnn.text.data import Data
from charrnn.training.average import Average
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.finetune import Transferred, transfer
from charrnn.training.learner import Learner
from charrnn.training.optimiser import Optimiser, rate_factors
from charrnn.training.progress import Progress


class TrainingState:
    """A model in training, which can be saved as a checkpoint and restored from one.

    The parameters of a new object are zeros. `begin` and `restore` give it other parameters.

    Args:
        model: the shape of the network.
        config: how it is trained.
        data: what it is trained on.
    Raises:
        DataError: the text is too short, or the model is stateless and the text has no line break.
    """

    def __init__(self, model: ModelConfig, config: TrainConfig, data: Data) -> None:
        if model.stateless and data.vocabulary.line_break < 0:
            raise DataError(
                f"expected a text of lines for --stateless, got {data.path} without a line break; "
                "try a text with line breaks"
            )
        self.model, self.config, self.data = model, config, data
        self.network = Network(model, line_break=data.vocabulary.line_break, precision=config.precision)
        self.learner = Learner(self.network, data.split("train"), config, data.vocabulary.line_break)
        self.optimiser = Optimiser(config, self.network.parameters, rate_factors(config, model))
        self.average = Average(config.ema, self.network.parameters) if config.ema else None
        self.progress = Progress()

    @classmethod
    def begin(
        cls, model: ModelConfig, config: TrainConfig, data: Data, source: Checkpoint | None = None
    ) -> tuple[TrainingState, Transferred | None]:
        """The state before the first step.

        Args:
            model: the shape of the network; with a source, the shape that `finetune.model_for` returns.
            config: how it is trained.
            data: what it is trained on.
            source: a model; training begins with its parameters, and with fresh rows for characters that it lacks.
        Returns:
            The state, and how many characters were kept, new or dropped; None for these without a source.
        """
        state = cls(model, config, data)
        parameters = state.network.parameters
        longest = config.seq_len + config.history
        initialiser = Initialiser(model, config.seed, config.init, config.forget_bias, longest, config.init_scale)
        initialiser.fill(parameters, data.counts)
        transferred = None if source is None else transfer(source, data.vocabulary, parameters)
        state.network.pack()
        if state.average is not None:
            state.average.values.flat[:] = parameters.flat
        return state, transferred

    @classmethod
    def of(cls, checkpoint: Checkpoint, data: Data) -> TrainingState:
        """The state that a checkpoint holds."""
        state = cls(checkpoint.model, checkpoint.training, data)
        state.restore(checkpoint)
        return state

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint of this run."""
        self.network.parameters.set(checkpoint.parameters)
        self.network.pack()
        for moment, values in self.optimiser.moments.items():
            values.set(checkpoint.moments[moment])
        self.optimiser.updates = checkpoint.progress.step
        if self.average is not None:
            self.average.values.set(checkpoint.average)
        self.learner.set_state(checkpoint.state)
        self.progress = checkpoint.progress

    def snapshot(self) -> Checkpoint:
        """A checkpoint of the current state. It shares its arrays with the state: save it before the next step."""
        return Checkpoint(
            model=self.model,
            training=self.config,
            progress=Progress(**asdict(self.progress)),
            vocabulary=self.data.vocabulary,
            data=self.data.fingerprint,
            parameters=dict(self.network.parameters.items()),
            moments={moment: dict(values.items()) for moment, values in self.optimiser.moments.items()},
            state=self.learner.state(),
            form=self.data.form,
            average={} if self.average is None else dict(self.average.values.items()),
        )

    def epochs(self) -> float:
        """Passes over the training text so far, with fraction."""
        return self.progress.epoch + self.progress.position / self.learner.streams.steps

    def move_on(self, steps: int) -> None:
        """Move along the text by some time steps; a new epoch begins from a state of zeros."""
        p = self.progress
        p.position += steps
        if p.position >= self.learner.streams.steps:
            p.epoch, p.position = p.epoch + 1, 0
            self.learner.reset_state()

    def is_finite(self) -> bool:
        """Whether the model, the optimiser and the state of the streams hold finite numbers only."""
        vectors = [self.network.parameters, *self.optimiser.moments.values()]
        numbers = [*(vector.flat for vector in vectors), *self.learner.state().values()]
        return all(np.isfinite(array).all() for array in numbers)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network has the averaged parameters inside the block, if there are any."""
        if self.average is None:
            yield
            return
        try:
            with self.average.in_place_of(self.network.parameters):
                self.network.pack()
                yield
        finally:
            self.network.pack()
