"""Ctrl-C, SIGTERM and a closed terminal as a request to stop at the next suitable moment.

A KeyboardInterrupt that is raised during a call of compiled code can be lost. A request cannot.

Two signals often come for one reason. When a terminal is closed, the shell sends SIGHUP, and the system too. At a
logout, systemd sends SIGTERM and SIGHUP. `timeout` sends its signal to the command and to its group. So signals that
come close together are one request.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace, TracebackType

from charrnn.errors import InterruptError

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
TOGETHER = 0.5  # seconds; signals that come within this time are one request
_requests = SimpleNamespace(latest=-math.inf)  # when the latest one came


def _is_new() -> bool:
    """Whether a signal that comes now is a new request."""
    now = time.monotonic()
    if now - _requests.latest < TOGETHER:
        return False
    _requests.latest = now
    return True


def was_requested() -> bool:
    """Whether a signal has come."""
    return bool(_requests.latest > -math.inf)


def _end(number: int, frame: FrameType | None) -> None:
    if _is_new():
        raise InterruptError(number)


def _heard() -> list[int]:
    """The signals that the process was not started to ignore, as SIGHUP is ignored under nohup."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def end_on_signals() -> None:
    """From now on, a signal ends the command with InterruptError, after incomplete files are removed."""
    for number in _heard():
        signal.signal(number, _end)


def end_at_once_on_signals() -> None:
    """From now on, a signal ends the process without a word: the command was interrupted already."""
    for number in _heard():
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside the block, this function handles the signals."""
    before = {number: signal.signal(number, handler) for number in _heard()}
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """A signal that comes inside the block ends the command, also where it would only be a request: for long waits."""
    with _handled_by(_end):
        yield


class Interrupt:
    """While entered, the first SIGINT, SIGTERM or SIGHUP sets `asked`; a later request ends the process at once.

    Attributes:
        asked: the number of the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, object] = {}

    def _request(self, number: int, frame: FrameType | None) -> None:
        if _is_new():
            self.asked = number
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __enter__(self) -> Interrupt:
        for number in _heard():
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()


@contextmanager
def deferred(note: Callable[[], None] = lambda: None) -> Iterator[None]:
    """A signal that comes inside the block takes effect at its end; `note` is called when it comes."""
    if threading.current_thread() is not threading.main_thread():  # in other threads no signal handler runs
        yield
        return
    came: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        came.append(number)
        note()

    try:
        with _handled_by(keep):
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)
