"""The line that shows how far a run is, for terminals of any width."""

import time

import pytest

from charrnn.cli.bar import AROUND, Pace, fitting
from charrnn.cli.terminal import wrapped

FIGURES = {"1:23 left": 0, "step 12,345": 5, "epoch 1.23": 3, "1.2345 nats": 1, "1.7811 bpc": 4, "33.1k chars/s": 2}


@pytest.mark.parametrize(
    "columns, shown",
    [
        (120, "1:23 left, step 12,345, epoch 1.23, 1.2345 nats, 1.7811 bpc, 33.1k chars/s"),
        (80, "1:23 left, epoch 1.23, 1.2345 nats, 1.7811 bpc, 33.1k chars/s"),
        (60, "1:23 left, 1.2345 nats, 33.1k chars/s"),
        (30, "1:23 left"),
        (10, ""),
    ],
)
def test_the_figures_that_matter_least_go_first_in_a_narrow_window(columns, shown):
    assert fitting(FIGURES, columns - AROUND) == shown
    assert not shown or AROUND + len(shown) <= columns


def test_the_time_left_is_worked_out_from_what_was_done_since_the_start(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    pace = Pace(0.5)
    assert pace.left(0.5) == "? left"
    now[0] = 120.0
    assert pace.left(0.6) == "1:20 left"
    assert pace.left(1.0) == "0:00 left"


def test_messages_break_between_words_on_a_terminal_alone(monkeypatch, capsys):
    line = "expected " + "a word or two, " * 12
    assert wrapped(line) == line
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("charrnn.cli.terminal.columns", lambda: 60)
    lines = wrapped(line).splitlines()
    assert len(lines) > 2
    assert all(len(part) <= 60 for part in lines)
    assert " ".join(part.strip() for part in lines) == line.strip()
