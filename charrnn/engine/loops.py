"""Loops in the LLVM code that is being built."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.engine.simd import I64


def counted_loop(b: ir.IRBuilder, count: ir.Value, carried: list[ir.Value]) -> Any:
    """Open `for k in range(count)`, count >= 1, with SSA values that each iteration passes on to the next one.

    Returns:
        (k, values, close).
    """
    entry, body, leave = b.block, b.append_basic_block(), b.append_basic_block()
    b.branch(body)
    b.position_at_end(body)
    k = b.phi(I64)
    k.add_incoming(I64(0), entry)
    values = []
    for value in carried:
        phi = b.phi(value.type)
        phi.add_incoming(value, entry)
        values.append(phi)

    def close(updated: list[ir.Value]) -> None:
        following, last = b.add(k, I64(1)), b.block
        k.add_incoming(following, last)
        for phi, value in zip(values, updated, strict=True):
            phi.add_incoming(value, last)
        b.cbranch(b.icmp_signed("<", following, count), body, leave)
        b.position_at_end(leave)

    return k, values, close
