"""The command line, run as a user runs it: what it prints, what it exits with, what it leaves behind."""

import hashlib
import json
import math
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers_cli import SIZES, TIMEOUT, charrnn, check_failure, command, environment, prepare_and_train, tree

import charrnn as package

WORDS = "the cat sat on a mat and saw that rat where café noir was drunk"
TEXT = "".join(f"{WORDS[k % 31 :]}\n{WORDS[: k % 17 + 1]}\n" for k in range(40))
BYTES = bytes(range(256)) * 3 + b"\xff\n" * 200
TRAIN_KEYS = ["kind", "step", "epoch", "chars", "seconds", "loss", "bpc", "lr", "grad_norm", "chars_per_second"]
EVAL_KEYS = ["kind", "split", "step", "chars", "loss", "bpc", "seconds"]


def rewrite(source, target, **changes):
    """A copy of a checkpoint with some arrays changed."""
    with np.load(source) as file:
        arrays = dict(file.items()) | changes
    np.savez(target, **arrays)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with text, DATA and RUN, and much that is wrong; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("shop")
    prepared, trained = prepare_and_train(folder, TEXT, "data", "--json")
    assert (prepared.returncode, trained.returncode) == (0, 0), prepared.stderr + trained.stderr
    run = folder / "data-run"
    # texts and DATA folders
    (folder / "empty.txt").touch()
    (folder / "bad.txt").write_bytes(b"abc\xff\xfe" * 9)
    (folder / "unknown.txt").write_text(TEXT + "ж")
    (folder / "one.txt").write_text("t")
    (folder / "upper.txt").write_text(TEXT.upper())
    (folder / "turned.txt").write_text(TEXT[::-1])
    for name, text in (("short", "the cat\n" * 4), ("upper", None), ("turned", None)):
        if text:
            (folder / f"{name}.txt").write_text(text)
        assert charrnn("prepare", f"{name}.txt", "--out", name, cwd=folder).returncode == 0
    shutil.copytree(folder / "data", folder / "cut")
    (folder / "cut" / "train.npy").write_bytes((folder / "data" / "train.npy").read_bytes()[:500])
    shutil.copytree(folder / "data", folder / "wild")
    symbols = np.load(folder / "data" / "train.npy")
    symbols[len(symbols) // 2] = 255
    np.save(folder / "wild" / "train.npy", symbols)
    # checkpoints and RUN folders
    content = (run / "last.npz").read_bytes()
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    np.savez(folder / "foreign.npz", weights=np.zeros(3))
    rewrite(run / "last.npz", folder / "newer.npz", format_version=3)
    for name in ("stateless", "momentless"):
        shutil.copytree(run, folder / name)
    rewrite(run / "last.npz", folder / "stateless" / "last.npz", **{"state/h": np.zeros((1, 3, 8), np.float32)})
    rewrite(run / "last.npz", folder / "momentless" / "last.npz", **{"optimiser/v/b_y": np.zeros(3, np.float32)})
    (folder / "bert").mkdir()
    (folder / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "bert" / "weights.bin").write_bytes(b"months of work")
    (folder / "files").mkdir()
    (folder / "files" / "letter.txt").write_text("a letter")
    return SimpleNamespace(folder=folder, run=run, prepared=prepared, trained=trained)


@pytest.fixture(scope="module")
def bytes_shop(tmp_path_factory):
    """A folder with a byte-level DATA and RUN; the run was made without --json."""
    folder = tmp_path_factory.mktemp("bytes")
    prepared, trained = prepare_and_train(folder, BYTES, "data")
    assert (prepared.returncode, trained.returncode) == (0, 0), prepared.stderr + trained.stderr
    return SimpleNamespace(folder=folder, prepared=prepared, trained=trained)


def sample_json(folder, *args, run="data-run"):
    result = charrnn("sample", run, "--json", *args, cwd=folder)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["texts"]


def journal(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


# ------------------------------------------------------------------------------------------ help and usage


def test_help_names_every_command_and_imports_neither_numba_nor_numpy(tmp_path):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "charrnn", "--help"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    imported = {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if "|" in line}
    assert "charrnn.cli.app" in imported
    assert not imported & {"numba", "numpy", "llvmlite", "rich", "tqdm"}
    assert result.returncode == 0
    for name in ("prepare", "train", "sample", "gradcheck", "eval"):
        assert re.search(rf"^ +{name} ", result.stdout, re.MULTILINE)


def test_version_is_one_line_on_standard_output(tmp_path):
    result = charrnn("--version", cwd=tmp_path)
    assert (result.stdout, result.stderr, result.returncode) == (f"charrnn {package.__version__}\n", "", 0)


@pytest.mark.parametrize(
    "args",
    [
        ["fly"],
        ["--fly"],
        ["train"],
        ["train", "data"],
        ["train", "data", "--out", "new", "--hidden", "many"],
        ["prepare", "--out", "new"],
        ["sample", "data-run", "--length"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_says_so_on_standard_error(tmp_path, args):
    result = charrnn(*args, cwd=tmp_path)
    assert (result.stdout, result.returncode) == ("", 2)
    assert "Error" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------- bad input

BAD_PREPARE = [
    (["none.txt"], "none.txt: No such file"),
    (["data.txt", "empty.txt"], "the empty file empty.txt"),
    (["files", "--glob", "*.py"], "fit '*.py' in files, got none"),
    (["data.txt", "--val-file", "one.txt", "--val", "0.2"], "--val or --val-file"),
    (["data.txt", "--val-file", "one.txt"], "got 1 in val"),
    (["data.txt", "--vocab-from", "files"], "the folder files"),
    (["unknown.txt", "--vocab-from", "data"], "'ж' (U+0436)"),
    (["unknown.txt", "--vocab-from", "data-run"], "'ж' (U+0436)"),
    (["unknown.txt", "--vocab-from", "data", "--level", "byte"], "level char"),
    (["data.txt", "--max-vocab", "1"], "--max-vocab"),
    (["data.txt", "--errors", "ignore"], "'ignore'"),
    (["-"], "standard input, which is empty"),
    (["bad.txt"], "bytes ff at offset 3 of bad.txt"),
    (["data.txt", "--level", "word"], "'word'"),
    (["data.txt", "--encoding", "klingon"], "'klingon'"),
    (["data.txt", "--encoding", "undefined"], "'undefined'"),
    (["data.txt", "--val", "1"], "--val"),
    (["data.txt", "--val", "-0.1"], "--val"),
    (["data.txt", "--test", "nan"], "--test"),
    (["one.txt"], "1 in train of a text of 1"),
    (["upper.txt", "--out", "data"], "data.txt (gone), upper.txt (new); try --force"),
    (["data.txt", "--out", "data", "--lowercase"], "changes: --lowercase; try --force"),
    (["data.txt", "--out", "files", "--force"], "something else"),
    (["data.txt", "--out", "data.txt", "--force"], "something else"),
    (["data.txt", "--out", "data.txt/new"], "data.txt/new"),
    (["data.txt", "--out", "data-run", "--force"], "something else"),
]


BAD_TRAIN = [
    (["none"], "got none: nothing there"),
    (["data.txt"], "got data.txt: a file"),
    (["data-run"], "without meta.json"),
    (["short", "--batch", "4"], "got 29; try --batch"),
    (["cut"], "damaged"),
    (["wild"], "wild"),
    (["data", "--out", "data-run"], "--force to replace it"),
    (["data", "--out", "data", "--force"], "something else"),
    (["data", "--out", "bert", "--force"], "something else"),
    (["data", "--out", "data.txt", "--force"], "something else"),
    (["data", "--out", "data.txt/new"], "data.txt/new"),
    (["data", "--hidden", "0"], "hidden of at least 1, got 0"),
    (["data", "--hidden", "1000000000"], "--hidden"),
    (["data", "--layers", "0"], "layers of at least 1, got 0"),
    (["data", "--embed", "-1"], "embed of at least 0, got -1"),
    (["data", "--batch", "0"], "--batch of at least 1, got 0"),
    (["data", "--batch", "1000000"], "try --batch"),
    (["data", "--seq-len", "-1"], "--seq-len of at least 1, got -1"),
    (["data", "--lr", "0"], "--lr above 0, got 0"),
    (["data", "--lr", "nan"], "--lr above 0, got nan"),
    (["data", "--lr", "inf"], "--lr above 0, got inf"),
    (["data", "--clip-norm", "-1"], "--clip-norm of 0 or more, got -1"),
    (["data", "--momentum", "1"], "--momentum"),
    (["data", "--steps", "-1"], "--steps of 0 or more, got -1"),
    (["data", "--threads", "0"], "--threads from 1 to 1024, got 0"),
    (["data", "--seed", "-1"], "--seed of 0 or more, got -1"),
    (["data", "--seed", str(2**63)], "--seed below 2^63"),
    (["data", "--cell", "foo"], "rnn, lstm, gru, got 'foo'"),
    (["data", "--nonlinearity", "foo"], "tanh, relu, got 'foo'"),
    (["data", "--optimiser", "foo"], "adam, adamw, muon, rmsprop, sgd, adagrad, got 'foo'"),
    (["data", "--init", "foo"], "uniform, orthogonal, got 'foo'"),
    (["data", "--forget-bias", "foo"], "a number from -20 to 20 or chrono, got 'foo'"),
    (["data", "--forget-bias", "nan"], "a number from -20 to 20 or chrono, got 'nan'"),
    (["data", "--reset-every", "-1"], "--reset-every of 0 or more, got -1"),
    (["data", "--optimiser", "muon", "--matrix-lr", "0"], "--matrix-lr above 0, got 0"),
    (["data", "--preset", "foo"], "fast, quality, classic, got 'foo'"),
    (["data", "--warmup", "-1"], "--warmup of 0 or more, got -1"),
    (["data", "--dropout", "1"], "--dropout from 0 up to below 1, got 1"),
    (["data", "--ema", "1"], "--ema from 0 up to below 1, got 1"),
    (["data", "--accumulate", "0"], "--accumulate of at least 1, got 0"),
    (["data", "--dropout-kind", "foo"], "standard, variational, got 'foo'"),
    (["data", "--batch", "40", "--accumulate", "40"], "try --accumulate 1"),
    (["data", "--init-from", "none"], "got none"),
    (["data", "--init-from", "cut.npz"], "truncated or damaged"),
    (["data", "--init-from", "data-run", "--hidden", "9"], "--hidden 8 as data-run has it, got 9"),
    (["data", "--init-from", "data-run", "--layers", "3"], "--layers 1 as data-run has it, got 3"),
    (["data", "--init-from", "data-run", "--resume"], "--resume or --init-from"),
    (["data", "--schedule", "foo"], "constant, linear, cosine, step, plateau, got 'foo'"),
]
BAD_RESUME = [
    (["data", "--out", "new"], "RUN folder to resume, got new"),
    (["data", "--out", "data"], "RUN folder to resume, got data"),
    (["data", "--out", "data-run", "--force"], "--resume or --force, got both"),
    (["data", "--out", "data-run", "--hidden", "16"], "--hidden 8 as data-run has it, got 16"),
    (["data", "--out", "data-run", "--lr", "0.1"], "--lr 0.015 as data-run has it, got 0.1"),
    (["data", "--out", "data-run", "--steps", "-1"], "--steps of 0 or more, got -1"),
    (["upper", "--out", "data-run"], "vocabulary"),
    (["turned", "--out", "data-run"], "another text"),
    (["data", "--out", "bert"], "bert"),
    (["data", "--out", "stateless"], "damaged"),
    (["data", "--out", "momentless"], "damaged"),
]


BAD_SAMPLE = [
    (["none"], "got none"),
    (["data"], "best.npz or last.npz, got the folder data"),
    (["data.txt"], "data.txt"),
    (["cut.npz"], "cut.npz, truncated or damaged"),
    (["foreign.npz"], "foreign.npz"),
    (["newer.npz"], "try a newer charrnn"),
    (["data-run", "--length", "0"], "--length"),
    (["data-run", "--count", "0"], "--count"),
    (["data-run", "--temperature", "-1"], "--temperature from 0 to 100, got -1"),
    (["data-run", "--temperature", "nan"], "--temperature from 0 to 100, got nan"),
    (["data-run", "--seed", "-1"], "--seed"),
    (["data-run", "--threads", "0"], "--threads"),
    (["data-run", "--prompt", "the жук"], "'ж' (U+0436) at position 4 of the prompt"),
    (["data-run", "--prompt", "the жук", "--unknown", "replace"], "try --unknown skip"),
    (["data-run", "--unknown", "ignore"], "'ignore'"),
]
BAD_EVAL = [
    (["none"], "got none"),
    (["cut.npz", "data"], "cut.npz, truncated or damaged"),
    (["newer.npz", "data"], "try a newer charrnn"),
    (["data-run", "upper"], "vocabulary"),
    (["data-run", "unknown.txt"], f"'ж' (U+0436) at position {len(TEXT)} of unknown.txt"),
    (["data-run", "unknown.txt", "--unknown", "replace"], "try --unknown skip"),
    (["data-run", "--dynamic", "--dynamic-lr", "0"], "--dynamic-lr above 0, got 0"),
    (["data-run", "data.txt", "--encoding", "klingon"], "'klingon'"),
    (["data-run", "bad.txt"], "bytes ff at offset 3 of bad.txt"),
    (["data-run", "empty.txt"], "the empty file empty.txt"),
    (["data-run", "one.txt"], "at least 2 characters"),
    (["data-run", "none"], "got none: nothing there"),
    (["data-run", "data", "--split", "test"], "(train, val), got 'test'"),
]
FULL = {
    "prepare": ["--out", "new"],
    "train": ["--out", "new", *SIZES, "--steps", "5"],
    "train --resume": ["--steps", "7"],
    "sample": [],
    "eval": [],
}
BAD = list(zip(FULL, (BAD_PREPARE, BAD_TRAIN, BAD_RESUME, BAD_SAMPLE, BAD_EVAL), strict=True))
BAD = [(name, args, part) for name, cases in BAD for args, part in cases]


@pytest.mark.parametrize("name, args, part", BAD, ids=[f"{name} {' '.join(args)}" for name, args, _ in BAD])
def test_bad_input_is_answered_in_one_line_and_leaves_all_as_it_was(shop, tmp_path, name, args, part):
    copy = tmp_path / "shop"
    shutil.copytree(shop.folder, copy)
    before = tree(copy)
    # Of an option given twice the last counts: what is wrong comes after what makes the command whole.
    check_failure(charrnn(*name.split(), *FULL[name], *args, "--json", cwd=copy), part)
    assert tree(copy) == before


def test_a_prompt_that_is_no_text_is_answered_in_one_line(shop):
    check_failure(charrnn("sample", "data-run", "--prompt", b"the \xff", cwd=shop.folder), "position 4 of the prompt")


def test_debugging_shows_the_traceback_of_an_error(shop):
    result = charrnn("sample", "cut.npz", cwd=shop.folder, CHARRNN_DEBUG="1")
    assert "Traceback" in result.stderr
    assert result.returncode == 1


@pytest.mark.parametrize("args", [["sample", "data-run"], ["eval", "data-run", "--json"]])
def test_a_full_disk_behind_standard_output_is_said_and_is_no_bug_to_report(shop, args):
    with open("/dev/full", "wb") as full:
        result = charrnn(*args, cwd=shop.folder, stdout=full)
    check_failure(result, "No space left on device")
    assert "report it" not in result.stderr


# ------------------------------------------------------------------------------------------- prepare, train


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
    charrnn("train", str(shop.folder / "data"), "--out", ".", *SIZES, "--steps", "2", "--force", cwd=tmp_path / "run")
    names = [path.name for path in (tmp_path / "run").iterdir()]
    assert "last.npz" in names
    assert "config.json" in names


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


def test_a_terminal_gets_a_progress_bar_and_no_color_keeps_colours_away(shop, tmp_path):
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    process = subprocess.Popen(
        command("train", str(shop.folder / "data"), "--out", "run", *SIZES, "--minutes", "0.02"),
        cwd=tmp_path,
        env=environment(NO_COLOR="1", TERM="xterm-256color", COLUMNS="120"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(reader, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(reader)
    assert process.wait(TIMEOUT) == 0
    assert re.search(rb"\d+% ?\|", shown)
    assert not re.search(rb"\x1b\[[0-9;]*m", shown)


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


def interrupt_when(process, condition):
    """Send SIGINT once the condition holds; returns standard error and the exit status."""
    limit = time.monotonic() + TIMEOUT
    while not condition() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=TIMEOUT)[1], process.returncode


def test_ctrl_c_saves_and_exits_with_130_and_resume_finishes_the_count(shop, tmp_path):
    data, log = str(shop.folder / "data"), tmp_path / "run" / "log.jsonl"
    process = subprocess.Popen(
        command("train", data, "--out", "run", *SIZES, "--minutes", "30"),
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    message, status = interrupt_when(process, lambda: log.exists() and '"kind": "train"' in log.read_text())
    assert status == 130
    assert "Traceback" not in message
    assert "--resume" in message.splitlines()[-1]
    with np.load(tmp_path / "run" / "last.npz", allow_pickle=False) as file:
        step = json.loads(str(file["progress"]))["step"]
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


# ---------------------------------------------------------------------------------------------------- eval


def test_eval_of_a_run_finds_the_loss_that_training_found(shop):
    result = charrnn("eval", "data-run", "--json", cwd=shop.folder)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["loss"] == pytest.approx(json.loads(shop.trained.stdout)["best_val_loss"], rel=1e-6)
    assert figures["bpc"] == pytest.approx(figures["loss"] / math.log(2))
    assert figures["chars"] == json.loads(shop.prepared.stdout)["splits"]["val"] - 1


def test_eval_of_a_text_file_counts_every_character_but_the_first(shop):
    result = charrnn("eval", "data-run/last.npz", "data.txt", "--json", cwd=shop.folder)
    assert json.loads(result.stdout)["chars"] == len(TEXT) - 1


def test_eval_finds_the_data_of_a_run_from_another_working_folder(shop, tmp_path):
    result = charrnn("eval", str(shop.run), "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["chars"] == json.loads(shop.prepared.stdout)["splits"]["val"] - 1


# -------------------------------------------------------------------------------------------------- sample


def test_length_counts_the_characters_after_the_prompt(shop):
    prompt = "the café"
    (text,) = sample_json(shop.folder, "--length", "70", "--prompt", prompt)
    assert text.startswith(prompt)
    assert len(text) == len(prompt) + 70
    assert set(text) <= set(TEXT)
    shown = charrnn("sample", "data-run", "--length", "70", "--prompt", prompt, cwd=shop.folder)
    assert shown.stdout == text.removesuffix("\n") + "\n"
    assert shown.stderr == ""


def test_the_same_seed_gives_the_same_text_with_any_threads_and_count(shop):
    three = sample_json(shop.folder, "--length", "50", "--seed", "5", "--count", "3", "--threads", "1")
    assert [len(text) for text in three] == [50] * 3
    assert len(set(three)) == 3
    assert sample_json(shop.folder, "--length", "50", "--seed", "5", "--count", "3", "--threads", "2") == three
    assert sample_json(shop.folder, "--length", "50", "--seed", "5") == three[:1]
    assert sample_json(shop.folder, "--length", "50", "--seed", "6") != three[:1]


def test_a_shorter_sample_is_the_beginning_of_a_longer_one(shop):
    (short,), (long,) = (sample_json(shop.folder, "--length", length) for length in ("33", "90"))
    assert long.startswith(short)


def test_temperature_zero_does_not_depend_on_the_seed(shop):
    texts = [sample_json(shop.folder, "--length", "50", "--temperature", "0", "--seed", seed) for seed in "12"]
    assert texts[0] == texts[1]


def test_several_texts_come_one_after_the_other_with_headings_on_standard_error(shop):
    texts = sample_json(shop.folder, "--length", "20", "--count", "2")
    result = charrnn("sample", "data-run", "--length", "20", "--count", "2", cwd=shop.folder)
    assert result.stdout == "".join(text.removesuffix("\n") + "\n" for text in texts)
    assert result.stderr.splitlines() == ["--- 1 of 2 ---", "--- 2 of 2 ---"]


def test_a_byte_level_model_takes_and_gives_any_bytes(bytes_shop):
    assert json.loads(bytes_shop.prepared.stdout)["characters"] == len(BYTES)
    args = ("sample", "data-run", "--length", "300", "--prompt", b"\xff\xfe\x80a")
    result = charrnn(*args, cwd=bytes_shop.folder, text=False)
    assert (result.stderr, result.returncode) == (b"", 0)
    assert result.stdout.startswith(b"\xff\xfe\x80a")
    assert len(result.stdout) == 4 + 300 + (result.stdout[303:304] != b"\n")
    assert max(result.stdout[4:]) > 0x7F


def test_a_reader_that_goes_away_ends_sampling_without_a_word(shop):
    process = subprocess.Popen(
        command("sample", "data-run", "--length", "100000000"),
        cwd=shop.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert len(process.stdout.read(10)) == 10
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(TIMEOUT) != 0


def test_ctrl_c_ends_sampling_with_130(shop):
    process = subprocess.Popen(
        command("sample", "data-run", "--length", "100000000"),
        cwd=shop.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    start = time.monotonic()
    message, status = interrupt_when(process, lambda: time.monotonic() > start + 1.5)
    assert status == 130
    assert "Traceback" not in message
