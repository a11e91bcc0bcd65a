"""The register tile of the matrix product, compiled once by LLVM and called by every kernel.

The tile is the only part of the engine that takes long to compile, and numba would compile it again inside each kernel
that calls it. So it is a separate native function, and its object code is kept in the compile cache. tile_code.py has
its code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from charrnn.cache import cached_bytes
from charrnn.engine import bfloat16
from charrnn.engine.simd import DOUBLE, FLOAT, I8, I16, VOID, call
from charrnn.engine.tile_code import (
    AMX_PEAK,
    AMX_RELEASE,
    STRIDES,
    build_further_tiles,
    build_tiles,
    is_there,
    tile_symbol,
)


def _load(file: str, build: Callable[[], ir.Module], symbols: list[str]) -> Any:
    """Compile a module, or fetch its code from the cache. Make its functions known to kernels. Return their owner."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True
    )

    def compile_tiles() -> bytes:
        module = binding.parse_assembly(str(build()))
        module.triple = machine.triple
        module.verify()  # raises an error where the compiler would end the process
        return bytes(machine.emit_object(module))

    code = cached_bytes(file, compile_tiles)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    for symbol in symbols:
        binding.add_symbol(symbol, engine.get_function_address(symbol))
    return engine


_engine = _load(
    "tiles.o",
    build_tiles,
    [tile_symbol(name, scalar) for name in (*STRIDES, "vector_tile") for scalar in (FLOAT, DOUBLE)],
)


@cache
def load_tiles(precision: str) -> Any:
    """Load the tiles for "bfloat16" or "int8". Call it before kernels with such arrays are compiled or loaded."""
    scalar = {"bfloat16": I16, "int8": I8}[precision]
    symbols = [
        tile_symbol(name, scalar) for name in ("row_tile", "vector_tile", "panels_tile") if is_there(name, scalar)
    ]
    if scalar == I16 and bfloat16.on_tiles():
        symbols += [AMX_PEAK, AMX_RELEASE]
    return _load(f"{precision}_tiles.o", partial(build_further_tiles, scalar), symbols)


def _emit_call(name: str, context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    """Call a tile; each array argument and the element offset after it become one pointer."""
    values, position = [], 0
    while position < len(arguments):
        kind = signature.args[position]
        if isinstance(kind, types.Array):
            data = context.make_array(kind)(context, b, arguments[position]).data
            values.append(b.gep(data, [arguments[position + 1]]))
            position += 2
        else:
            values.append(arguments[position])
            position += 1
    _, scalar, *_ = (value.type.pointee for value in values if isinstance(value.type, ir.PointerType))
    if is_there(name, scalar):
        call(b, tile_symbol(name, scalar), VOID, *values)
    else:  # in a branch that product.py does not take
        call(b, "llvm.trap", VOID)
    return context.get_dummy_value()


def _tile(name: str) -> Any:
    """A callable for numba kernels: C[rows, W] = start + A[rows, K] @ B[K, W], for 1 to `tile_rows` rows.

    It is called as `tile(rows, a, a_at, a_outer, w, w_at, c, c_at, start, start_at, start_stride, inner, outer)`.
    `*_at` are element offsets. k runs over `outer` blocks of `inner` numbers (W for `row_tile`). In A, the blocks are
    `a_outer` elements apart; in B, one follows the other. The sums begin with the rows at `start`, which are
    `start_stride` apart. If `start` is C, the product is added to C. A bias row has stride 0.
    """

    @intrinsic
    def tile(typing, rows, a, a_at, a_outer, w, w_at, c, c_at, start, start_at, stride, inner, outer):  # type: ignore[no-untyped-def]
        n = types.intp
        return types.void(n, a, n, n, w, n, c, n, start, n, n, n, n), partial(_emit_call, name)

    return tile


row_tile = _tile("row_tile")  # A as stored: rows of a panel
column_tile = _tile("column_tile")  # A transposed: columns of a panel


@intrinsic
def vector_tile(typing, panels, a, a_at, a_outer, w, w_at, w_stride, c, c_at, c_stride, start, start_at, start_stride, outer):  # type: ignore[no-untyped-def]  # fmt: skip  # noqa: E501
    """For numba kernels: C[p, W] = start[p] + a[K] @ B[p, K, W] for 1 to VECTOR_PANELS panels, `*_stride` apart."""
    n = types.intp
    return types.void(n, a, n, n, w, n, n, c, n, n, start, n, n, n), partial(_emit_call, "vector_tile")


@intrinsic
def panels_tile(typing, rows, panels, a, a_at, a_outer, w, w_at, w_stride, c, c_at, c_stride, start, start_at, start_step, start_stride, outer):  # type: ignore[no-untyped-def]  # fmt: skip  # noqa: E501
    """For numba kernels on matrix tiles: C[p, rows, W] = start[p] + A[rows, K] @ B[p, K, W] for several panels p.

    The arguments are those of `row_tile`. From panel to panel, B, C and the start values are `w_stride`, `c_stride` and
    `start_step` elements apart.
    """
    n = types.intp
    signature = types.void(n, n, a, n, n, w, n, n, c, n, n, start, n, n, n, n)
    return signature, partial(_emit_call, "panels_tile")
