"""Flushing subnormal numbers to zero while a kernel runs.

Numbers below the normal range occur in second moments that decay and in cells that are forgotten. Each of them costs a
CPU a hundred cycles, and its information is not worth this time. The mode belongs to a thread. It is restored when the
work is done, so that nothing outside the kernels is affected. On CPUs other than x86 nothing is changed.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charrnn.engine.simd import I32

FLUSH = 0x8040  # of MXCSR: flush results to zero, take subnormal operands as zero
X86 = binding.get_process_triple().startswith(("x86_64", "i386", "i686"))


def _control_register(b: ir.IRBuilder, operation: str, slot: ir.Value) -> None:
    """Store MXCSR to a place in memory ("stmxcsr") or load it from there ("ldmxcsr")."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.sse.{operation}")
    b.call(function, [b.bitcast(slot, ir.IntType(8).as_pointer())])


def _emit_flush(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    slot = cgutils.alloca_once_value(b, I32(0))
    if X86:
        _control_register(b, "stmxcsr", slot)
    before = b.load(slot)
    if X86:
        b.store(b.or_(before, I32(FLUSH)), slot)
        _control_register(b, "ldmxcsr", slot)
    return before


def _emit_restore(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    if X86:
        _control_register(b, "ldmxcsr", cgutils.alloca_once_value(b, arguments[0]))
    return context.get_dummy_value()


@intrinsic
def flush_subnormals(typing):  # type: ignore[no-untyped-def]
    """Begin to flush on this thread; returns the mode before, for `restore_mode`."""
    return types.int32(), _emit_flush


@intrinsic
def restore_mode(typing, mode):  # type: ignore[no-untyped-def]
    """Restore this thread's mode."""
    return types.void(types.int32), _emit_restore
