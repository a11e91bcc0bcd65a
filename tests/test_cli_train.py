"""`charrnn prepare` and `charrnn train` as a user runs them: what they print and what they leave behind."""

import hashlib
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
from datetime import datetime, timedelta

import numpy as np
import pytest
import typer
from helpers_cli import (
    SIZES,
    TIMEOUT,
    begin,
    charrnn,
    check_failure,
    environment,
    interrupt_when,
    journal,
    open_terminal,
    read_to_end,
    saved_step,
    tree,
)
from shop import TEXT
from texts import check_message

import charrnn as package
from charrnn.cli.app import app
from charrnn.errors import ConfigError
from charrnn.folders import locked
from charrnn.training.presets import PRESETS

TRAIN_KEYS = ["kind", "step", "epoch", "chars", "seconds", "loss", "bpc", "lr", "grad_norm", "chars_per_second"]
EVAL_KEYS = ["kind", "split", "step", "chars", "loss", "bpc", "seconds"]


def test_prepare_prints_one_json_object_that_is_meta_json(shop):
    meta = json.loads(shop.prepared.stdout)
    assert meta.pop("up_to_date") is False
    assert meta == json.loads((shop.folder / "data" / "meta.json").read_text())
    assert meta["inputs"][0]["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (meta["characters"], meta["symbols"]) == (len(TEXT), len(set(TEXT)))


def test_prepare_without_json_prints_nothing_on_standard_output(tmp_path):
    (tmp_path / "a.txt").write_bytes("déjà vu\r\n".encode("latin-1") * 9)
    args = ("prepare", "a.txt", "--out", "deep/data", "--encoding", "latin-1")
    result = charrnn(*args, cwd=tmp_path)
    assert (result.stdout, result.returncode) == ("", 0)
    assert "81 characters" in result.stderr
    (tmp_path / "a.txt").write_text("another text " * 9)
    again = charrnn(*args, "--force", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["characters"] == 117
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "deep"]


def test_the_empty_working_folder_can_be_the_output(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "a.txt").write_text(TEXT)
    result = charrnn("prepare", "../a.txt", "--out", ".", cwd=tmp_path / "here")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "here" / "meta.json").is_file()


def test_an_older_run_in_the_working_folder_is_never_lost(shop, tmp_path):
    shutil.copytree(shop.run, tmp_path / "run")
    before = tree(tmp_path / "run")
    force = (*SIZES, "--steps", "2", "--force")
    done = charrnn("train", str(shop.folder / "data"), "--out", ".", *force, cwd=tmp_path / "run")
    check_failure(done, "the working folder; try from outside it")
    assert tree(tmp_path / "run") == before


def test_a_run_in_use_is_not_resumed(shop, tmp_path):
    shutil.copytree(shop.run, tmp_path / "run")
    with locked(tmp_path / "run"):
        resumed = ("train", str(shop.folder / "data"), "--out", "run", "--resume", "--steps", "9")
        check_failure(charrnn(*resumed, cwd=tmp_path), "for this command alone", "in use")


def test_previews_have_the_length_asked_for_and_are_the_same_in_a_run_that_is_repeated(shop, tmp_path):
    previews = []
    for run in ("one", "two"):
        options = (*SIZES, "--steps", "4", "--eval-every", "2", "--preview", "70")
        done = charrnn("train", str(shop.folder / "data"), "--out", run, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        previews.append([line["preview"] for line in journal(tmp_path / run) if line["kind"] == "eval"])
    assert previews[0] == previews[1]
    assert [len(text) for text in previews[0]] == [70, 70]
    assert set("".join(previews[0])) <= set(TEXT)


def test_a_preset_gives_its_settings_unless_they_are_given(shop, tmp_path):
    options = ("--preset", "classic", "--batch", "2", "--hidden", "8", "--steps", "1")
    done = charrnn("train", str(shop.folder / "data"), "--out", "run", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    settings = config["model"] | config["training"]
    wanted = PRESETS["classic"] | {"batch": 2, "hidden": 8, "steps": 1}
    del wanted["epochs"]  # the run ends after its steps
    assert {name: settings[name] for name in wanted} == wanted


def test_the_classic_preset_is_what_the_documentation_says():
    sizes = {"layers": 2, "hidden": 128, "batch": 50, "seq_len": 50, "epochs": 50}
    rates = {"optimiser": "rmsprop", "lr": 0.002, "schedule": "constant", "clip_value": 0.1, "clip_norm": 0}
    without = dict.fromkeys(("dropout", "weight_drop", "reset_every", "shuffle"), 0)
    wanted = {"cell": "lstm", "forget_bias": "1"} | sizes | rates | without
    assert {name: PRESETS["classic"][name] for name in wanted} == wanted


def test_train_prints_nothing_on_standard_output_without_json(bytes_shop):
    assert bytes_shop.trained.stdout == ""
    assert "validation" in bytes_shop.trained.stderr
    assert "charrnn sample data-run" in bytes_shop.trained.stderr


def test_train_prints_one_json_object_of_figures_that_the_journal_agrees_with(shop):
    assert shop.trained.stdout.count("\n") == 1
    figures = json.loads(shop.trained.stdout)
    assert (figures["run"], figures["step"], figures["chars"]) == ("data-run", 5, 5 * 2 * 8)
    assert figures["interrupted"] is False
    assert figures["best_val_bpc"] == pytest.approx(figures["best_val_loss"] / math.log(2))
    evaluations = [line for line in journal(shop.run) if line["kind"] == "eval"]
    assert figures["best_val_loss"] == pytest.approx(min(line["loss"] for line in evaluations), rel=1e-5)


def test_a_run_knows_where_it_comes_from_and_json_says_all_that_is_known(shop, tmp_path):
    shutil.copytree(shop.folder / "data", tmp_path / "data")
    args = ("--hidden", "8", "--layers", "1", "--steps", "6", "--log-every", "2", "--note", "first try")
    result = charrnn("train", "data", "--out", "run", *args, "--name", "tea", "--json", cwd=tmp_path)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    origin = config["origin"]
    assert list(origin) == ["name", "note", "date", "version", "host", "cpu", "command"]
    assert (origin["name"], origin["note"], origin["version"]) == ("tea", "first try", package.__version__)
    assert origin["command"].startswith("charrnn train data --out run --hidden 8")
    assert datetime.fromisoformat(origin["date"]).utcoffset() == timedelta(0)
    assert json.loads(result.stdout)["config"] == config
    assert [line["step"] for line in journal(tmp_path / "run") if line["kind"] == "train"] == [2, 4, 6]
    again = charrnn("train", "data", "--out", "run", "--resume", "--note", "done", "--json", cwd=tmp_path)
    assert again.returncode == 0
    assert "finished already" in again.stderr
    figures = json.loads(again.stdout)
    assert figures["config"]["origin"] == origin | {"note": "done"}
    assert figures["step"] == 6


def test_a_run_holds_its_four_files_and_a_journal_with_the_documented_fields(shop):
    assert sorted(p.name for p in shop.run.iterdir()) == ["best.npz", "config.json", "last.npz", "log.jsonl"]
    lines = journal(shop.run)
    assert {line["kind"] for line in lines} == {"train", "eval", "event"}
    for line in lines:
        assert list(line)[:2] == ["kind", "name"] if line["kind"] == "event" else True
        assert list(line) == {"train": TRAIN_KEYS, "eval": EVAL_KEYS, "event": list(line)}[line["kind"]]
        if "loss" in line:
            assert line["bpc"] == pytest.approx(line["loss"] / math.log(2), rel=1e-4)
            assert 0 < line["loss"] < 2 * math.log(len(set(TEXT)))
    last = [line for line in lines if line["kind"] == "train"][-1]
    train_size, val_size = (json.loads(shop.prepared.stdout)["splits"][name] for name in ("train", "val"))
    assert (last["step"], last["chars"]) == (5, 80)
    assert last["epoch"] == pytest.approx(40 / ((train_size - 1) // 2), rel=1e-4)
    assert last["seconds"] == pytest.approx(json.loads(shop.trained.stdout)["seconds"], rel=1e-4)
    assert all(line["chars"] == val_size - 1 for line in lines if line["kind"] == "eval")


def test_output_that_is_no_terminal_has_no_escape_codes(shop, bytes_shop):
    for result in (shop.prepared, shop.trained, bytes_shop.trained):
        assert "\x1b" not in result.stdout + result.stderr
        assert "\r" not in result.stdout + result.stderr


def test_a_terminal_gets_a_progress_bar(shop, tmp_path):
    reader, terminal = open_terminal()
    args = ("train", str(shop.folder / "data"), "--out", "run", *SIZES, "--minutes", "0.02")
    variables = environment(TERM="xterm-256color", COLUMNS="120")
    process = begin(*args, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = read_to_end(reader)
    assert process.wait(TIMEOUT) == 0
    assert re.search(rb"\d+% ?\|", shown)


def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(shop, tmp_path):
    data, constant = str(shop.folder / "data"), ("--schedule", "constant")
    for args in (("--steps", "2"), ("--steps", "5", "--resume")):
        assert charrnn("train", data, "--out", "parts", *SIZES, *constant, *args, cwd=tmp_path).returncode == 0
    assert charrnn("train", data, "--out", "whole", *SIZES, *constant, "--steps", "5", cwd=tmp_path).returncode == 0
    with np.load(tmp_path / "parts" / "last.npz") as parts, np.load(tmp_path / "whole" / "last.npz") as whole:
        assert parts.files == whole.files
        numbers = [name for name in whole.files if "/" in name]
        assert len(numbers) == 17
        assert [name for name in numbers if parts[name].tobytes() != whole[name].tobytes()] == []


@pytest.mark.parametrize("command", ["train", "sample"])
def test_what_does_not_fit_into_the_free_memory_is_refused_before_anything_is_made(
    shop, tmp_path, monkeypatch, command
):
    monkeypatch.setattr("charrnn.runtime.available_memory", lambda: 2_000_000)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    arguments = {
        "train": ["train", str(shop.folder / "data"), "--out", str(tmp_path / "run"), "--hidden", "512"],
        "sample": ["sample", str(shop.run), "--count", "64", "--length", "1000"],
    }
    with pytest.raises(ConfigError) as error:
        typer.main.get_command(app).main(arguments[command], standalone_mode=False)
    check_message(error, "free memory")
    assert not (tmp_path / "run").exists()


def has_trained(run):
    """Whether the journal of a run says that it has made steps."""
    log = run / "log.jsonl"
    return log.exists() and '"kind": "train"' in log.read_text()


def test_a_logout_saves_though_it_sends_two_signals(shop, tmp_path):
    args = ("train", str(shop.folder / "data"), "--out", "run", *SIZES, "--minutes", "30")
    process = begin(*args, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    message, status = interrupt_when(process, lambda: has_trained(tmp_path / "run"), signal.SIGTERM, signal.SIGHUP)
    assert status == 128 + signal.SIGHUP
    assert "--resume" in message.splitlines()[-1]
    last = journal(tmp_path / "run")[-1]
    assert last["name"] == "interrupt"
    assert saved_step(tmp_path / "run") == last["step"] > 0


def test_ctrl_c_saves_and_exits_with_130_and_resume_finishes_the_count(shop, tmp_path):
    data = str(shop.folder / "data")
    args = ("train", data, "--out", "run", *SIZES, "--minutes", "30")
    process = begin(*args, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    message, status = interrupt_when(process, lambda: has_trained(tmp_path / "run"))
    assert status == 130
    assert "Traceback" not in message
    assert "--resume" in message.splitlines()[-1]
    step = saved_step(tmp_path / "run")
    assert step > 0
    resumed = charrnn("train", data, "--out", "run", "--resume", "--steps", str(step + 3), "--json", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    piece = (json.loads(shop.prepared.stdout)["splits"]["train"] - 1) // 2

    def chars(steps):
        epochs, rest = divmod(steps, math.ceil(piece / 8))
        return 2 * (epochs * piece + rest * 8)

    assert (json.loads(resumed.stdout)["step"], json.loads(resumed.stdout)["chars"]) == (step + 3, chars(step + 3))
    lines = journal(tmp_path / "run")
    assert [line["name"] for line in lines if line["kind"] == "event"] == ["start", "interrupt", "resume", "end"]
    train = [line for line in lines if line["kind"] == "train"]
    assert [line["chars"] for line in train] == [chars(line["step"]) for line in train]
    assert [line["seconds"] for line in train] == sorted(line["seconds"] for line in train)
    assert (train[-2]["step"], train[-1]["step"]) == (step, step + 3)


def test_a_run_without_time_for_a_step_is_an_error(shop, tmp_path):
    result = charrnn("train", str(shop.folder / "data"), "--out", "run", "--minutes", "1e-9", cwd=tmp_path)
    assert result.returncode == 1
    assert "got none in --minutes 1e-09; try more minutes" in result.stderr


def test_what_says_when_to_evaluate_needs_something_to_evaluate(shop, tmp_path):
    prepared = charrnn("prepare", str(shop.folder / "data.txt"), "--val", "0", "--out", "whole", cwd=tmp_path)
    assert prepared.returncode == 0
    for option in ("--patience 2", "--eval-every 3", "--keep 1", "--preview 9", "--schedule plateau"):
        result = charrnn("train", "whole", "--out", "run", *option.split(), cwd=tmp_path)
        name = option if option == "--schedule plateau" else option.split()[0]
        check_failure(result, f"a validation part for {name}, got whole without", "--val 0.1")
    off = ("--patience", "0", "--keep", "0", "--preview", "0", *SIZES, "--steps", "2")
    assert charrnn("train", "whole", "--out", "off", *off, cwd=tmp_path).returncode == 0
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_without_its_data_asks_for_it(shop, tmp_path):
    shutil.copytree(shop.folder, tmp_path / "shop", symlinks=True)
    config = tmp_path / "shop" / "data-run" / "config.json"
    content = json.loads(config.read_text())
    content["data"]["path"] = str(tmp_path / "gone")
    config.write_text(json.dumps(content))
    result = charrnn("train", "--resume", "--out", "data-run", "--steps", "9", cwd=tmp_path / "shop")
    check_failure(result, "expected the data of data-run", "try charrnn train DATA --resume --out data-run")


@pytest.mark.parametrize(
    "options, parts",
    [
        (("--bptt", "16:16", "--seq-len", "99"), ["--bptt or --seq-len, got both"]),
        (("--bptt", "8:16"), ["expected no --bptt, as run has it, got 8:16", "or without --resume"]),
        (("--patience", "2"), ["a validation part for --patience"]),
    ],
)
def test_what_has_no_effect_is_refused_on_a_resume_too(shop, tmp_path, options, parts):
    assert (
        charrnn("prepare", str(shop.folder / "data.txt"), "--out", "data", "--val", "0", cwd=tmp_path).returncode == 0
    )
    assert charrnn("train", "data", "--out", "run", *SIZES, "--steps", "1", cwd=tmp_path).returncode == 0
    check_failure(charrnn("train", "--resume", "--out", "run", *options, "--steps", "3", cwd=tmp_path), *parts)
    check_failure(charrnn("train", "--resume", "--out", "run/last.npz", cwd=tmp_path), "try --out run")


def test_a_resumed_run_finds_its_data(shop, tmp_path):
    data = str(shop.folder / "data")
    assert charrnn("train", data, "-o", "run", *SIZES, "--cell", "LSTM", "--steps", "2", cwd=tmp_path).returncode == 0
    result = charrnn("train", "--resume", "--out", "run", "--steps", "3", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["step"] == 3
    without = charrnn("train", "--out", "new", cwd=tmp_path)
    assert (without.returncode, without.stdout) == (2, "")
    assert "Missing argument 'DATA'" in without.stderr
