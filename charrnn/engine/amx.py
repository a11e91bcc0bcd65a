"""Products on AMX, the matrix tiles of Intel's server CPUs; amx_registers.py describes the registers.

A panel fits the tiles: a row of an activation panel is a row of A, and 32 rows of a weight panel are two B tiles. Two
tiles of rows times two tiles of columns make four sums at the same time:

    0 1     4     6 7
    2 3  +=  5  @

With up to 16 rows there is only one tile of rows. Then two panels of weights make four sums:

    0 1 2 3  +=  4  @  6 7 5 6

A product takes 52 cycles until its sum can be added to again, and the next one can begin after 16 cycles. So there must
be four sums.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from charrnn.engine.amx_registers import (
    MOST_ROWS,
    ROW_BYTES,
    TILE_ROWS,
    TILES,
    Emulated,
    Hardware,
    configure,
    registers,
)
from charrnn.engine.loops import counted_loop
from charrnn.engine.simd import I8, I64, VOID, W

PANEL_BYTES = {"bfloat16": 64, "float32": 128}  # of a row of a panel


class _Operands(NamedTuple):
    """Where a product reads and writes. Distances are in bytes."""

    a: ir.Value
    w: ir.Value
    c: ir.Value
    start: ir.Value
    a_outer: ir.Value  # from block to block of k
    w_stride: ir.Value  # from panel to panel
    c_stride: ir.Value
    start_step: ir.Value
    start_stride: ir.Value  # from row to row
    outer: ir.Value  # how many blocks of k

    def at_panel(self, b: ir.IRBuilder, panel: ir.Value) -> _Operands:
        """The operands of the panels from this one on."""
        return self._replace(
            w=b.gep(self.w, [b.mul(panel, self.w_stride)]),
            c=b.gep(self.c, [b.mul(panel, self.c_stride)]),
            start=b.gep(self.start, [b.mul(panel, self.start_step)]),
        )


class _Sum(NamedTuple):
    """A tile of C: its register, its place, and the registers that are multiplied for it."""

    tile: int
    row: int  # which of two tiles of rows
    panel: int  # which of two panels
    half: int  # which half of the panel's columns
    a: int
    w: int


ONE_PANEL = [_Sum(0, 0, 0, 0, 4, 6), _Sum(1, 0, 0, 1, 4, 7)]
TWO_PANELS = [*ONE_PANEL, _Sum(2, 0, 1, 0, 4, 5), _Sum(3, 0, 1, 1, 4, 6)]
TWO_TILES_OF_ROWS = [*ONE_PANEL, _Sum(2, 1, 0, 0, 5, 6), _Sum(3, 1, 0, 1, 5, 7)]


def emit_amx_panels(module: ir.Module, signature: ir.FunctionType, symbol: str) -> None:
    """C[p, rows, W] = start[p] + A[rows, K] @ B[p, K, W] for 1 to MOST_ROWS rows; see `tile.panels_tile`."""
    function = ir.Function(module, signature, symbol)
    b = ir.IRBuilder(function.append_basic_block())
    rows, panels, a, a_outer, w, w_stride, c, c_stride, start, start_step, start_stride, outer = function.args
    tiles = registers(b)
    configure(b, tiles, rows)
    a, w, c, start = (b.bitcast(pointer, I8.as_pointer()) for pointer in (a, w, c, start))
    a_outer, w_stride = (b.mul(elements, I64(2)) for elements in (a_outer, w_stride))
    c_stride, start_step, start_stride = (b.mul(elements, I64(4)) for elements in (c_stride, start_step, start_stride))
    operands = _Operands(a, w, c, start, a_outer, w_stride, c_stride, start_step, start_stride, outer)
    with b.if_else(b.icmp_signed(">", rows, I64(TILE_ROWS))) as (both, upper_only):
        with both:
            panel, _, close = counted_loop(b, panels, [])
            _multiply(b, tiles, operands.at_panel(b, panel), TWO_TILES_OF_ROWS)
            close([])
        with upper_only:
            pairs = b.udiv(panels, I64(2))
            with b.if_then(b.icmp_signed(">", pairs, I64(0))):
                pair, _, close = counted_loop(b, pairs, [])
                _multiply(b, tiles, operands.at_panel(b, b.mul(pair, I64(2))), TWO_PANELS)
                close([])
            with b.if_then(b.trunc(panels, ir.IntType(1))):
                _multiply(b, tiles, operands.at_panel(b, b.sub(panels, I64(1))), ONE_PANEL)
    b.ret_void()


def emit_amx_tile(module: ir.Module, signature: ir.FunctionType, symbol: str, panels: str) -> None:
    """The same for one panel; see `tile._tile` for the arguments. It calls the function `panels`."""
    function = ir.Function(module, signature, symbol)
    b = ir.IRBuilder(function.append_basic_block())
    rows, a, a_outer, w, c, start, start_stride, _, outer = function.args
    none = I64(0)
    arguments = [rows, I64(1), a, a_outer, w, none, c, none, start, none, start_stride, outer]
    b.call(module.globals[panels], arguments)
    b.ret_void()


def _multiply(b: ir.IRBuilder, tiles: Hardware | Emulated, x: _Operands, sums: list[_Sum]) -> None:
    """The product for a group of sums. A factor is loaded before the first product that needs it."""
    of_a, of_c = (I64(PANEL_BYTES[kind]) for kind in ("bfloat16", "float32"))
    of_w = I64(2 * PANEL_BYTES["bfloat16"])  # two rows of k side by side

    def place(base: ir.Value, stride: ir.Value, panel_stride: ir.Value, s: _Sum) -> ir.Value:
        offset = b.add(b.mul(panel_stride, I64(s.panel)), b.mul(stride, I64(TILE_ROWS * s.row)))
        return b.gep(base, [b.add(offset, I64(ROW_BYTES * s.half))])

    for s in sums:
        tiles.load(s.tile, place(x.start, x.start_stride, x.start_step, s), x.start_stride)
    block, _, close = counted_loop(b, x.outer, [])
    a_block = b.gep(x.a, [b.mul(block, x.a_outer)])
    w_block = b.gep(x.w, [b.mul(block, I64(W * PANEL_BYTES["bfloat16"]))])
    loaded: dict[int, tuple[int, int]] = {}
    for s in sums:
        if loaded.get(s.w) != (s.panel, s.half):
            loaded[s.w] = s.panel, s.half
            at = b.add(b.mul(x.w_stride, I64(s.panel)), I64(ROW_BYTES * s.half))
            tiles.load(s.w, b.gep(w_block, [at]), of_w)
        if s.a not in loaded:
            loaded[s.a] = s.row, 0
            tiles.load(s.a, b.gep(a_block, [I64(TILE_ROWS * PANEL_BYTES["bfloat16"] * s.row)]), of_a)
        tiles.multiply_add(s.tile, s.a, s.w)
    close([])
    for s in sums:
        tiles.store(s.tile, place(x.c, of_c, x.c_stride, s), of_c)


PEAK_FLOPS = 4 * 2 * TILE_ROWS * 2 * TILE_ROWS * TILE_ROWS  # of one iteration of `emit_peak`


def emit_peak(module: ir.Module, symbol: str) -> None:
    """A function that multiplies tiles of zeros as many times as its argument says, without any load or store."""
    function = ir.Function(module, ir.FunctionType(VOID, [I64]), symbol)
    b = ir.IRBuilder(function.append_basic_block())
    tiles = registers(b)
    configure(b, tiles, I64(MOST_ROWS))
    for tile in range(TILES):
        tiles.zero(tile)
    _, _, close = counted_loop(b, function.args[0], [])
    for s in TWO_TILES_OF_ROWS:
        tiles.multiply_add(s.tile, s.a, s.w)
    close([])
    b.ret_void()


def emit_release(module: ir.Module, symbol: str) -> None:
    """A function that releases the tile registers, so that the system need not save them between threads."""
    function = ir.Function(module, ir.FunctionType(VOID, []), symbol)
    b = ir.IRBuilder(function.append_basic_block())
    registers(b).release()
    b.ret_void()
