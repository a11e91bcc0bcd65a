"""A second process compiles the kernels that training needs last, while this one compiles those that it needs first.

A kernel is compiled by one process at a time, see `Compilation.of`; the other one then finds it in the compile cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from functools import partial
from types import TracebackType

from charrnn import runtime
from charrnn.cache import compilation
from charrnn.model.config import OWN, ModelConfig
from charrnn.training.config import TrainConfig

COMMAND = (sys.executable, "-P", "-m", __name__)  # -P: nothing is imported from the working folder


class Helper:
    """Starts the second process when this one compiles its first kernel. It is stopped at the end of a `with`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def offer(self, model: ModelConfig, config: TrainConfig) -> None:
        """From now on, help with the kernels of this model.

        There is no help on one CPU, with --threads 1, and for a cell of the user's own.
        """
        cpus = min(runtime.available_cpus(), runtime.threads())
        if cpus > 1 and sys.executable and not model.cell.startswith(OWN):
            compilation.began = partial(self._start, json.dumps([model.as_dict(), config.as_dict()]))

    def _start(self, description: str) -> None:
        quiet = subprocess.DEVNULL
        with suppress(OSError):  # without help it takes longer
            self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, text=True)
            assert self._process.stdin is not None
            with self._process.stdin as pipe:
                pipe.write(description)

    def stop(self) -> None:
        """The help is no longer needed."""
        compilation.began = lambda: None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def compile_last_kernels(model: ModelConfig, config: TrainConfig) -> None:
    """Compile the backward pass and the update for a model: run them for one character of each stream.

    The products between layers are left to the other process, which needs them in its forward pass.
    """
    from charrnn.model.network import Network
    from charrnn.model.unrolled import Unrolled
    from charrnn.training.learner import noise_of, objective_of
    from charrnn.training.optimiser import warm_up

    network = Network(model, precision=config.precision)
    unrolled = Unrolled(network, config.batch, 1, noise_of(config), objective_of(config))
    unrolled.steps = 1
    unrolled.recurrence_backward(unrolled.layers[-1])
    unrolled.output_gradient(config.batch)
    unrolled.layer_gradient(0, unrolled.layers[0], config.batch)
    warm_up(config, network.dtype)
    unrolled.loss(unrolled.symbols[None, : config.batch])


if __name__ == "__main__":
    runtime.prepare()
    shape, settings = json.load(sys.stdin)
    compile_last_kernels(ModelConfig(**shape), TrainConfig(**settings))
