"""Turn equations on vectors into one fused loop over several arrays."""

from __future__ import annotations

import inspect
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charrnn.engine.simd import I64, Equations, Vector, lanes_of, load, splat, store


def pointwise(equations: Equations) -> Any:
    """Compile `equations(inputs..., *, scalars...)` into a callable for numba kernels.

    The result is called as `kernel(arrays, offsets, scalars, n)`: `arrays` and `offsets` are tuples with
    an entry for each input and then for each value returned, and element `offsets[j] + k` of array j
    takes part in step k of n. If all offsets are the same, one number stands for them. An output may be in
    the same place as an input. n is a multiple of the lanes.
    Keyword-only parameters of `equations` are run-time scalars.
    """
    parameters = inspect.signature(equations).parameters.values()
    inputs = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        arrays, offsets, scalars, n = arguments
        same = isinstance(signature.args[1], types.Integer)
        pointers = [
            builder.gep(
                context.make_array(kind)(context, builder, builder.extract_value(arrays, j)).data,
                [offsets if same else builder.extract_value(offsets, j)],
            )
            for j, kind in enumerate(signature.args[0].types)
        ]
        scalar = pointers[0].type.pointee
        lanes = lanes_of(scalar)
        constants = {}
        for j, (name, kind) in enumerate(zip(names, signature.args[2].types, strict=True)):
            number = context.cast(builder, builder.extract_value(scalars, j), kind, signature.args[0].types[0].dtype)
            constants[name] = Vector(builder, splat(builder, number, lanes))
        with cgutils.for_range(builder, builder.sdiv(n, I64(lanes))) as loop:
            at = builder.mul(loop.index, I64(lanes))
            places = [builder.gep(p, [at]) for p in pointers]
            values = [Vector(builder, load(builder, p, lanes)) for p in places[:inputs]]
            results = equations(*values, **constants)
            results = results if isinstance(results, tuple) else (results,)
            for place, result in zip(places[inputs:], results, strict=True):
                store(builder, result.value, place)
        return context.get_dummy_value()

    @intrinsic
    def kernel(typing_context, arrays, offsets, scalars, n):  # type: ignore[no-untyped-def]
        return types.void(arrays, offsets, scalars, types.intp), codegen

    return kernel
