"""Flushing subnormal numbers to zero while a kernel runs.

Numbers below the normal range occur in second moments that decay and in cells that are forgotten. Each of them costs a
CPU a hundred cycles, and its information is not worth this time. The mode belongs to a thread. It is restored when the
work is done, so that nothing outside the kernels is affected. On CPUs other than x86 and 64-bit ARM nothing is changed.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charrnn.engine.simd import I8, I32, I64, ON_ARM, ON_X86, VOID, call

FLUSH_X86 = 0x8040  # of MXCSR: flush results to zero, take subnormal operands as zero
FLUSH_ARM = 1 << 24  # of FPCR: both, too
POINTER = I8.as_pointer()


def _mode(b: ir.IRBuilder) -> ir.Value:
    """This thread's control register."""
    if ON_ARM:
        return b.trunc(call(b, "llvm.aarch64.get.fpcr", I64), I32)
    slot = cgutils.alloca_once_value(b, I32(0))
    if ON_X86:
        call(b, "llvm.x86.sse.stmxcsr", VOID, b.bitcast(slot, POINTER))
    return b.load(slot)


def _set_mode(b: ir.IRBuilder, mode: ir.Value) -> None:
    if ON_ARM:
        call(b, "llvm.aarch64.set.fpcr", VOID, b.zext(mode, I64))
    elif ON_X86:
        slot = b.bitcast(cgutils.alloca_once_value(b, mode), POINTER)
        call(b, "llvm.x86.sse.ldmxcsr", VOID, slot)


def _emit_flush(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    before = _mode(b)
    _set_mode(b, b.or_(before, I32(FLUSH_ARM if ON_ARM else FLUSH_X86)))
    return before


def _emit_restore(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    _set_mode(b, arguments[0])
    return context.get_dummy_value()


@intrinsic
def flush_subnormals(typing):  # type: ignore[no-untyped-def]
    """Begin to flush on this thread; returns the mode before, for `restore_mode`."""
    return types.int32(), _emit_flush


@intrinsic
def restore_mode(typing, mode):  # type: ignore[no-untyped-def]
    """Restore this thread's mode."""
    return types.void(types.int32), _emit_restore
