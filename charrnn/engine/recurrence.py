"""Running a layer through time, forwards and backwards, on several threads.

A `Plan` says what a time step does: the products of each of its stages, and the equations after them. `kernels_for`
makes the kernels from the plan. A stage needs the results of the stage before it in all panels of hidden units.

Streams do not depend on one another. So with enough streams, each thread takes a share of the streams through all time
steps and never waits for another thread. With few streams, the threads share the panels of every step instead.
The results are the same bit for bit.
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numba
from numba import prange

from charrnn.engine.fused import Program, fuse
from charrnn.engine.kernel import inlined, kernel
from charrnn.engine.normalise import normalised_backward, normalised_forward
from charrnn.engine.product import LARGE_WEIGHTS, add_products, begin_products, release_tiles
from charrnn.engine.simd import W
from charrnn.engine.subnormals import flush_subnormals, restore_mode

ROWS_PER_THREAD = 8  # with fewer streams for each thread, the weights are fetched too often
WORTH_A_THREAD = 200_000  # multiply-adds in one step; with fewer, a second thread costs more time than it saves
NORMALISED_PHASES = 3  # of a stage, see normalise.py


# The arrays of a layer: weights and buffers. T time steps of B streams are N = T * B rows; P panels hold H units.
# Row t * B + b is stream b at step t. The state before that step stands in the same row of `state0`. The state after
# that step stands B rows later. A layer has the arrays that its plan needs.
#
#     gates        [slots * P, N, W]: pre-activations, later what is kept of them, at last their gradients
#     dh           [P, N, W]: gradient of what the layer gives to those above it
#     single_bias  (singles * P * W,): start values of separate products, see model/step.py
#     partial      [partial * P, B, W]: gradients that a later stage finishes, see Programs
#     units        (vectors * P * W,): a number for each unit
#     d_units      [vectors * P, N, W]: their gradients, row by row
#     output       [P, N, W]: h before a line's end sets it to zeros
#     alive        (1, N): 0 where a line begins after this row, else 1
#
# One of each for every state, numbered; h is number 0:
#
#     state        [P, B + N, W]
#     carried      [P, B, W]: the part of its gradient that does not come through products with h
#     keep         [P, N, W]: share that zoneout keeps
#
# One of each for every stage, numbered:
#
#     operand      [P, N, W]: the operand of its products; for stage 0 it is h, [P, B + N, W]
#     d_operand    [P, B, W]: the gradient of the operand
#     filled       the slots of `gates` that its products fill
#     weights      [filled slots * P, P * W, W]
#     weights_t    [P, filled slots * P * W, W]
#
# With products in bfloat16, weights and weights_t hold bfloat16. The arrays that they are multiplied with have copies
# in bfloat16:
#
#     rounded_gates    of `gates`, when these are gradients
#     rounded_output   of `output`
#     rounded_operand  of a stage's `operand`; only stage 0 has it in float32 too
#     rounded_filled   of `filled`
LayerArrays = Any  # a NamedTuple of `arrays_type`
_TYPE_NAME, _SEPARATOR = "LayerArrays", "__"


@cache
def arrays_type(fields: tuple[str, ...]) -> Any:
    """The NamedTuple with these fields."""
    return namedtuple(_SEPARATOR.join([_TYPE_NAME, *fields]), fields, module=__name__)


def __getattr__(name: str) -> Any:
    """The types of `arrays_type` by their names. The compile cache finds them by these names."""
    first, *fields = name.split(_SEPARATOR)
    if first == _TYPE_NAME and fields:
        return arrays_type(tuple(fields))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Plan:
    """What a time step does.

    Args:
        name: plans that do the same have the same name.
        fields: the names of the layer's arrays.
        forward, backward: for each stage, the equations after its products.
        products: for each stage, in how many slots a product is added to the numbers that are already there.
        singles: how many further slots hold a separate product of the first stage.
        lines: whether the state is set to zeros between lines.
        rounded: whether products are computed in bfloat16.
        completed: for each slot, the stage in which it is complete; () if slots are not normalised.
        finished: for each slot, the stage in which its gradient is complete; () if slots are not normalised.
    """

    name: str
    fields: tuple[str, ...]
    forward: tuple[Program, ...]
    backward: tuple[Program, ...]
    products: tuple[int, ...]
    singles: int
    lines: bool
    rounded: bool
    completed: tuple[int, ...]
    finished: tuple[int, ...]

    def multiplied(self, name: str) -> str:
        """The name of the array that products take in place of this one."""
        return f"rounded_{name}" if self.rounded else name

    @property
    def stages(self) -> int:
        """Stages of a time step."""
        return len(self.forward)

    @property
    def phases(self) -> int:
        """How often the threads wait for each other in a time step, forwards or backwards."""
        return self.stages * (NORMALISED_PHASES if self.completed else 1)


class Kernels(NamedTuple):
    """The functions that run a layer. Kernels call `forward_phase`; the others are kernels themselves."""

    forward_phase: Any
    forward_by_panels: Any
    forward_by_rows: Any
    backward_by_panels: Any
    backward_by_rows: Any


_KERNELS: dict[str, Kernels] = {}


def kernels_for(plan: Plan) -> Kernels:
    """The kernels that run a plan. They are made once."""
    if plan.name not in _KERNELS:
        _KERNELS[plan.name] = Kernels(*_forward_kernels(plan), *_backward_kernels(plan))
    return _KERNELS[plan.name]


def _by_stage(name: str, functions: list[Any]) -> Any:
    """A function that calls number `stage` of these functions. All have the same arguments."""
    if len(functions) == 1:
        return functions[0]
    number, last, others = len(functions) - 1, functions[-1], _by_stage(name, functions[:-1])

    @inlined(f"{name}_{number}")
    def run(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
        if stage == number:
            last(arrays, stage, row, batch, rows, j, latest)
        else:
            others(arrays, stage, row, batch, rows, j, latest)

    return run


def _forward_products(plan: Plan, stage: int) -> Any:
    """The products of a stage, for panel j of the hidden units and `rows` rows from `row` on."""
    count, singles = plan.products[stage], plan.singles if stage == 0 else 0
    names = (plan.multiplied(f"operand{stage}"), f"weights{stage}", f"filled{stage}")
    operand, weights, filled = map(plan.fields.index, names)

    @inlined(f"{plan.name}_{stage}")
    def forward_products(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
        panels = arrays.dh.shape[0]
        if count > 0:
            add_products(arrays[operand], row, rows, arrays[weights], j, panels, count, arrays[filled], row)
        if singles > 0:
            first = count * panels + j
            begin_products(
                arrays[operand], row, rows, arrays[weights], first, panels, singles,
                arrays[filled], row, arrays.single_bias, j,
            )  # fmt: skip

    return forward_products


def _backward_products(plan: Plan, stage: int) -> Any:
    """The products that bring gradients to a stage: from the one after it, or from the next time step.

    `latest` marks the last time step of the chunk, where no gradient comes from the future.
    """
    last = stage == plan.stages - 1
    source = 0 if last else stage + 1
    filled, weights = map(plan.fields.index, (plan.multiplied(f"filled{source}"), f"weights_t{source}"))
    to_rows = last and not plan.lines
    target = plan.fields.index("dh" if to_rows else f"d_operand{source}")
    none = last and plan.products[0] + plan.singles == 0

    @inlined(f"{plan.name}_{stage}")
    def backward_products(arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
        d = arrays[target]
        at = row if to_rows else row % batch
        if not to_rows:
            d[j, at : at + rows] = 0
        if not none and not (last and latest):
            add_products(arrays[filled], row + batch * last, rows, arrays[weights], j, 1, 1, d, at)

    return backward_products


def _both_by_stage(plan: Plan, way: str, products: Any, programs: tuple[Program, ...]) -> tuple[Any, Any]:
    """Products and equations of all stages, each as one function."""
    name = f"{plan.name}_{way}"
    return (
        _by_stage(f"{name}_products", [products(plan, stage) for stage in range(plan.stages)]),
        _by_stage(f"{name}_equations", [fuse(program) for program in programs]),
    )


def _forward_phase(plan: Plan) -> Any:
    """The part of a time step that one thread does before it waits for the others: the panels first <= j < last."""
    products, equations = _both_by_stage(plan, "forward", _forward_products, plan.forward)
    if plan.completed:
        return normalised_forward(plan.name, plan.completed, products, equations)

    @inlined(plan.name)
    def forward_phase(arrays, phase, row, batch, rows, first, last):  # type: ignore[no-untyped-def]
        for j in range(first, last):
            products(arrays, phase, row, batch, rows, j, False)
            equations(arrays, phase, row, batch, rows, j, False)

    return forward_phase


def _backward_phase(plan: Plan) -> Any:
    """The same backwards."""
    products, equations = _both_by_stage(plan, "backward", _backward_products, plan.backward)
    stages = plan.stages
    if plan.completed:
        return normalised_backward(plan.name, plan.finished, stages, products, equations, plan.rounded)

    @inlined(plan.name)
    def backward_phase(arrays, phase, row, batch, rows, first, last, latest):  # type: ignore[no-untyped-def]
        stage = stages - 1 - phase
        for j in range(first, last):
            products(arrays, stage, row, batch, rows, j, latest)
            equations(arrays, stage, row, batch, rows, j, latest)

    return backward_phase


def _forward_kernels(plan: Plan) -> tuple[Any, Any, Any]:
    forward_phase, phases = _forward_phase(plan), plan.phases

    @kernel(plan.name, parallel=True)
    def forward_by_panels(arrays, start, steps, batch, tasks):  # type: ignore[no-untyped-def]
        panels = arrays.dh.shape[0]
        for t in range(start, start + steps):
            for phase in range(phases):
                for task in prange(tasks):
                    mode = flush_subnormals()
                    low, high = task * panels // tasks, (task + 1) * panels // tasks
                    forward_phase(arrays, phase, t * batch, batch, batch, low, high)
                    release_tiles(arrays.weights0)
                    restore_mode(mode)

    @kernel(plan.name, parallel=True)
    def forward_by_rows(arrays, steps, batch, tasks):  # type: ignore[no-untyped-def]
        panels = arrays.dh.shape[0]
        for task in prange(tasks):
            mode = flush_subnormals()
            low, high = task * batch // tasks, (task + 1) * batch // tasks
            for t in range(steps):
                for phase in range(phases):
                    forward_phase(arrays, phase, t * batch + low, batch, high - low, 0, panels)
            release_tiles(arrays.weights0)
            restore_mode(mode)

    return forward_phase, forward_by_panels, forward_by_rows


def _backward_kernels(plan: Plan) -> tuple[Any, Any]:
    backward_phase, phases = _backward_phase(plan), plan.phases

    @kernel(plan.name, parallel=True)
    def backward_by_panels(arrays, steps, batch, tasks):  # type: ignore[no-untyped-def]
        panels = arrays.dh.shape[0]
        for back in range(steps):
            row = (steps - 1 - back) * batch
            for phase in range(phases):
                for task in prange(tasks):
                    mode = flush_subnormals()
                    low, high = task * panels // tasks, (task + 1) * panels // tasks
                    backward_phase(arrays, phase, row, batch, batch, low, high, back == 0)
                    release_tiles(arrays.weights0)
                    restore_mode(mode)

    @kernel(plan.name, parallel=True)
    def backward_by_rows(arrays, steps, batch, tasks):  # type: ignore[no-untyped-def]
        panels = arrays.dh.shape[0]
        for task in prange(tasks):
            mode = flush_subnormals()
            low, high = task * batch // tasks, (task + 1) * batch // tasks
            for back in range(steps):
                row = (steps - 1 - back) * batch + low
                for phase in range(phases):
                    backward_phase(arrays, phase, row, batch, high - low, 0, panels, back == 0)
            release_tiles(arrays.weights0)
            restore_mode(mode)

    return backward_by_panels, backward_by_rows


def threads_for_panels(arrays: LayerArrays, batch: int) -> int:
    """How many threads save time when they share the panels of each step."""
    panels = arrays.dh.shape[0]
    work = batch * panels * len(arrays.gates) * W * W
    return min(numba.get_num_threads(), panels) if work >= WORTH_A_THREAD else 1


def _share_of_threads(plan: Plan, arrays: LayerArrays, batch: int) -> tuple[bool, int]:
    """Whether threads share the streams (else the panels), and how many threads take part.

    When threads share the panels, each thread fetches only its part of the weights. This is faster when the weights
    come from memory.
    """
    threads, tasks = numba.get_num_threads(), threads_for_panels(arrays, batch)
    weights = sum(getattr(arrays, f"weights{stage}").nbytes for stage in range(plan.stages))
    if tasks > 1 and batch >= threads * ROWS_PER_THREAD and weights <= LARGE_WEIGHTS:
        return True, threads
    return tasks == 1, tasks


def forward(plan: Plan, arrays: LayerArrays, steps: int, batch: int) -> None:
    """Run a layer through `steps` time steps of `batch` streams, on as many threads as save time.

    The gates must already hold the input's share.
    """
    by_rows, tasks = _share_of_threads(plan, arrays, batch)
    if by_rows:
        kernels_for(plan).forward_by_rows(arrays, steps, batch, tasks)
    else:
        kernels_for(plan).forward_by_panels(arrays, 0, steps, batch, tasks)


def backward(plan: Plan, arrays: LayerArrays, steps: int, batch: int) -> None:
    """Run a layer back through `steps` time steps; dh holds the gradient from above."""
    by_rows, tasks = _share_of_threads(plan, arrays, batch)
    run = kernels_for(plan).backward_by_rows if by_rows else kernels_for(plan).backward_by_panels
    run(arrays, steps, batch, tasks)
