"""One fused loop from assignments of expressions to places in a layer's arrays.

The loop goes over some rows of one panel. Each iteration reads everything that it needs before it writes anything. So
a result may overwrite the numbers that it was computed from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charrnn.engine import simd
from charrnn.engine.expressions import Expression, Operators, evaluate, in_order, is_leaf
from charrnn.engine.simd import I64, Vector, W, lanes_of, load, splat, store

ROWS, LATER_ROWS, STREAMS, UNITS, ROW_SCALARS = "rows", "later rows", "streams", "units", "row scalars"
SIMD_OPERATORS: Operators = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "negate": lambda x: -x,
    "sigmoid": simd.sigmoid,
    "tanh": simd.tanh,
    "exp": simd.exp,
    "relu": lambda x: simd.maximum(x, 0.0),
    "where_positive": lambda x, y: simd.where(simd.positive(x), y, 0.0),
}


class Place(NamedTuple):
    """Where the numbers of one panel stand, for each row.

    Args:
        array: the name of a field of the layer's arrays.
        how: how the array is laid out.
            ROWS: [slots * P, >= T * B, W], a row for each stream at each time step.
            LATER_ROWS: the same, one time step later.
            STREAMS: [slots * P, B, W], a row for each stream.
            UNITS: (slots * P * W,), the same for all rows.
            ROW_SCALARS: (slots, T * B), one number for all units of a row.
        slot: which of the slots.
    """

    array: str
    how: str = ROWS
    slot: int = 0


Program = Sequence[tuple[Place, Any]]  # the places that are written, and the expressions


def fuse(program: Program) -> Any:
    """Compile a program into a callable for numba kernels.

    The leaves of its expressions are places. The result is called as `run(arrays, stage, row, batch, rows, j, latest)`,
    with a NamedTuple of arrays, among them dh [P, T * B, W]. It works on panel j of the hidden units and on `rows` rows
    from `row` on, which belong to one time step of `batch` streams. It does not use `stage` and `latest`.
    """
    graph = in_order(y for _, y in program if isinstance(y, Expression))
    leaves = dict.fromkeys(y.arguments[0] for y in graph if is_leaf(y))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kinds, (arrays, _, row, batch, rows, j, _) = signature.args[0], arguments
        panels = builder.extract_value(_array(context, builder, kinds, arrays, Place("dh")).shape, 0)
        panel = _Panel(builder, row, batch, j, panels)
        addresses = {
            place: panel.address(place, _array(context, builder, kinds, arrays, place))
            for place in [*leaves, *(place for place, _ in program)]
        }
        lanes = lanes_of(_array(context, builder, kinds, arrays, Place("dh")).data.type.pointee)
        with cgutils.for_range(builder, builder.sdiv(builder.mul(rows, I64(W)), I64(lanes))) as loop:
            at = builder.mul(loop.index, I64(lanes))

            def given(y: Expression) -> Vector | None:
                return addresses[y.arguments[0]].load(builder, at, lanes) if is_leaf(y) else None

            values = evaluate([expression for _, expression in program], given, SIMD_OPERATORS)
            for (place, _), value in zip(program, values, strict=True):
                store(builder, value.value, builder.gep(addresses[place].pointer, [at]))
        return context.get_dummy_value()

    @intrinsic
    def run(typing_context, arrays, stage, row, batch, rows, j, latest):  # type: ignore[no-untyped-def]
        return types.void(arrays, stage, types.intp, types.intp, types.intp, types.intp, latest), codegen

    return run


class Address:
    """Where a place begins in memory, in the kernel that is being built."""

    def __init__(self, pointer: ir.Value, how: str) -> None:
        self.pointer, self.how = pointer, how

    def load(self, builder: ir.IRBuilder, at: ir.Value, lanes: int) -> Vector:
        """The numbers for the elements from `at` on. Elements are counted row after row."""
        if self.how == ROW_SCALARS:
            number = builder.load(builder.gep(self.pointer, [builder.sdiv(at, I64(W))]))
            return Vector(builder, splat(builder, number, lanes))
        if self.how == UNITS:
            at = builder.and_(at, I64(W - 1))
        return Vector(builder, load(builder, builder.gep(self.pointer, [at]), lanes))


class _Panel:
    """Computes addresses for the rows of one call."""

    def __init__(self, builder: ir.IRBuilder, row: ir.Value, batch: ir.Value, j: ir.Value, panels: ir.Value) -> None:
        self.builder, self.row, self.batch, self.j, self.panels = builder, row, batch, j, panels

    def address(self, place: Place, array: Any) -> Address:
        b = self.builder
        panel = b.add(b.mul(I64(place.slot), self.panels), self.j)
        if place.how == UNITS:
            return Address(b.gep(array.data, [b.mul(panel, I64(W))]), UNITS)
        length = b.extract_value(array.shape, 1)
        if place.how == ROW_SCALARS:
            return Address(b.gep(array.data, [b.add(b.mul(I64(place.slot), length), self.row)]), ROW_SCALARS)
        row = {
            ROWS: lambda: self.row,
            LATER_ROWS: lambda: b.add(self.row, self.batch),
            STREAMS: lambda: b.srem(self.row, self.batch),
        }[place.how]()
        return Address(b.gep(array.data, [b.mul(b.add(b.mul(panel, length), row), I64(W))]), place.how)


def _array(context: Any, builder: ir.IRBuilder, kinds: Any, arrays: ir.Value, place: Place) -> Any:
    """The array of a place, as numba's struct."""
    field = kinds.fields.index(place.array)
    return context.make_array(kinds.types[field])(context, builder, builder.extract_value(arrays, field))
