"""`charrnn log`: the table, the curve and the events of a journal."""

import json

import pytest
from helpers_cli import charrnn, check_failure

from charrnn.cli.log import CHART_COLUMNS, CHART_ROWS, TRAINING, VALIDATION, chart


def train_line(step, loss):
    return {"kind": "train", "step": step, "epoch": step / 100, "chars": 1000 * step, "seconds": float(step)} | {
        "loss": loss, "bpc": loss / 0.6931, "lr": 0.003, "grad_norm": 1.0, "chars_per_second": 1000.0
    }  # fmt: skip


def eval_line(step, loss):
    return {"kind": "eval", "split": "val", "step": step, "chars": 99, "loss": loss, "bpc": loss / 0.6931, "seconds": 1}


LINES = [{"kind": "event", "name": "start", "step": 0}]
LINES += [line for k in range(1, 60) for line in (train_line(10 * k, 4.0 / k), eval_line(10 * k, 4.0 / k + 0.5))]
LINES[-1]["preview"] = "the last preview"
LINES += [
    {"kind": "event", "name": "rollback", "step": 300, "loss": None},
    {"kind": "event", "name": "end", "step": 590},
]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    lines = "".join(json.dumps(line) + "\n" for line in LINES)
    (tmp_path / "run" / "log.jsonl").write_text(lines + '{"kind": "train", "step": 600, "cut off')
    return tmp_path


def test_table_curve_and_events_are_shown(run):
    result = charrnn("log", "run", cwd=run)
    assert result.returncode == 0, result.stderr
    rows = [
        line.split()
        for line in result.stdout.splitlines()
        if line.strip()[:1].isdigit() and line.split()[-1] == "0.003"
    ]
    assert 10 <= len(rows) <= 20
    assert rows[-1] == ["590", "5.90", "590,000", "9.83", "0.0678", "0.5678", "0.8192", "0.003"]
    assert result.stdout.count("┤") == CHART_ROWS
    assert "rollback at step 300: loss not finite" in result.stdout
    assert "end at step 590" in result.stdout
    assert result.stdout.endswith("\nthe last preview\n")


def test_json_holds_every_complete_line(run):
    kinds = json.loads(charrnn("log", "run", "--json", cwd=run).stdout)
    assert [len(kinds[kind]) for kind in ("train", "eval", "event")] == [59, 59, 3]
    assert kinds["train"][0] == LINES[1]


def test_each_loss_stands_at_its_place_in_the_curve():
    lines = [train_line(0, 3.0), train_line(50, 2.0), train_line(100, 1.0), eval_line(50, 1.0)]
    rows = chart(lines[:3], lines[3:], lines)[:CHART_ROWS]
    cells = [row.split("┤")[1].ljust(CHART_COLUMNS) for row in rows]
    assert cells[0][0] == TRAINING
    assert cells[-1][CHART_COLUMNS - 1] == TRAINING
    assert cells[-1][CHART_COLUMNS // 2] == VALIDATION
    assert sum(cell != " " for row in cells for cell in row) == 4
    assert rows[0].startswith("  3.000")
    assert rows[-1].startswith("  1.000")


def test_a_folder_without_a_journal_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    check_failure(charrnn("log", "empty", cwd=tmp_path), "empty", "log.jsonl")
    (tmp_path / "empty" / "log.jsonl").touch()
    check_failure(charrnn("log", "empty", cwd=tmp_path), "got none")
    (tmp_path / "empty" / "log.jsonl").write_text("x{}\n")
    check_failure(charrnn("log", "empty", cwd=tmp_path), "got damaged ones only")


def test_a_validation_loss_that_was_no_number_is_shown_as_none(tmp_path):
    (tmp_path / "run").mkdir()
    lines = [*LINES, train_line(600, 3.0), eval_line(600, 1.0) | {"loss": None, "bpc": None}]
    (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = charrnn("log", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "none" in result.stdout
