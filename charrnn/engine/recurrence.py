"""Running a layer through time, forwards and backwards, on several threads.

A cell takes part by `implement`: numba then calls its steps wherever its type of arrays comes in. A step
works on a rectangle: some of the streams (rows) and some of the hidden units (panels). Streams do not
depend on one another, so with enough of them each thread takes a share of the streams through all time
steps and never waits for another. With few streams the threads share the panels of every step instead.
The numbers are the same bit for bit.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import njit, prange
from numba.extending import overload

from charrnn.engine.product import LARGE_WEIGHTS
from charrnn.engine.subnormals import flush_subnormals, restore_mode
from charrnn.engine.tile import W

ROWS_PER_THREAD = 8  # with fewer streams for each thread, weights are fetched too often to pay
WORTH_A_THREAD = 200_000  # multiply-adds in one step below which a second thread costs more than it brings


def forward_step(arrays: Any, phase: int, row: int, batch: int, rows: int, first: int, last: int) -> None:
    """One phase of one time step, for `rows` rows from `row` on and the panels first <= panel < last.

    Row t * batch + b of the gates is stream b at step t; the state before that step stands in the same
    row of the layer's h, the state after it `batch` rows further on.
    """
    raise NotImplementedError("numba kernels call the overload of a cell")


def backward_step(
    arrays: Any, phase: int, row: int, batch: int, rows: int, first: int, last: int, latest: bool
) -> None:
    """The same backwards: the gates' values give way to the gradients of their pre-activations.

    `latest` marks the last time step of the chunk, where no gradient comes from the future.
    """
    raise NotImplementedError("numba kernels call the overload of a cell")


def implement(arrays_class: type, forward: Any, backward: Any) -> None:
    """Let the numba functions `forward` and `backward` be the steps for this NamedTuple of arrays.

    Their parameters have the names of `forward_step` and `backward_step`.
    """

    @overload(forward_step)
    def _forward(arrays, phase, row, batch, rows, first, last):  # type: ignore[no-untyped-def]
        return forward.py_func if getattr(arrays, "instance_class", None) is arrays_class else None

    @overload(backward_step)
    def _backward(arrays, phase, row, batch, rows, first, last, latest):  # type: ignore[no-untyped-def]
        return backward.py_func if getattr(arrays, "instance_class", None) is arrays_class else None


@njit(cache=True, parallel=True)
def _forward_by_rows(arrays, phases, steps, batch, tasks):  # type: ignore[no-untyped-def]
    panels = arrays.h.shape[0]
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * batch // tasks, (task + 1) * batch // tasks
        for t in range(steps):
            for phase in range(phases):
                forward_step(arrays, phase, t * batch + low, batch, high - low, 0, panels)
        restore_mode(mode)


@njit(cache=True, parallel=True)
def forward_by_panels(arrays, phases, start, steps, batch, tasks):  # type: ignore[no-untyped-def]
    """Run a layer from time step `start` on, the threads sharing the panels of each step."""
    panels = arrays.h.shape[0]
    for t in range(start, start + steps):
        for phase in range(phases):
            for task in prange(tasks):
                mode = flush_subnormals()
                low, high = task * panels // tasks, (task + 1) * panels // tasks
                forward_step(arrays, phase, t * batch, batch, batch, low, high)
                restore_mode(mode)


@njit(cache=True, parallel=True)
def _backward_by_rows(arrays, phases, steps, batch, tasks):  # type: ignore[no-untyped-def]
    panels = arrays.h.shape[0]
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * batch // tasks, (task + 1) * batch // tasks
        for back in range(steps):
            row = (steps - 1 - back) * batch + low
            for phase in range(phases):
                backward_step(arrays, phase, row, batch, high - low, 0, panels, back == 0)
        restore_mode(mode)


@njit(cache=True, parallel=True)
def _backward_by_panels(arrays, phases, steps, batch, tasks):  # type: ignore[no-untyped-def]
    panels = arrays.h.shape[0]
    for back in range(steps):
        for phase in range(phases):
            for task in prange(tasks):
                mode = flush_subnormals()
                low, high = task * panels // tasks, (task + 1) * panels // tasks
                row = (steps - 1 - back) * batch
                backward_step(arrays, phase, row, batch, batch, low, high, back == 0)
                restore_mode(mode)


def threads_for_panels(arrays: Any, batch: int) -> int:
    """How many threads are worth their while when they share the panels of each step."""
    panels = arrays.h.shape[0]
    work = batch * panels * arrays.gates.shape[0] * W * W
    return min(numba.get_num_threads(), panels) if work >= WORTH_A_THREAD else 1


def _share_of_threads(arrays: Any, batch: int) -> tuple[bool, int]:
    """Whether threads share the streams (else the panels), and how many threads take part.

    Sharing panels, each thread fetches only its part of the weights, which pays when they come from memory.
    """
    threads, tasks = numba.get_num_threads(), threads_for_panels(arrays, batch)
    if tasks > 1 and batch >= threads * ROWS_PER_THREAD and arrays.w_h.nbytes <= LARGE_WEIGHTS:
        return True, threads
    return tasks == 1, tasks


def forward(arrays: Any, phases: int, steps: int, batch: int) -> None:
    """Run a layer through `steps` time steps of `batch` streams, on as many threads as are worth it.

    Args:
        arrays: a cell's NamedTuple of arrays, with the input's share of the gates already in place.
        phases: phases of the cell's forward step.
    """
    by_rows, tasks = _share_of_threads(arrays, batch)
    if by_rows:
        _forward_by_rows(arrays, phases, steps, batch, tasks)
    else:
        forward_by_panels(arrays, phases, 0, steps, batch, tasks)


def backward(arrays: Any, phases: int, steps: int, batch: int) -> None:
    """Run a layer back through `steps` time steps; its dh already holds the gradient from above."""
    by_rows, tasks = _share_of_threads(arrays, batch)
    run = _backward_by_rows if by_rows else _backward_by_panels
    run(arrays, phases, steps, batch, tasks)
