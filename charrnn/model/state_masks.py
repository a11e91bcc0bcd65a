"""What happens to a state between one time step and the next: zoneout and independent lines.

The equations of both belong to the step, see step.py. This module prepares the numbers that they read: the share k of
its previous state that each unit keeps, and the rows that end a line. Zoneout (Krueger et al. 2017): in training, a
unit keeps its previous state at random, so k is 1 or 0. Otherwise k is the rate itself.
"""

from __future__ import annotations

import numpy as np

from charrnn.engine.panels import Array
from charrnn.engine.recurrence import LayerArrays
from charrnn.model.config import ModelConfig
from charrnn.model.noise import Noise


class StateMasks:
    """Zoneout's masks and the ends of lines, of one layer.

    Args:
        config: the model.
        states: the buffers of the states by name.
        arrays: the arrays of the layer.
        batch: B.

    Attributes:
        fresh: (B,) bool, the streams whose first input begins a line.
    """

    def __init__(self, config: ModelConfig, states: dict[str, Array], arrays: LayerArrays, batch: int) -> None:
        self.states, self.arrays, self.batch, self.lines = states, arrays, batch, config.stateless
        self.rates = {name: config.zoneout_cell if k else config.zoneout for k, name in enumerate(states)}
        self.keep = {name: getattr(arrays, f"keep{k}") for k, name in enumerate(states) if config.has_zoneout}
        self.fresh = np.zeros(batch, np.bool_)
        self._expect()

    def begin(self, layer: int, noise: Noise, draw: int | None, steps: int) -> None:
        """Set k for the next steps: the masks of this draw, or the rates if there is no draw."""
        if draw is not None:
            for number, (name, keep) in enumerate(self.keep.items()):
                if self.rates[name]:
                    noise.zoneout(number, self.rates[name], layer, draw, keep, steps * self.batch)
            self.masked = True
        elif self.masked:
            self._expect()

    def _expect(self) -> None:
        for name, keep in self.keep.items():
            keep[:] = self.rates[name]
        self.masked = False

    def begin_lines(self, begins: Array) -> None:
        """Set the states to zeros before a line begins.

        Args:
            begins: (t, B) bool, whether the input of this step begins a line.
        """
        if not self.lines:
            return
        steps, batch = begins.shape
        alive = self.arrays.alive[0]
        alive[: (steps - 1) * batch] = ~begins[1:].reshape(-1)
        alive[(steps - 1) * batch : steps * batch] = 1
        self.fresh = begins[0]
        for state in self.states.values():
            state[:, :batch][:, self.fresh] = 0

    def no_lines(self) -> None:
        """No line begins inside the next steps."""
        if self.lines:
            self.arrays.alive[:] = 1
