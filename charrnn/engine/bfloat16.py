"""bfloat16: how this CPU multiplies such numbers.

A bfloat16 number is the upper half of a float32 number: it has the same exponents and 8 significant bits. Arrays of
such numbers are uint16, since NumPy and numba have no bfloat16. Only operands of products are rounded to bfloat16; sums
are float32.

A product takes pairs of neighbours: c + a[2k + 1] b[2k + 1] + a[2k] b[2k]. There are three ways:

    amx         the tiles of Intel's server CPUs, 16 x 32 numbers in a register, see amx.py. Of each 32 products, the
                sum of the even ones and the sum of the odd ones are added to c.
    avx512      the instruction vdpbf16ps, on registers of 32 numbers
    emulated    two float32 multiply-adds

"amx-emulated" is for tests on any CPU: the program for the tiles, with ordinary code in place of each instruction.
"""

from __future__ import annotations

from functools import cache

from llvmlite import binding, ir

from charrnn import runtime
from charrnn.engine.simd import FLOAT, VECTOR_BITS, call, host_vector_bits, multiply_add
from charrnn.errors import ConfigError


class BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's type `bfloat`, which llvmlite does not have."""

    null = "0.0"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


PAIRS = ir.VectorType(BFloat(), 2 * (VECTOR_BITS // 32))  # one register of bfloat16 numbers
SUMS = ir.VectorType(FLOAT, VECTOR_BITS // 32)


@cache
def way() -> str:
    """The way of this process: the one that CHARRNN_BFLOAT16 forces, else the fastest of this CPU.

    Raises:
        ConfigError: the forced way is not available.
    """
    forced = runtime.bfloat16_way()
    there = {"amx": _has_amx, "avx512": _has_avx512}
    if forced is None:
        return next((name for name, has in there.items() if has()), "emulated")
    if forced in there and not there[forced]():
        narrower = f" with vectors of {VECTOR_BITS} bits" if host_vector_bits() > VECTOR_BITS else ""
        refused = f": {runtime.tiles_refused()}" if forced == "amx" and _has_tiles() else ""
        got = f"{runtime.cpu_name()}{narrower}{refused}"
        raise ConfigError(f"expected CHARRNN_BFLOAT16={forced} on a CPU that has it, got {got}; try to unset it")
    return forced


def on_tiles() -> bool:
    """Whether products are computed on tiles."""
    return way().startswith("amx")


def emulates_tiles() -> bool:
    """Whether the instructions of tiles are emulated."""
    return way() == "amx-emulated"


def gains() -> bool:
    """Whether bfloat16 makes products faster on this CPU."""
    return way() in ("amx", "avx512")


def _has_avx512() -> bool:
    """Whether vdpbf16ps is there and makes products faster. Intel's CPUs run it at half the speed of float32."""
    features = binding.get_host_cpu_features()
    return VECTOR_BITS == 512 and bool(features.get("avx512bf16")) and "znver" in binding.get_host_cpu_name()


def _has_tiles() -> bool:
    features = binding.get_host_cpu_features()
    return bool(features.get("amx-tile") and features.get("amx-bf16"))


def _has_amx() -> bool:
    """Whether the tiles are there, and this process may use them."""
    return _has_tiles() and not runtime.tiles_refused()


def dot_pairs(b: ir.IRBuilder, a: ir.Value, w: ir.Value, sums: ir.Value) -> ir.Value:
    """sums + a[2k] w[2k] + a[2k + 1] w[2k + 1] in each lane.

    Args:
        a, w: vectors of int32, each lane the bits of a pair of bfloat16 numbers.
        sums: vector of float32.
    """
    if way() == "avx512":
        pairs = (b.bitcast(a, PAIRS), b.bitcast(w, PAIRS))
        return call(b, "llvm.x86.avx512bf16.dpbf16ps.512", SUMS, sums, *pairs)
    fused = multiply_add(b.module, FLOAT)
    for half in (_odd, _even):  # in the order of vdpbf16ps
        sums = b.call(fused, [half(b, a), half(b, w), sums])
    return sums


def _odd(b: ir.IRBuilder, pairs: ir.Value) -> ir.Value:
    """The second number of each pair as float32."""
    mask = ir.Constant(pairs.type, [0xFFFF0000] * pairs.type.count)
    return b.bitcast(b.and_(pairs, mask), SUMS)


def _even(b: ir.IRBuilder, pairs: ir.Value) -> ir.Value:
    """The first number of each pair as float32."""
    return b.bitcast(b.shl(pairs, ir.Constant(pairs.type, [16] * pairs.type.count)), SUMS)
