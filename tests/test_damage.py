"""Damaged and hostile files of a run: each is answered with an error that names it, at little cost."""

import json
import os
import shutil
import tracemalloc
import zipfile
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
from test_checkpoint import change, make, saved  # noqa: F401  (fixtures)
from test_training import prepared, start, train
from texts import check_message

from charrnn.errors import CharRNNError, CheckpointError, ConfigError, DataError, OutputError
from charrnn.folders import refuse_existing
from charrnn.text.data import open_data, read_meta
from charrnn.training.checkpoint import load_checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.journal import LONGEST_LINE, Journal, read_journal
from charrnn.training.progress import Progress
from charrnn.training.run import data_of_run, resume_run

LITTLE = 4 << 20  # bytes


def refused(path):
    """The error of loading a checkpoint, which takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()
    check_message(error, str(path))


# --------------------------------------------------------------------------------------------- checkpoints


WRONG = {
    "progress": [
        *({name: -1} for name in ("step", "epoch", "position", "chars", "best_step", "rolled_back_from")),
        *({name: -1.5} for name in ("seconds", "elapsed", "lr_scale", "loss_variance")),
        *({name: float("nan")} for name in ("seconds", "best_loss", "loss_mean")),
        *({"step": value} for value in (1.5, 2**63, True, None, "1", 10**400)),
        *({name: 1} for name in ("evaluated_step", "best_step")),
        *({"lr_scale": 1.5}, {"elapsed": 1e300}),
    ],
    "training": [
        *({"batch": "2"}, {"lr": None}, {"lr": float("inf")}, {"seed": 0.5}, {"nesterov": 1}, {"bptt": "4:8"}),
        *({"bptt": "9:12"}, {"steps": 2**63}, {"preview": 2**40}),
    ],
    "model": [{"hidden": 3.0}, {"layer_norm": "no"}, {"cell": ["lstm"]}, {"symbols": True}],
    "form": [{"newlines": None}, {"lowercase": "yes"}, {"normalize": "nfd"}],
}


@pytest.mark.parametrize("member, values", [(member, values) for member in WRONG for values in WRONG[member]], ids=str)
def test_every_field_of_a_description_is_checked(change, member, values):  # noqa: F811
    with np.load(change()) as file:
        whole = json.loads(str(file[member]))
    assert values.keys() <= whole.keys()
    refused(change(**{member: json.dumps(whole | values)}))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "x" * 300_000, "1", "null"], ids=lambda text: text[:5]
)
@pytest.mark.parametrize("member", ["model", "progress", "form", "format"])
def test_a_text_of_another_kind_is_refused(change, member, text):  # noqa: F811
    refused(change(**{member: text}))


def test_what_overflows_a_float32_is_refused(change):  # noqa: F811
    array = make().parameters["W_y"].astype(np.float64)
    assert np.array_equal(load_checkpoint(change(**{"parameters/W_y": array})).parameters["W_y"], array)
    array[0, 0] = 1e300
    refused(change(**{"parameters/W_y": array}))


def rewritten(path, replaced, compression=zipfile.ZIP_DEFLATED):
    """A checkpoint with these members, given as bytes, in place of its own or beside them."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()} | replaced
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def header(dtype, shape):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_unknown_members_are_not_read(saved):  # noqa: F811
    rewritten(saved, {"more.npy": header("|u1", "(8388608,)") + bytes(1 << 23), "notes.txt": b"anything"})
    tracemalloc.start()
    checkpoint = load_checkpoint(saved)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LITTLE
    assert checkpoint.progress == make().progress


@pytest.mark.parametrize("name", ["parameters/W_y", "state/h", "vocabulary", "model", "unknown", "format"])
@pytest.mark.parametrize(
    "dtype, shape", [("<f4", "(2097152,)"), ("<u4", "(2097152,)"), ("<U2097152", "()"), ("|b1", "(3, 5)")]
)
def test_what_is_too_large_is_refused_before_it_is_inflated(saved, name, dtype, shape):  # noqa: F811
    refused(rewritten(saved, {f"{name}.npy": header(dtype, shape) + bytes(1 << 23)}))
    refused(rewritten(saved, {f"{name}.npy": header(dtype, shape)}))


def test_a_compression_that_we_do_not_write_is_refused(saved):  # noqa: F811
    refused(rewritten(saved, {}, zipfile.ZIP_LZMA))


def test_compressed_checkpoints_are_read(saved):  # noqa: F811
    assert load_checkpoint(rewritten(saved, {})).parameters.keys() == make().parameters.keys()


def test_a_checkpoint_larger_than_the_free_memory_is_refused(saved, monkeypatch):  # noqa: F811
    monkeypatch.setattr("charrnn.runtime.available_memory", lambda: 100)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(saved)
    check_message(error, str(saved), "free memory")


@pytest.mark.parametrize(
    "settings",
    [{"steps": 2**63}, {"batch": 2**31}, {"preview": 2**20}, {"bptt": "8:99999999999"}, {"accumulate": 10**30}],
    ids=str,
)
def test_settings_have_limits(settings):
    with pytest.raises(ConfigError):
        TrainConfig(**settings)


# -------------------------------------------------------------------------------------------------- resuming


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with DATA, and a RUN that was interrupted after six steps; the tests work on copies."""
    folder = tmp_path_factory.mktemp("whole")
    data = prepared(folder, "the cat sat on a mat\n" * 30)
    config = {"batch": 2, "seq_len": 8, "steps": 9, "eval_every": 3, "keep": 1}
    checkpoint = start(folder, data, {"hidden": 4, "layers": 1}, config)
    train(folder / "run", data, checkpoint, stop_at=6)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    "values",
    [
        {"position": 283},
        {"position": 2**40},
        {"position": 8},
        {"chars": 10**6},
        {"step": 100},
        {"step": 2**62},
        {"left_out": 2**62},
    ],
)
def test_a_run_is_not_resumed_where_it_cannot_have_come(copy, values):
    checkpoint, data = load_checkpoint(copy / "run" / "last.npz"), open_data(copy / "data")
    for name, value in values.items():
        setattr(checkpoint.progress, name, value)
    checkpoint.save(copy / "run" / "last.npz")
    before = (copy / "run" / "config.json").read_bytes()
    with pytest.raises(CheckpointError) as error:
        resume_run(copy / "run", data, {"steps": 12})
    check_message(error, "last.npz", *map(str, values.values()))
    assert (copy / "run" / "config.json").read_bytes() == before


def test_a_run_is_not_resumed_with_other_lengths_of_back_propagation(copy):
    with pytest.raises(ConfigError, match="bptt"):
        resume_run(copy / "run", open_data(copy / "data"), {"bptt": "2:4"})


def test_a_run_of_more_draws_than_can_be_numbered_is_refused():
    for step in (2**62 - 1, 2**62):
        progress = Progress(step=step, epoch=step)
        with pytest.raises(ValueError, match=f"step is {step}") if step == 2**62 else nullcontext():
            progress.check_within(10, 2)


@pytest.mark.parametrize(("code", "refused"), [(0x10FFFF, False), (0x110000, True)])
def test_a_report_holds_no_code_that_is_no_character(copy, code, refused):
    path = copy / "data" / "meta.json"
    meta = json.loads(path.read_text())
    meta["report"]["commonest"][0][0] = code
    path.write_text(json.dumps(meta))
    with pytest.raises(DataError) if refused else nullcontext():
        read_meta(copy / "data")


def test_a_resumed_run_too_large_for_the_free_memory_is_refused_before_anything_is_written(copy, monkeypatch):
    from charrnn.cli.progress import refuse_too_large

    monkeypatch.setattr("charrnn.cli.progress.runtime.available_memory", lambda: 20_000)
    before = (copy / "run" / "config.json").read_bytes()
    refuse = partial(refuse_too_large, 1000, resumed=True)
    with pytest.raises(ConfigError) as error:
        resume_run(copy / "run", open_data(copy / "data"), {"steps": 12}, refuse=refuse)
    check_message(error, "free memory", "larger machine")
    assert (copy / "run" / "config.json").read_bytes() == before


def test_other_files_in_a_run_are_no_older_checkpoints(copy):
    for name in ("step-x.npz", "step-.npz", "step-1.npz.npz"):
        (copy / "run" / name).write_bytes(b"somebody's")
    (copy / "run" / "step-000000001.npz").mkdir()
    data = open_data(copy / "data")
    train(copy / "run", data, resume_run(copy / "run", data, {}))
    assert sorted(path.name for path in (copy / "run").glob("step*")) == [
        "step-.npz", "step-000000001.npz", "step-000000009.npz", "step-1.npz.npz", "step-x.npz"
    ]  # fmt: skip


CONFIGS = ["", "[", "[" * 100_000, "[]", "{}", "{}" + " " * 2**20]
CONFIGS += ['{"data": 1}', '{"data": {"path": 1}}', '{"data": {"path": "\\ud800"}}']


@pytest.mark.parametrize("content", CONFIGS, ids=lambda content: content[:30])
def test_a_config_that_does_not_name_its_data_is_said(copy, content):
    (copy / "run" / "config.json").write_text(content)
    with pytest.raises(CheckpointError) as error:
        data_of_run(copy / "run")
    check_message(error, "naming DATA")


# --------------------------------------------------------------------------------------------------- journals

GOOD = {"kind": "train", "step": 1, "epoch": 0.1, "chars": 9, "seconds": 0.5, "loss": 1.5, "bpc": 2.2, "lr": 0.1}
BAD_LINES = [
    *(json.dumps(GOOD | {name: value}) for name in GOOD for value in (None, [], -(10**400), 1e300)),
    *(json.dumps(GOOD | {name: "x"}) for name in GOOD if name != "kind"),
    *(json.dumps({k: v for k, v in GOOD.items() if k != name}) for name in GOOD),
    *(
        "",
        "null",
        "[]",
        "{}",
        '"train"',
        "[" * 100_000,
        '{"kind": "eval", "step": 1}',
        '{"kind": "event"}',
        '{"kind": []}',
    ),
    '{"kind": "event", "name": "end", "step": "1"}',
]


def test_lines_of_a_journal_that_are_not_what_they_should_be_are_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([*BAD_LINES, json.dumps(GOOD), *BAD_LINES]))
    assert read_journal(tmp_path) == [GOOD]
    Journal(path, last_step=1, last_evaluation=1).close()
    assert path.read_text() == json.dumps(GOOD) + "\n"
    path.write_bytes(b"x" * (LONGEST_LINE + 10) + b"\n")
    with pytest.raises(DataError):
        read_journal(tmp_path)


def test_an_evaluation_that_no_checkpoint_knows_is_left_out(tmp_path):
    """A run that is killed after an evaluation and before its checkpoint makes it again."""
    path = tmp_path / "log.jsonl"
    lines = [{"kind": "eval", "step": 1, "loss": 2.0, "bpc": 3.0}, {"kind": "event", "name": "skip", "step": 2},
             {"kind": "eval", "step": 2, "loss": 1.0, "bpc": 1.5}]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    Journal(path, last_step=2, last_evaluation=1).close()
    assert read_journal(tmp_path) == lines[:2]


# -------------------------------------------------------------------------------------------- pipes for files


@pytest.mark.parametrize(
    "name, read",
    [
        ("data/meta.json", lambda folder: read_meta(folder / "data")),
        ("data/vocab.json", lambda folder: open_data(folder / "data")),
        ("data/train.npy", lambda folder: open_data(folder / "data")),
        ("run/config.json", lambda folder: data_of_run(folder / "run")),
        ("run/config.json", lambda folder: refuse_existing(folder / "run", "config.json", force=False)),
        ("run/last.npz", lambda folder: load_checkpoint(folder / "run" / "last.npz")),
        ("run/log.jsonl", lambda folder: read_journal(folder / "run")),
        ("run/log.jsonl", lambda folder: Journal(folder / "run" / "log.jsonl", 0, 0)),
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(copy, name, read):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(CharRNNError) as error:
        read(copy)
    assert str(error.value).count("; try ") == 1
    assert error.type in (DataError, CheckpointError, OutputError)
