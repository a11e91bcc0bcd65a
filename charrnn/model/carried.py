"""The state that a network carries from chunk to chunk, in the buffers of its layers."""

from __future__ import annotations

import numpy as np

from charrnn.engine.panels import Array, rows_of, set_rows
from charrnn.model.network import State
from charrnn.model.unrolled_layer import UnrolledLayer


class CarriedState:
    """The state before the next chunk of B streams.

    A layer's buffer of states has B rows for each time step of the last chunk, and before them B rows for the state
    before it. The next chunk begins from the rows after `advance` steps. `make_room` moves them to the front.

    Args:
        layers: the layers of the network.
        batch: B.
        hidden: H.

    Attributes:
        advance: after this time step of the last chunk, the next one begins.
    """

    def __init__(self, layers: list[UnrolledLayer], batch: int, hidden: int) -> None:
        self._batch, self._hidden, self.advance = batch, hidden, 0
        self._buffers = {name: [layer.states[name] for layer in layers] for name in layers[0].states}

    def state(self) -> State:
        """An array (L, B, H) for each state of the cell."""
        return self._copied(self.advance * self._batch, self._batch)

    def after(self, steps: int, stream: int) -> State:
        """The state of one stream after this many steps of the last chunk: arrays (L, 1, H)."""
        return self._copied(steps * self._batch + stream, 1)

    def set(self, state: State) -> None:
        """Begin from this state, as `state` returns it."""
        self.advance = 0
        self._write(0, self._batch, state)

    def set_stream(self, stream: int, state: State) -> None:
        """Begin in one stream from this state, as `after` returns it."""
        self.make_room()
        self._write(stream, 1, state)

    def reset(self) -> None:
        """Begin from a state of zeros."""
        self.advance = 0
        self._clear(np.ones(self._batch, np.bool_))

    def reset_streams(self, which: Array) -> None:
        """Begin in some streams from a state of zeros.

        Args:
            which: (B,) bool.
        """
        self.make_room()
        self._clear(which)

    def make_room(self) -> None:
        """Move the state to the front of the buffers, where the next chunk begins."""
        end = self.advance * self._batch
        if end:
            for buffers in self._buffers.values():
                for buffer in buffers:
                    buffer[:, : self._batch] = buffer[:, end : end + self._batch].copy()
        self.advance = 0

    def _copied(self, row: int, rows: int) -> State:
        return {
            name: np.stack([rows_of(buffer[:, row : row + rows], self._hidden) for buffer in buffers])
            for name, buffers in self._buffers.items()
        }

    def _write(self, row: int, rows: int, state: State) -> None:
        for name, values in state.items():
            for buffer, layer_values in zip(self._buffers[name], values, strict=True):
                buffer[:, row : row + rows] = 0  # also clears the padding, where a broken update may have left NaN
                set_rows(buffer[:, row : row + rows], layer_values)

    def _clear(self, which: Array) -> None:
        for buffers in self._buffers.values():
            for buffer in buffers:
                buffer[:, : self._batch][:, which] = 0
