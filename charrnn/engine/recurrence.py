"""Running a layer through time, forwards and backwards, on several threads.

A cell takes part by `implement`: numba then calls its products and its equations wherever its type of arrays comes
in. Each works on one panel of hidden units and on some of the streams (rows). A time step has one stage or several: a
stage needs what the one before computed in all panels.

Streams do not depend on one another, so with enough of them each thread takes a share of the streams through all time
steps and never waits for another. With few streams the threads share the panels of every step instead.
The numbers are the same bit for bit.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import prange
from numba.extending import overload

from charrnn.engine.kernel import kernel
from charrnn.engine.product import LARGE_WEIGHTS
from charrnn.engine.subnormals import flush_subnormals, restore_mode
from charrnn.engine.tile import W

ROWS_PER_THREAD = 8  # with fewer streams for each thread, weights are fetched too often to pay
WORTH_A_THREAD = 200_000  # multiply-adds in one step below which a second thread costs more than it brings
OVERLOADED = "numba kernels call the overload of a cell"


def forward_products(arrays: Any, stage: int, row: int, batch: int, rows: int, j: int) -> None:
    """The recurrent products of a stage, for panel j of the hidden units and `rows` rows from `row` on.

    Row t * batch + b of the gates is stream b at step t; the state before that step stands in the same
    row of the layer's h, the state after it `batch` rows further on.
    """
    raise NotImplementedError(OVERLOADED)


def forward_equations(arrays: Any, stage: int, row: int, batch: int, rows: int, j: int) -> None:
    """What follows from the products: gates and, in the last stage, the new state."""
    raise NotImplementedError(OVERLOADED)


def backward_products(arrays: Any, stage: int, row: int, batch: int, rows: int, j: int, latest: bool) -> None:
    """The gradients that come through recurrent products, from the next time step or the stage before.

    `latest` marks the last time step of the chunk, where none comes from the future.
    """
    raise NotImplementedError(OVERLOADED)


def backward_equations(arrays: Any, stage: int, row: int, batch: int, rows: int, j: int) -> None:
    """The gates' values give way to the gradients of their pre-activations."""
    raise NotImplementedError(OVERLOADED)


def forward_phase(arrays: Any, phase: int, row: int, batch: int, rows: int, first: int, last: int) -> None:
    """What one thread does of a time step before it waits for the others, for the panels first <= j < last."""
    raise NotImplementedError(OVERLOADED)


def backward_phase(
    arrays: Any, phase: int, row: int, batch: int, rows: int, first: int, last: int, latest: bool
) -> None:
    """The same backwards."""
    raise NotImplementedError(OVERLOADED)


def _forward_stage(arrays, phase, row, batch, rows, first, last):  # type: ignore[no-untyped-def]
    for j in range(first, last):
        forward_products(arrays, phase, row, batch, rows, j)
        forward_equations(arrays, phase, row, batch, rows, j)


def _backward_stage(arrays, phase, row, batch, rows, first, last, latest):  # type: ignore[no-untyped-def]
    for j in range(first, last):
        backward_products(arrays, phase, row, batch, rows, j, latest)
        backward_equations(arrays, phase, row, batch, rows, j)


STUBS = (forward_products, forward_equations, backward_products, backward_equations, forward_phase, backward_phase)
IMPLEMENTED: dict[Any, dict[Any, Any]] = {}  # of each NamedTuple of arrays, what numba takes for each of the stubs


def implement(arrays_class: type, steps: Any, phases: Any = (_forward_stage, _backward_stage)) -> None:
    """Let these functions be the steps for this NamedTuple of arrays.

    Args:
        arrays_class: the type by which numba chooses them; a name of its module, since it is found again by that.
        steps: four functions like `forward_products`, `forward_equations`, `backward_products` and
            `backward_equations`.
        phases: two like `forward_phase` and `backward_phase`; unless given, each stage is a phase.
    """
    IMPLEMENTED[arrays_class] = dict(zip(STUBS, (*steps, *phases), strict=True))


def steps_of(arrays_class: type) -> tuple[Any, ...]:
    """The four products and equations for this NamedTuple of arrays."""
    return tuple(IMPLEMENTED[arrays_class][stub] for stub in STUBS[:4])


def _overload(stub: Any) -> None:
    def implementation(arrays: Any, *rest: Any) -> Any:
        return IMPLEMENTED.get(getattr(arrays, "instance_class", None), {}).get(stub)

    # Inlined, since passing that many arrays to a function takes as long as a small product.
    overload(stub, strict=False, jit_options={"forceinline": True})(implementation)


for _stub in STUBS:
    _overload(_stub)


@kernel(parallel=True)
def _forward_by_rows(arrays, panels, phases, steps, batch, tasks):  # type: ignore[no-untyped-def]
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * batch // tasks, (task + 1) * batch // tasks
        for t in range(steps):
            for phase in range(phases):
                forward_phase(arrays, phase, t * batch + low, batch, high - low, 0, panels)
        restore_mode(mode)


@kernel(parallel=True)
def forward_by_panels(arrays, panels, phases, start, steps, batch, tasks):  # type: ignore[no-untyped-def]
    """Run a layer from time step `start` on, the threads sharing the panels of each step."""
    for t in range(start, start + steps):
        for phase in range(phases):
            for task in prange(tasks):
                mode = flush_subnormals()
                low, high = task * panels // tasks, (task + 1) * panels // tasks
                forward_phase(arrays, phase, t * batch, batch, batch, low, high)
                restore_mode(mode)


@kernel(parallel=True)
def _backward_by_rows(arrays, panels, phases, steps, batch, tasks):  # type: ignore[no-untyped-def]
    for task in prange(tasks):
        mode = flush_subnormals()
        low, high = task * batch // tasks, (task + 1) * batch // tasks
        for back in range(steps):
            row = (steps - 1 - back) * batch + low
            for phase in range(phases):
                backward_phase(arrays, phase, row, batch, high - low, 0, panels, back == 0)
        restore_mode(mode)


@kernel(parallel=True)
def _backward_by_panels(arrays, panels, phases, steps, batch, tasks):  # type: ignore[no-untyped-def]
    for back in range(steps):
        for phase in range(phases):
            for task in prange(tasks):
                mode = flush_subnormals()
                low, high = task * panels // tasks, (task + 1) * panels // tasks
                row = (steps - 1 - back) * batch
                backward_phase(arrays, phase, row, batch, batch, low, high, back == 0)
                restore_mode(mode)


def threads_for_panels(cell: Any, batch: int) -> int:
    """How many threads are worth their while when they share the panels of each step."""
    panels = cell.h.shape[0]
    work = batch * panels * cell.gates.shape[0] * W * W
    return min(numba.get_num_threads(), panels) if work >= WORTH_A_THREAD else 1


def _share_of_threads(cell: Any, batch: int) -> tuple[bool, int]:
    """Whether threads share the streams (else the panels), and how many threads take part.

    Sharing panels, each thread fetches only its part of the weights, which pays when they come from memory.
    """
    threads, tasks = numba.get_num_threads(), threads_for_panels(cell, batch)
    if tasks > 1 and batch >= threads * ROWS_PER_THREAD and cell.w_h.nbytes <= LARGE_WEIGHTS:
        return True, threads
    return tasks == 1, tasks


def forward(cell: Any, arrays: Any, phases: int, steps: int, batch: int) -> None:
    """Run a layer through `steps` time steps of `batch` streams, on as many threads as are worth it.

    Args:
        cell: the cell's NamedTuple of arrays, with the input's share of the gates already in place.
        arrays: `cell` itself, or what wraps it.
        phases: of a forward step of `arrays`.
    """
    by_rows, tasks = _share_of_threads(cell, batch)
    if by_rows:
        _forward_by_rows(arrays, cell.h.shape[0], phases, steps, batch, tasks)
    else:
        forward_by_panels(arrays, cell.h.shape[0], phases, 0, steps, batch, tasks)


def backward(cell: Any, arrays: Any, phases: int, steps: int, batch: int) -> None:
    """Run a layer back through `steps` time steps; its dh already holds the gradient from above."""
    by_rows, tasks = _share_of_threads(cell, batch)
    run = _backward_by_rows if by_rows else _backward_by_panels
    run(arrays, cell.h.shape[0], phases, steps, batch, tasks)
