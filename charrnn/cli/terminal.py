"""Output for a terminal: text from a file cannot control the terminal, and a failed message does not end a command."""

from __future__ import annotations

import io
import os
import re
import select
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from charrnn.errors import InterruptError
from charrnn.interrupt import Interrupt, was_requested

USUAL_COLUMNS = 80
PIPE_COLUMNS = 120  # of tables that no terminal shows
# Control characters except tab, line feed and CR LF, and characters that change the direction of the text after them
# (Unicode Annex #9).
COMMANDS = re.compile(r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
COMMAND_BYTES = re.compile(
    rb"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]"
)


def readable(text: str) -> str:
    r"""The text, with each character that would control a terminal written as an escape such as \x1b or \u202e."""
    return COMMANDS.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def readable_bytes(text: bytes) -> bytes:
    """The same for text in UTF-8, or for bytes that are not text."""
    return COMMAND_BYTES.sub(lambda found: b"".join(b"\\x%02x" % byte for byte in found[0]), text)


def columns() -> int:
    """The width of the terminal that standard error goes to; 80 if it is not known."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return USUAL_COLUMNS


def wrapped(line: str) -> str:
    """The line, broken between words if standard error goes to a terminal."""
    if not sys.stderr.isatty():
        return line
    return textwrap.fill(line, columns(), subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


AT_ONCE = 512  # bytes; a pipe or terminal that is ready takes so many without waiting (POSIX)
PATIENCE = 1.0  # seconds


class _Unbreakable(io.RawIOBase):
    """A stream whose writes never fail; what cannot be written is lost.

    A write waits for a reader, but not after a signal, so that a run can save its work although nobody reads what it
    says.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._patience = PATIENCE

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        try:
            while rest and self._is_ready():
                rest = rest[os.write(self._descriptor, rest[:AT_ONCE]) :]
        except OSError:
            pass  # the terminal is gone, the pipe has no reader, the disk is full
        return len(data)

    def _is_ready(self) -> bool:
        if os.name != "posix":  # elsewhere only sockets can be waited for
            return True
        while not select.select([], [self._descriptor], [], self._patience)[1]:
            if was_requested():
                self._patience = 0.0
                return False
        return True


def unbreakable(stream: TextIO) -> TextIO:
    """A stream for messages, in place of standard error; a command goes on when its messages cannot be written."""
    raw: Any = _Unbreakable(stream.fileno())
    return io.TextIOWrapper(raw, stream.encoding, "backslashreplace", line_buffering=True, write_through=True)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Give the block a function that raises InterruptError if Ctrl-C was pressed."""
    with Interrupt() as interrupt:

        def look() -> None:
            if interrupt.asked:
                raise InterruptError(interrupt.asked)

        yield look


def print_table(table: Any) -> None:
    """Print a table or a line of `rich`, in a pipe with PIPE_COLUMNS; a closed pipe is a BrokenPipeError."""
    from rich.console import Console

    text = io.StringIO()
    there = sys.stdout.isatty()
    width = Console().width if there else PIPE_COLUMNS
    Console(file=text, force_terminal=there, width=width, highlight=False).print(table)
    print(text.getvalue(), end="")


class Writer:
    """Writes texts to standard output in whole characters; for a terminal, control characters are escaped.

    Args:
        raw: whether a terminal gets control characters as they are.

    Attributes:
        texts: how many texts were finished.
    """

    def __init__(self, raw: bool = False) -> None:
        self.texts = 0
        self._readable = sys.stdout.isatty() and not raw
        self._ended = False  # whether what was shown ends with a line break
        self._begun = b""  # the first bytes of a character, or of CR LF, that is not complete yet

    def write(self, piece: bytes) -> None:
        """Show a piece of a text."""
        piece = self._begun + piece
        whole = len(piece) - (1 if self._readable and piece.endswith(b"\r") else unfinished(piece))
        piece, self._begun = piece[:whole], piece[whole:]
        self._show(piece)

    def separate(self, piece: bytes) -> None:
        """Show what stands between two texts."""
        self._show(piece)
        self._ended = False

    def _show(self, piece: bytes) -> None:
        sys.stdout.buffer.write(readable_bytes(piece) if self._readable else piece)
        sys.stdout.buffer.flush()
        self._ended = piece.endswith(b"\n") if piece else self._ended

    def finish(self, line_break: bool = True) -> None:
        """End a text; with `line_break`, add a line break if the text does not end with one."""
        rest, self._begun = self._begun, b""
        self._show(rest)
        if line_break and not self._ended:
            self._show(b"\n")
        self.texts, self._ended = self.texts + 1, False


def unfinished(text: bytes) -> int:
    """How many bytes at the end are the beginning of an incomplete UTF-8 character."""
    for count in range(1, min(3, len(text)) + 1):
        byte = text[-count]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if byte < 0xF8 and length > count else 0
        if byte < 0x80:
            return 0
    return 0
