"""The tile registers of AMX, which Intel's server CPUs have from Sapphire Rapids on: their instructions, for LLVM.

There are eight tile registers of up to 16 rows of 64 bytes. Each thread first loads a configuration that says how many
rows each register has. One instruction multiplies two tiles: C[16, 16] += A[16, 32] B[32, 16], where A and B are
bfloat16 and B has two rows of k side by side (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
chapter 18).

`Emulated` replaces each instruction by ordinary code, so that everything else can be tested on any CPU.
"""

from __future__ import annotations

from llvmlite import ir

from charrnn.engine.bfloat16 import emulates_tiles
from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import FLOAT, I8, I32, I64, VOID, call

TILES, TILE_ROWS, ROW_BYTES = 8, 16, 64
MOST_ROWS = 2 * TILE_ROWS  # of C in one product
CONFIGURATION, BYTES_AT, ROWS_AT = 64, 16, 48  # bytes in all; where the tiles' bytes per row, and their rows, begin


class Hardware:
    """The instructions of the CPU."""

    def __init__(self, b: ir.IRBuilder) -> None:
        self.b = b

    def _call(self, name: str, *arguments: ir.Value) -> None:
        call(self.b, f"llvm.x86.{name}", VOID, *arguments)

    def release(self) -> None:
        self._call("tilerelease")

    def store_configuration(self, place: ir.Value) -> None:
        self._call("sttilecfg", place)

    def load_configuration(self, place: ir.Value) -> None:
        self._call("ldtilecfg", place)

    def zero(self, tile: int) -> None:
        self._call("tilezero", I8(tile))

    def load(self, tile: int, place: ir.Value, stride: ir.Value) -> None:
        """Load rows that are `stride` bytes apart."""
        self._call("tileloadd64", I8(tile), place, stride)

    def store(self, tile: int, place: ir.Value, stride: ir.Value) -> None:
        self._call("tilestored64", I8(tile), place, stride)

    def multiply_add(self, c: int, a: int, w: int) -> None:
        self._call("tdpbf16ps", I8(c), I8(a), I8(w))


class Emulated:
    """The same instructions as ordinary code. The registers belong to one call of the function that is built."""

    def __init__(self, b: ir.IRBuilder) -> None:
        self.b = b
        self.now = b.alloca(ir.ArrayType(I8, CONFIGURATION))
        self.release()
        self.tiles = b.alloca(ir.ArrayType(I32, TILES * TILE_ROWS * ROW_BYTES // 4))

    def release(self) -> None:
        self.b.store(ir.Constant(self.now.type.pointee, None), self.now)

    def _copy(self, source: ir.Value, target: ir.Value) -> None:
        k, _, close = counted_loop(self.b, I64(CONFIGURATION), [])
        self.b.store(self.b.load(self.b.gep(source, [k])), self.b.gep(target, [k]))
        close([])

    def _configured(self) -> ir.Value:
        return self.b.bitcast(self.now, I8.as_pointer())

    def store_configuration(self, place: ir.Value) -> None:
        self._copy(self._configured(), place)

    def load_configuration(self, place: ir.Value) -> None:
        self._copy(place, self._configured())

    def _rows(self, tile: int) -> ir.Value:
        return self.b.zext(self.b.load(self.b.gep(self._configured(), [I64(ROWS_AT + tile)])), I64)

    def _words(self, tile: int) -> ir.Value:
        size = self.b.load(self.b.gep(self._configured(), [I64(BYTES_AT + 2 * tile)]))
        return self.b.udiv(self.b.zext(size, I64), I64(4))

    def _element(self, tile: int, row: ir.Value, word: ir.Value) -> ir.Value:
        at = self.b.add(self.b.mul(self.b.add(row, I64(tile * TILE_ROWS)), I64(ROW_BYTES // 4)), word)
        return self.b.gep(self.b.bitcast(self.tiles, I32.as_pointer()), [at])

    def _move(self, tile: int, place: ir.Value, stride: ir.Value, loads: bool) -> None:
        b = self.b
        row, _, close_rows = counted_loop(b, self._rows(tile), [])
        word, _, close_words = counted_loop(b, self._words(tile), [])
        outside = b.bitcast(b.gep(place, [b.add(b.mul(row, stride), b.mul(word, I64(4)))]), I32.as_pointer())
        inside = self._element(tile, row, word)
        source, target = (outside, inside) if loads else (inside, outside)
        b.store(b.load(source, align=1), target, align=1)
        close_words([])
        close_rows([])

    def zero(self, tile: int) -> None:
        first = self.b.gep(self.b.bitcast(self.tiles, I32.as_pointer()), [I64(tile * TILE_ROWS * ROW_BYTES // 4)])
        k, _, close = counted_loop(self.b, I64(TILE_ROWS * ROW_BYTES // 4), [])
        self.b.store(I32(0), self.b.gep(first, [k]))
        close([])

    def load(self, tile: int, place: ir.Value, stride: ir.Value) -> None:
        self._move(tile, place, stride, loads=True)

    def store(self, tile: int, place: ir.Value, stride: ir.Value) -> None:
        self._move(tile, place, stride, loads=False)

    def _half(self, word: ir.Value, odd: bool) -> ir.Value:
        b = self.b
        return b.bitcast(b.and_(word, I32(0xFFFF0000)) if odd else b.shl(word, I32(16)), FLOAT)

    def multiply_add(self, c: int, a: int, w: int) -> None:
        b = self.b
        row, _, close_rows = counted_loop(b, self._rows(c), [])
        column, _, close_columns = counted_loop(b, self._words(c), [])
        none = ir.Constant(FLOAT, 0.0)
        k, sums, close_k = counted_loop(b, self._words(a), [none, none])
        x, weight = b.load(self._element(a, row, k)), b.load(self._element(w, k, column))
        sums = [
            call(b, "llvm.fma.f32", FLOAT, self._half(x, odd), self._half(weight, odd), total)
            for odd, total in zip((False, True), sums, strict=True)
        ]
        close_k(sums)
        place = b.bitcast(self._element(c, row, column), FLOAT.as_pointer())
        b.store(b.fadd(b.load(place), b.fadd(*sums)), place)
        close_columns([])
        close_rows([])


def registers(b: ir.IRBuilder) -> Hardware | Emulated:
    """The tile registers of the function that is built, or their emulation."""
    return Emulated(b) if emulates_tiles() else Hardware(b)


def configuration(rows: int) -> bytes:
    """The configuration of the tile registers for this many rows of C, from 1 to MOST_ROWS."""
    if rows <= TILE_ROWS:
        of_tiles = [rows] * 5 + [TILE_ROWS] * 3
    else:
        lower = rows - TILE_ROWS
        of_tiles = [TILE_ROWS, TILE_ROWS, lower, lower, TILE_ROWS, lower, TILE_ROWS, TILE_ROWS]
    content = bytearray(CONFIGURATION)
    content[0] = 1  # the palette
    for tile, count in enumerate(of_tiles):
        content[BYTES_AT + 2 * tile] = ROW_BYTES
        content[ROWS_AT + tile] = count
    return bytes(content)


def configure(b: ir.IRBuilder, tiles: Hardware | Emulated, rows: ir.Value) -> None:
    """Load the configuration for this many rows, unless it is there. To load takes 200 cycles; to check takes fewer."""
    content = bytes(CONFIGURATION) + b"".join(configuration(count) for count in range(1, MOST_ROWS + 1))
    table = ir.GlobalVariable(b.module, ir.ArrayType(I8, len(content)), b.module.get_unique_name("configurations"))
    table.initializer = ir.Constant(table.type.pointee, bytearray(content))
    table.global_constant, table.linkage, table.align = True, "internal", CONFIGURATION
    space = b.alloca(ir.ArrayType(I8, CONFIGURATION))
    space.align = CONFIGURATION  # both lie on cache lines: they have the size of one
    now = b.bitcast(space, I8.as_pointer())
    tiles.store_configuration(now)
    wanted = b.gep(b.bitcast(table, I8.as_pointer()), [b.mul(rows, I64(CONFIGURATION))])
    difference: ir.Value = I64(0)
    for at in range(0, CONFIGURATION, 8):
        words = [b.bitcast(b.gep(place, [I64(at)]), I64.as_pointer()) for place in (now, wanted)]
        difference = b.or_(difference, b.xor(*(b.load(word, align=1) for word in words)))
    with b.if_then(b.icmp_unsigned("!=", difference, I64(0))):
        tiles.load_configuration(wanted)
