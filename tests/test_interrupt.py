"""Signals as requests to stop: which of them belong together."""

import signal
from types import SimpleNamespace

import pytest

from charrnn import interrupt
from charrnn.errors import InterruptError
from charrnn.interrupt import SIGNALS, TOGETHER, Interrupt, end_on_signals


@pytest.fixture
def clock(monkeypatch):
    """Signals end the command, as in the command line; the time stands still unless a test moves it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(interrupt, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(interrupt, "_requests", SimpleNamespace(latest=0.0))
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    end_on_signals()
    yield clock
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_that_come_together_are_one_request(clock):
    with Interrupt() as asked:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
            clock.now += TOGETHER / 4
    assert asked.asked == signal.SIGHUP
    signal.raise_signal(signal.SIGTERM)  # while the command still ends


def test_a_later_signal_ends_the_command_at_once(clock):
    with Interrupt() as asked:
        signal.raise_signal(signal.SIGINT)
        clock.now += TOGETHER
        with pytest.raises(InterruptError):
            signal.raise_signal(signal.SIGINT)
    assert asked.asked == signal.SIGINT


def test_a_second_signal_does_not_disturb_the_cleaning_up_after_the_first(clock):
    cleaned = False
    with pytest.raises(InterruptError) as error:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            clock.now += TOGETHER / 2
            signal.raise_signal(signal.SIGHUP)
            cleaned = True
    assert (cleaned, error.value.signal) == (True, signal.SIGTERM)
