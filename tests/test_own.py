"""Cells of one's own: from a file to a sampled text; nothing is executed that the command line does not name."""

import json
from hashlib import sha256

import numpy as np
import pytest
from helpers_cli import charrnn, check_failure

CELL = """
from pathlib import Path
from charrnn.cell import State, cell, sigmoid, tanh

Path("executed").touch()

@cell(gates="z n", units="decay")
def leaky(a, s, p):
    z = sigmoid(a.z)
    return State(h=(1.0 - z) * tanh(a.n) + z * sigmoid(p.decay) * s.h)
"""
OWN = ("--cell", "mine.py:leaky")
SIZES = ("--hidden", "8", "--layers", "1", "--batch", "2", "--seq-len", "8")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text.txt").write_text("one two three four five six seven\n" * 60)
    (tmp_path / "mine.py").write_text(CELL)
    assert charrnn("prepare", "text.txt", "--out", "data", cwd=tmp_path).returncode == 0
    return tmp_path


@pytest.fixture
def trained(folder):
    done = charrnn("train", "data", "--out", "run", *OWN, *SIZES, "--steps", "5", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "charrnn sample run --cell mine.py:leaky\n" in done.stderr
    (folder / "executed").unlink()
    return folder


def test_gradients_are_checked_by_the_same_command(folder):
    done = charrnn("gradcheck", *OWN, "--layers", "1", "--hidden", "3", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {block["name"] for block in json.loads(done.stdout)["blocks"]} >= {"layer0.p_decay", "layer0.W_h"}


def test_a_model_is_sampled_evaluated_shown_and_resumed_with_its_cell(trained):
    assert len(charrnn("sample", "run", "--length", "30", *OWN, cwd=trained).stdout) >= 30
    assert json.loads(charrnn("eval", "run", "--json", *OWN, cwd=trained).stdout)["loss"] < 5
    shown = charrnn("info", "run", *OWN, cwd=trained).stdout
    assert "t1 = sigmoid(a.z); h = ((1.0 - t1) * tanh(a.n)) + ((t1 * sigmoid(p.decay)) * s.h)" in shown
    resumed = charrnn("train", "--out", "run", "--resume", "--steps", "8", *OWN, cwd=trained)
    assert resumed.returncode == 0, resumed.stderr
    assert "another" not in resumed.stderr


@pytest.mark.parametrize("command", [("sample", "run"), ("eval", "run"), ("info", "run"), ("train", "--out", "run")])
def test_without_its_file_a_model_is_refused_and_nothing_is_executed(trained, command):
    further = ("--resume", "--steps", "9") if command[0] == "train" else ()
    check_failure(charrnn(*command, *further, cwd=trained), "--cell FILE.py:leaky", "got none")
    assert not (trained / "executed").exists()


def test_another_source_is_told_with_both_hashes(trained):
    (trained / "mine.py").write_text(CELL + "# changed\n")
    done = charrnn("sample", "run", "--length", "5", *OWN, cwd=trained)
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if "SHA-256" in line]
    assert len(told) == 1
    config = json.loads((trained / "run" / "config.json").read_text())["model"]
    assert f"training {config['cell_source'][:16]}" in told[0]
    assert f"of the file {sha256((trained / 'mine.py').read_bytes()).hexdigest()[:16]}" in told[0]


def test_a_file_with_other_gates_is_named_as_the_reason(trained):
    (trained / "mine.py").write_text(CELL.replace('"z n"', '"z n k"').replace("tanh(a.n)", "tanh(a.n + a.k)"))
    check = charrnn("sample", "run", "--length", "5", *OWN, cwd=trained)
    assert check.returncode == 1
    assert "expected the cell of run/best.npz, got another one" in check.stderr
    assert "differs from those of training" in check.stderr


def test_cells_of_one_factory_are_told_apart(trained):
    source = (
        CELL.replace("@cell", "def make(factor):\n  @cell")
        .replace("\n    ", "\n      ")
        .replace("\ndef leaky", "\n  def leaky")
    )
    source = source.replace("tanh(a.n)", "tanh(factor * a.n)") + "  return leaky\nslow, fast = make(0.5), make(2.0)\n"
    (trained / "both.py").write_text(source)
    done = charrnn("train", "data", "--out", "fast", "--cell", "both.py:fast", *SIZES, "--steps", "2", cwd=trained)
    assert done.returncode == 0, done.stderr
    check_failure(charrnn("sample", "fast", "--cell", "both.py:slow", cwd=trained), "--cell FILE.py:fast")
    assert "2.0 * a.n" in charrnn("info", "fast", "--cell", "both.py:fast", cwd=trained).stdout


def test_a_built_in_cell_beside_a_model_is_refused(trained):
    check_failure(charrnn("sample", "run", "--cell", "gru", cwd=trained), "beside a trained model, got gru")
    check_failure(
        charrnn("train", "data", "--out", "q", *OWN, "--peepholes", cwd=trained), "--peepholes with --cell lstm"
    )
    check_failure(charrnn("train", "data", "--out", "q", *OWN, "--zoneout-cell", "0.1", cwd=trained), "two states")


def test_zoneout_of_three_states_is_checked(folder):
    source = """
from charrnn.cell import State, cell, sigmoid, tanh
@cell(gates="x y", states="h slow trace")
def three(a, s):
    slow = 0.5 * s.slow + 0.5 * tanh(a.x)
    return State(h=tanh(slow + a.y), slow=slow, trace=0.9 * s.trace + s.h * slow)
"""
    (folder / "three.py").write_text(source)
    options = ("--zoneout", "0.2", "--zoneout-cell", "0.3", "--layers", "1", "--hidden", "3")
    done = charrnn("gradcheck", "--cell", "three.py:three", *options, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_may_import_its_neighbour_and_declare_dataclasses(folder):
    (folder / "shared.py").write_text("RATE = 0.5\n")
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom shared import RATE\n" + CELL
    source += "\n@dataclass\nclass Rates:\n    rate: float = RATE\n"
    (folder / "mine.py").write_text(source.replace("sigmoid(p.decay)", "RATE * sigmoid(p.decay)"))
    done = charrnn("gradcheck", *OWN, "--layers", "1", "--hidden", "3", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_the_vocabulary_of_such_a_model_needs_no_file(trained):
    done = charrnn("prepare", "text.txt", "--out", "same", "--vocab-from", "run", cwd=trained)
    assert done.returncode == 0, done.stderr
    assert not (trained / "executed").exists()


def test_a_checkpoint_holds_no_code(trained):
    with np.load(trained / "run" / "last.npz", allow_pickle=False) as archive:
        texts = [str(archive[name]) for name in archive.files if archive[name].dtype.kind == "U"]
    assert any("own:leaky" in text for text in texts)
    assert not any(word in text for text in texts for word in ("def ", "import ", "return ", "@cell"))


WRONG = {
    "no file": ("nofile.py:leaky", None, "nofile.py, No such file"),
    "no such cell": ("mine.py:fleaky", None, "got leaky; try --cell mine.py:leaky"),
    "no cell": ("mine.py:leaky", "x = 1", "got no cell"),
    "not Python": ("mine.py:leaky", "def (", "SyntaxError"),
    "an error": ("mine.py:leaky", "y = 1\nx = 1 / 0", "division by zero (line 2)"),
    "an unknown gate": ("mine.py:leaky", CELL.replace("a.z", "a.q"), "mine.py, line 7): expected one of a.z, a.n, got"),
    "an unknown function": ("mine.py:leaky", CELL.replace("tanh(a.n)", "abs(a.n)"), "bad operand type for abs()"),
    "a number that is not used": ("mine.py:leaky", CELL.replace("sigmoid(p.decay) * ", ""), "no gradient for p.decay"),
    "no number in padding": ("mine.py:leaky", CELL.replace("tanh(a.n)", "tanh(a.n) / a.n"), "when all inputs are 0"),
    "no derivative in padding": (
        "mine.py:leaky",
        CELL.replace("sigmoid, tanh", "exp, sigmoid, tanh").replace("tanh(a.n)", "exp(-(0.1 / (a.n * a.n)))"),
        "expected finite derivatives when all inputs are 0",
    ),
    "too large a number in padding": (
        "mine.py:leaky",
        CELL.replace("tanh(a.n)", "(3.0 * s.h + a.n + 1.0)"),
        "got inf after",
    ),
    "a state that grows in padding": (
        "mine.py:leaky",
        CELL.replace("tanh(a.n)", "(1.54 * s.h + a.n + 0.1)"),
        "expected states with a limit when all inputs are 0",
    ),
    "no float32 in padding": (
        "mine.py:leaky",
        CELL.replace("sigmoid, tanh", "exp, sigmoid, tanh").replace("tanh(a.n)", "exp(a.n + 100.0) / exp(a.n + 100.0)"),
        "got nan",
    ),
    "an end": ("mine.py:leaky", "import sys\nsys.exit(0)", "SystemExit: 0 (line 2)"),
    "no name": ("mine.py", None, "try mine.py: and the name"),
    "no state": ("mine.py:leaky", CELL.replace("State(h=", "(").replace("tanh(a.n)", "tanh(a.n)"), "to return State"),
}


@pytest.mark.parametrize("slip", WRONG)
def test_what_is_wrong_with_a_file_is_said_in_one_line(folder, slip):
    name, source, message = WRONG[slip]
    if source is not None:
        (folder / "mine.py").write_text(source)
    done = charrnn("train", "data", "--out", "run", "--cell", name, *SIZES, "--steps", "1", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert not (folder / "run").exists()
