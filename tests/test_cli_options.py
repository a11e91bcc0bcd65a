"""Options beyond the plain stack, from the command line: trained, resumed, evaluated, sampled; and refused."""

import json
from dataclasses import fields

import numpy as np
import pytest
import typer
from helpers_cli import charrnn, check_failure, journal

from charrnn.cli.app import app
from charrnn.cli.setting_options import MODEL as MODEL_SETTINGS
from charrnn.model.config import ModelConfig

NAMES = "\n".join(("anna", "bert", "carla", "dora", "emil", "frida", "gustav", "hanna") * 30) + "\n"
SIZES = ("--hidden", "8", "--batch", "2", "--seq-len", "8")
MODEL = ("--layer-norm", "--residual", "--tied", "--zoneout", "0.1", "--zoneout-cell", "0.2", "--stateless")
TRAINING = ("--weight-drop", "0.2", "--label-smoothing", "0.1", "--activation-penalty", "1", "--temporal-penalty", "1")


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text(NAMES)
    assert charrnn("prepare", "names.txt", "--out", "data", cwd=tmp_path).returncode == 0
    return tmp_path


def test_stateless_is_suggested_for_a_list(names):
    begun = charrnn("train", "data", "--out", "run", *SIZES, "--steps", "1", cwd=names)
    assert begun.stderr.count("try --stateless") == 1


def test_a_model_with_everything_is_trained_resumed_evaluated_and_sampled(names):
    options = (*MODEL, *TRAINING, "--hidden", "8", "--batch", "2", "--bptt", "8:20", "--schedule", "constant")
    options = (*options, "--warmup", "0")
    begun = charrnn("train", "data", "--out", "run", *options, "--steps", "5", cwd=names)
    assert begun.returncode == 0, begun.stderr
    assert "try --stateless" not in begun.stderr
    resumed = charrnn("train", "data", "--out", "run", "--resume", "--steps", "9", *MODEL, cwd=names)
    assert resumed.returncode == 0, resumed.stderr
    whole = charrnn("train", "data", "--out", "whole", *options, "--steps", "9", cwd=names)
    assert whole.returncode == 0, whole.stderr
    one, two = (np.load(names / run / "last.npz", allow_pickle=False) for run in ("run", "whole"))
    assert [name for name in one.files if name.startswith("param") and not np.array_equal(one[name], two[name])] == []
    evaluated = charrnn("eval", "run", "--json", cwd=names)
    assert 0 < json.loads(evaluated.stdout)["loss"] < 4
    sampled = charrnn("sample", "run", "--length", "20", cwd=names)
    assert len(sampled.stdout) >= 20
    config = json.loads((names / "run" / "config.json").read_text())
    assert config["model"]["stateless"] is True
    assert config["model"]["embed"] == 8
    assert config["training"]["bptt"] == "8:20"


def test_precision_from_the_command_line(names):
    """bfloat16 and int8 give other losses than float32, but not far from it; `auto` says what it chose."""
    trained = charrnn("train", "data", "--out", "run", *SIZES, "--steps", "20", "--precision", "bfloat16", cwd=names)
    assert trained.returncode == 0, trained.stderr
    config = json.loads((names / "run" / "config.json").read_text())
    assert config["training"]["precision"] == "bfloat16"
    losses = {}
    for precision in ("float32", "bfloat16", "int8"):
        evaluated = charrnn("eval", "run", "--json", "--precision", precision, cwd=names)
        losses[precision] = json.loads(evaluated.stdout)["loss"]
    assert len(set(losses.values())) == 3
    assert max(losses.values()) - min(losses.values()) < 0.02
    best = np.load(names / "run" / "best.npz", allow_pickle=False)
    assert json.loads(str(best["progress"]))["best_loss"] == pytest.approx(losses["bfloat16"], rel=1e-6)
    for precision in ("bfloat16", "int8", "auto"):
        sampled = charrnn("sample", "run", "--length", "20", "--precision", precision, cwd=names)
        assert len(sampled.stdout) >= 20, sampled.stderr
        assert ("--precision auto: " in sampled.stderr) == (precision == "auto")
    resumed = charrnn("train", "data", "--out", "run", "--resume", "--steps", "22", "--precision", "auto", cwd=names)
    assert resumed.returncode == 0, resumed.stderr
    with np.load(names / "run" / "last.npz", allow_pickle=False) as file:
        assert json.loads(str(file["training"]))["precision"] == "bfloat16"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("train", "data", "--out", "x", "--precision", "int8"),
            "expected --precision to be one of float32, bfloat16, auto",
        ),
        (
            ("bench", "--precision", "half"),
            "expected --precision to be one of float32, bfloat16, int8, auto, got 'half'",
        ),
    ],
)
def test_precisions_that_are_not_there_are_refused(names, words, message):
    result = charrnn(*words, cwd=names)
    assert (result.returncode, result.stdout) == (1, "")
    assert message in " ".join(result.stderr.split())
    assert not (names / "x").exists()


def test_a_stateless_model_reads_a_name_the_same_wherever_it_stands(names):
    """The loss of lines does not depend on their order."""
    trained = charrnn("train", "data", "--out", "run", "--stateless", *SIZES, "--steps", "5", cwd=names)
    assert trained.returncode == 0, trained.stderr
    lines = ["anna", "emil", "dora", "gustav"]
    losses = []
    for order in (lines, lines[::-1]):
        (names / "lines.txt").write_text("\n" + "\n".join(order) + "\n")
        losses.append(json.loads(charrnn("eval", "run", "lines.txt", "--json", cwd=names).stdout)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--zoneout", "1"), ("--zoneout from 0 up to below 1", "got 1.0")),
        (("--cell", "gru", "--zoneout-cell", "0.1"), ("with --cell lstm or mlstm", "got gru", "try it without")),
        (("--cell", "gru", "--peepholes"), ("--peepholes with --cell lstm, got gru",)),
        (("--no-output-gate", "--cell", "ugrnn"), ("--no-output-gate with --cell lstm, got ugrnn",)),
        (("--reset", "before"), ("--reset with --cell gru, got lstm",)),
        (("--nonlinearity", "relu"), ("--nonlinearity with --cell rnn, got lstm",)),
        (("--momentum", "0.5"), ("--momentum with --optimiser sgd or muon, got adam",)),
        (("--optimiser", "sgd", "--beta2", "0.5"), ("--beta2 with --optimiser adam or", "got sgd")),
        (("--decay", "0.5"), ("--decay with --schedule step or plateau, got cosine",)),
        (("--layers", "1", "--input-skips"), ("--input-skips with several layers", "got --layers 1")),
        (("--tied", "--embed", "3"), ("--embed as wide as --hidden 8", "got 3", "try --embed 8")),
        (("--bptt", "20:8"), ("K1 <= K2", "'20:8'")),
        (("--bptt", "8:20", "--seq-len", "8"), ("--bptt or --seq-len, got both",)),
        (("--bptt", "3000:4000"), ("K1 of --bptt", "try a smaller --batch or K1")),
        (("--bptt", "8:20", "--random-lengths"), ("--bptt or --random-lengths, got both",)),
        (("--weight-drop", "1.5"), ("--weight-drop from 0 up to below 1",)),
        (("--label-smoothing", "-0.1"), ("--label-smoothing from 0 up to below 1",)),
        (("--temporal-penalty", "-1"), ("--temporal-penalty of 0 or more",)),
    ],
)
def test_bad_options_are_one_clear_error(names, options, parts):
    result = charrnn("train", "data", "--out", "run", "--hidden", "8", *options, cwd=names)
    check_failure(result, *parts)
    assert not (names / "run").exists()


def test_a_text_without_lines_can_neither_be_stateless_nor_sampled_by_lines(tmp_path):
    (tmp_path / "text.txt").write_text("abcd" * 100)
    charrnn("prepare", "text.txt", "--out", "data", cwd=tmp_path)
    check_failure(charrnn("train", "data", "--out", "run", "--stateless", *SIZES, cwd=tmp_path), "line break")
    assert charrnn("train", "data", "--out", "run", *SIZES, "--steps", "2", cwd=tmp_path).returncode == 0
    check_failure(charrnn("sample", "run", "--lines", "2", cwd=tmp_path), "knows the line break for --lines")


def test_a_prompt_to_a_stateless_model_begins_a_line(names):
    """What it does is what the beginning of a line does, and the line break is not printed."""
    trained = charrnn("train", "data", "--out", "run", "--stateless", *SIZES, "--steps", "5", cwd=names)
    assert trained.returncode == 0, trained.stderr
    sampled = [
        charrnn("sample", "run", "--prompt", prompt, "--length", "40", "--seed", "3", cwd=names).stdout
        for prompt in ("an", "\nan", "gustav\nan")
    ]
    assert sampled[0].startswith("an") and len(set(sampled[0])) > 8
    assert sampled[1] == "\n" + sampled[0]
    assert sampled[2] == "gustav\n" + sampled[0]


def test_gradcheck_refuses_what_it_would_not_check(names):
    assert charrnn("train", "data", "--out", "run", *SIZES, "--steps", "2", cwd=names).returncode == 0
    check_failure(charrnn("gradcheck", "run", "--data", "data", "--layer-norm", cwd=names), "--layer-norm")
    check_failure(charrnn("gradcheck", "run", "--data", "data", "--reset", "before", cwd=names), "got lstm")
    check_failure(charrnn("gradcheck", "--bptt", "3:6", "--seq-len", "4", cwd=names), "--bptt or --seq-len")


def test_a_resumed_run_keeps_its_model(names):
    assert charrnn("train", "data", "--out", "run", *SIZES, "--steps", "2", cwd=names).returncode == 0
    result = charrnn("train", "data", "--out", "run", "--resume", "--steps", "4", "--layer-norm", cwd=names)
    check_failure(result, "--layer-norm")


def test_fine_tuning_may_change_the_rates_of_zoneout_and_nothing_else_of_the_model(names):
    assert charrnn("train", "data", "--out", "run", *SIZES, "--steps", "2", cwd=names).returncode == 0
    begin = ("train", "data", "--init-from", "run", "--batch", "2", "--seq-len", "8", "--steps", "2")
    tuned = charrnn(*begin, "--out", "tuned", "--zoneout", "0.2", cwd=names)
    assert tuned.returncode == 0, tuned.stderr
    assert json.loads((names / "tuned" / "config.json").read_text())["model"]["zoneout"] == 0.2
    check_failure(
        charrnn(*begin, "--out", "x", "--stateless", cwd=names), "expected no --stateless, as run has it, got"
    )
    fast = charrnn(*begin, "--out", "fast", "--preset", "fast", "--precision", "float32", cwd=names)
    assert "--preset fast does not change the model: it is that of run" in fast.stderr


def test_a_diverging_run_is_warned_of_and_its_losses_are_shown(names):
    """Adam at such a rate keeps the loss finite, but far above guessing."""
    wild = ("--lr", "1000", "--schedule", "constant", "--warmup", "0", "--steps", "6", "--eval-every", "2")
    trained = charrnn("train", "data", "--out", "run", *SIZES, *wild, cwd=names)
    assert trained.returncode == 1
    assert "warning: the validation loss is above that of guessing" in trained.stderr
    assert "expected a model that is better than guessing" in trained.stderr
    assert not (names / "run" / "best.npz").exists()
    evaluated = charrnn("eval", "run/last.npz", "--json", cwd=names)
    assert evaluated.returncode == 0, evaluated.stderr
    answer = json.loads(evaluated.stdout)
    assert answer["loss"] > 700
    assert answer["perplexity"] is None
    assert "perplexity inf" in charrnn("eval", "run", cwd=names).stdout
    lines = journal(names / "run")
    logged = {line["step"] for line in lines if line["kind"] == "train"}
    assert {line["step"] for line in lines if line["kind"] == "eval"} == {2, 4, 6} <= logged


def test_a_run_out_of_patience_says_so(names):
    patient = ("--lr", "1e-12", "--steps", "90", "--eval-every", "1", "--patience", "2")
    trained = charrnn("train", "data", "--out", "run", *SIZES, *patient, cwd=names)
    assert "stopped by --patience 2" in trained.stderr
    again = charrnn("train", "data", "--out", "run", "--resume", "--steps", "99", cwd=names)
    assert "try a larger --patience" in again.stderr


def test_every_setting_of_a_model_is_an_option_of_every_command_that_makes_one():
    settings = {field.name for field in fields(ModelConfig)} - {"symbols", "cell_source", "cell_declaration"}
    assert set(MODEL_SETTINGS) == settings
    for name in ("train", "gradcheck", "bench", "info"):
        found = {param.name for param in typer.main.get_command(app).commands[name].params}
        assert settings <= found
