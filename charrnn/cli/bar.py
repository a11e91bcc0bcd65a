"""The progress bar of a run on a terminal: how much is done, how long the rest takes, and the figures that fit."""

from __future__ import annotations

import sys
import time

from charrnn.cli.terminal import columns, readable, wrapped

BAR = "{percentage:3.0f}% |{bar:8}| {desc}"
AROUND = len("100% |12345678| ") + 1  # characters of a line that are not figures; the last column stays free


def clock(seconds: float) -> str:
    """Seconds as 1:02 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def fitting(figures: dict[str, int], room: int) -> str:
    """The figures that fit into a line, in their order.

    Args:
        figures: each figure with its rank; where there is no room, those of the highest ranks are left out first.
        room: how many characters fit.
    """
    kept = dict(figures)
    while kept and len(", ".join(kept)) > room:
        del kept[max(kept, key=lambda figure: kept[figure])]
    return ", ".join(kept)


class Pace:
    """Estimates the time that is left, from the time that the work needed so far."""

    def __init__(self, done: float) -> None:
        self._first, self._start = done, time.perf_counter()

    def left(self, done: float) -> str:
        """The time that is left when a share `done` of the work is done, in words."""
        if done <= self._first:
            return "? left"
        seconds = (time.perf_counter() - self._start) * (1.0 - done) / (done - self._first)
        return f"{clock(seconds)} left"


class Bar:
    """A progress bar: one line of a terminal that is drawn again and again in the same place."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._width = columns()
        self._length = 0  # characters of the line that is shown
        self._bar = tqdm(total=1.0, bar_format=BAR, file=sys.stderr, leave=False, ncols=self._width - 1)

    def show(self, done: float, figures: dict[str, int]) -> None:
        """Draw the bar for a share `done`, with the figures that fit beside it."""
        self._clear_wrapped()
        text = fitting(figures, self._width - AROUND)
        self._length = AROUND - 1 + len(text)
        self._bar.n = done
        self._bar.set_description_str(text)

    def _clear_wrapped(self) -> None:
        """Clear the line if the window became narrower: it fills several rows, and tqdm would clear only one."""
        width = columns()
        if width < self._width:
            if rows := (self._length - 1) // width:
                sys.stderr.write(f"\x1b[{rows}A\r\x1b[J")
            self._bar.sp = self._bar.status_printer(sys.stderr)  # the older one would pad the line to its older length
        self._width = width
        self._bar.ncols = width - 1

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.write(wrapped(readable(text)), file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
