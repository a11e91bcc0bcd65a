"""The register tile on AMX, the tile registers of Intel's server CPUs from Sapphire Rapids on.

There are eight tile registers of up to 16 rows of 64 bytes. Each thread first loads a configuration that says how many
rows each register has. One instruction multiplies two tiles: C[16, 16] += A[16, 32] B[32, 16], where A and B are
bfloat16 and B has two rows of k side by side (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
chapter 18).

A panel fits the tiles: a row of an activation panel is a row of A, and 32 rows of a weight panel are two B tiles. Two
tiles of rows times two tiles of columns make four sums at the same time:

    0 1     4     6 7
    2 3  +=  5  @

`_Emulated` replaces each instruction by ordinary code, so that everything else can be tested on any CPU.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from charrnn.engine.bfloat16 import emulates_tiles
from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import FLOAT, I8, I32, I64

TILES, TILE_ROWS, ROW_BYTES = 8, 16, 64
MOST_ROWS = 2 * TILE_ROWS  # of C in one call
PANEL_BYTES = {"bfloat16": 64, "float32": 128}  # of a row of a panel
CONFIGURATION, BYTES_AT, ROWS_AT = 64, 16, 48  # bytes in all; where the tiles' bytes per row, and their rows, begin


def configuration(rows: int) -> bytes:
    """The configuration of the tile registers for this many rows of C, from 1 to MOST_ROWS."""
    upper, lower = min(rows, TILE_ROWS), max(0, rows - TILE_ROWS)
    of_tiles = [upper, upper, lower, lower, upper, lower, TILE_ROWS, TILE_ROWS]
    content = bytearray(CONFIGURATION)
    content[0] = 1  # the palette
    for tile, count in enumerate(of_tiles):
        content[BYTES_AT + 2 * tile] = ROW_BYTES if count else 0
        content[ROWS_AT + tile] = count
    return bytes(content)


class _Hardware:
    """The instructions of the CPU."""

    def __init__(self, b: ir.IRBuilder) -> None:
        self.b = b

    def _call(self, name: str, *arguments: ir.Value) -> None:
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        function = self.b.module.globals.get(f"llvm.x86.{name}") or ir.Function(self.b.module, kind, f"llvm.x86.{name}")
        self.b.call(function, arguments)

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


class _Emulated:
    """The same instructions as ordinary code. The registers belong to one call of the function that is built."""

    def __init__(self, b: ir.IRBuilder) -> None:
        self.b = b
        self.now = b.alloca(ir.ArrayType(I8, CONFIGURATION))
        b.store(ir.Constant(self.now.type.pointee, None), self.now)
        self.tiles = b.alloca(ir.ArrayType(I32, TILES * TILE_ROWS * ROW_BYTES // 4))

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
        fused = cgutils.get_or_insert_function(b.module, ir.FunctionType(FLOAT, [FLOAT] * 3), "llvm.fma.f32")
        row, _, close_rows = counted_loop(b, self._rows(c), [])
        column, _, close_columns = counted_loop(b, self._words(c), [])
        none = ir.Constant(FLOAT, 0.0)
        k, sums, close_k = counted_loop(b, self._words(a), [none, none])
        x, weight = b.load(self._element(a, row, k)), b.load(self._element(w, k, column))
        sums = [
            b.call(fused, [self._half(x, odd), self._half(weight, odd), total])
            for odd, total in zip((False, True), sums, strict=True)
        ]
        close_k(sums)
        place = b.bitcast(self._element(c, row, column), FLOAT.as_pointer())
        b.store(b.fadd(b.load(place), b.fadd(*sums)), place)
        close_columns([])
        close_rows([])


def emit_amx_tile(module: ir.Module, signature: ir.FunctionType, symbol: str) -> None:
    """C[rows, W] = start + A[rows, K] @ B[K, W] for 1 to MOST_ROWS rows; see `tile._tile` for the arguments."""
    function = ir.Function(module, signature, symbol)
    b = ir.IRBuilder(function.append_basic_block())
    rows, a, a_outer, w, w_outer, c, start, start_stride, _, outer = function.args
    tiles = (_Emulated if emulates_tiles() else _Hardware)(b)
    _configure(b, tiles, rows)
    a, w, c, start = (b.bitcast(pointer, I8.as_pointer()) for pointer in (a, w, c, start))
    a_outer, w_outer = (b.mul(elements, I64(2)) for elements in (a_outer, w_outer))
    places = (a, a_outer, w, w_outer, c, start, b.mul(start_stride, I64(4)), outer)
    with b.if_else(b.icmp_signed(">", rows, I64(TILE_ROWS))) as (both, upper_only):
        with both:
            _multiply(b, tiles, places, 2)
        with upper_only:
            _multiply(b, tiles, places, 1)
    b.ret_void()


def _configure(b: ir.IRBuilder, tiles: Any, rows: ir.Value) -> None:
    """Load the configuration for this many rows, unless it is there. To load takes 200 cycles; to check takes fewer.

    The rows of two tiles distinguish the configurations of this module. Other configurations are released before.
    """
    content = bytes(CONFIGURATION) + b"".join(configuration(count) for count in range(1, MOST_ROWS + 1))
    table = ir.GlobalVariable(b.module, ir.ArrayType(I8, len(content)), b.module.get_unique_name("configurations"))
    table.initializer = ir.Constant(table.type.pointee, bytearray(content))
    table.global_constant, table.linkage = True, "internal"
    now = b.bitcast(b.alloca(ir.ArrayType(I8, CONFIGURATION)), I8.as_pointer())
    tiles.store_configuration(now)
    wanted = b.gep(b.bitcast(table, I8.as_pointer()), [b.mul(rows, I64(CONFIGURATION))])

    def differs(tile: int) -> ir.Value:
        one, other = (b.load(b.gep(place, [I64(ROWS_AT + tile)])) for place in (now, wanted))
        return b.icmp_unsigned("!=", one, other)

    with b.if_then(b.or_(differs(0), differs(2))):
        tiles.load_configuration(wanted)


def _multiply(b: ir.IRBuilder, tiles: Any, places: tuple[ir.Value, ...], row_tiles: int) -> None:
    """The product with one or two tiles of rows."""
    a, a_outer, w, w_outer, c, start, start_stride, outer = places
    of_a, of_c = (I64(PANEL_BYTES[kind]) for kind in ("bfloat16", "float32"))
    of_w = I64(2 * PANEL_BYTES["bfloat16"])  # two rows of k side by side
    sums = [(2 * i + j, i, I64(ROW_BYTES * j)) for i in range(row_tiles) for j in range(2)]
    for tile, i, column in sums:
        first = b.mul(start_stride, I64(TILE_ROWS * i))
        tiles.load(tile, b.gep(start, [b.add(first, column)]), start_stride)
    block, _, close = counted_loop(b, outer, [])
    a_block, w_block = b.gep(a, [b.mul(block, a_outer)]), b.gep(w, [b.mul(block, w_outer)])
    tiles.load(6, w_block, of_w)
    tiles.load(4, a_block, of_a)
    tiles.multiply_add(0, 4, 6)
    tiles.load(7, b.gep(w_block, [I64(ROW_BYTES)]), of_w)
    tiles.multiply_add(1, 4, 7)
    if row_tiles == 2:
        tiles.load(5, b.gep(a_block, [I64(TILE_ROWS * PANEL_BYTES["bfloat16"])]), of_a)
        tiles.multiply_add(2, 5, 6)
        tiles.multiply_add(3, 5, 7)
    close([])
    for tile, i, column in sums:
        row = I64(TILE_ROWS * i * PANEL_BYTES["float32"])
        tiles.store(tile, b.gep(c, [b.add(row, column)]), of_c)


PEAK_FLOPS = 4 * 2 * TILE_ROWS * 2 * TILE_ROWS * TILE_ROWS  # of one iteration of `emit_peak`


def emit_peak(module: ir.Module, symbol: str) -> None:
    """A function that multiplies tiles of zeros as many times as its argument says, without any load or store."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64]), symbol)
    b = ir.IRBuilder(function.append_basic_block())
    tiles = (_Emulated if emulates_tiles() else _Hardware)(b)
    _configure(b, tiles, I64(MOST_ROWS))
    for tile in range(TILES):
        tiles.zero(tile)
    _, _, close = counted_loop(b, function.args[0], [])
    for c, a, w in ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7)):
        tiles.multiply_add(c, a, w)
    close([])
    b.ret_void()


def emit_release(module: ir.Module, symbol: str) -> None:
    """A function that releases the tile registers, so that the system need not save them between threads."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), symbol)
    b = ir.IRBuilder(function.append_basic_block())
    if not emulates_tiles():
        _Hardware(b).release()
    b.ret_void()
