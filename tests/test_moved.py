"""A RUN folder that is moved or removed while the run writes to it."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from helpers_cli import SIZES, begin, interrupt_when, journal
from test_training import SHORT_TEXT, Silent, assert_same_bits, prepared, start, train, trainer_of

from charrnn.errors import OutputError
from charrnn.files import replacing
from charrnn.training.kept import KeptCheckpoints

CONFIG = {"batch": 5, "seq_len": 20, "steps": 30, "eval_every": 10, "lr": 0.02}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows moves no folder that is in use")


class Meddles(Silent):
    """Calls a function when the first evaluation begins."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def evaluating(self, done, total):
        if self.function is not None:
            self.function, function = None, self.function
            function()


def test_a_run_follows_its_folder(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    train(tmp_path / "whole", data, start(tmp_path, data, {"hidden": 9}, CONFIG, "whole"))
    checkpoint = start(tmp_path, data, {"hidden": 9}, CONFIG, "run")
    watcher = Meddles(lambda: (tmp_path / "run").rename(tmp_path / "moved"))
    trainer = trainer_of(tmp_path / "run", data, checkpoint, watcher)
    trainer.run(watcher)
    assert trainer.kept.path == tmp_path / "moved"
    assert not (tmp_path / "run").exists()
    for file in ("last.npz", "best.npz"):
        assert_same_bits(tmp_path / "whole" / file, tmp_path / "moved" / file)
    assert [line["step"] for line in journal(tmp_path / "moved") if line["kind"] == "eval"] == [10, 20, 30]


def test_a_run_writes_into_no_folder_that_came_in_the_place_of_its_own(tmp_path):
    data = prepared(tmp_path, SHORT_TEXT)
    checkpoint = start(tmp_path, data, {"hidden": 9}, CONFIG, "run")

    def replace():
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "last.npz").write_bytes(b"of somebody else")

    watcher = Meddles(replace)
    with pytest.raises(OutputError, match="run to stay where this command writes to it, got it removed; try"):
        trainer_of(tmp_path / "run", data, checkpoint, watcher).run(watcher)
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "run").iterdir()] == [
        ("last.npz", b"of somebody else")
    ]


def test_a_folder_that_is_moved_while_a_checkpoint_is_written_gets_it(tmp_path):
    (tmp_path / "run").mkdir()
    tried = []

    def save(path):
        tried.append(path)
        if len(tried) == 1:
            (tmp_path / "run").rename(tmp_path / "moved")
        with replacing(path) as file:
            file.write(b"whole")

    checkpoints = KeptCheckpoints(tmp_path / "run", SimpleNamespace(snapshot=lambda: SimpleNamespace(save=save)))
    checkpoints.save("best.npz")
    assert tried == [tmp_path / place / "best.npz" for place in ("run", "moved")]
    assert [file.name for file in (tmp_path / "moved").iterdir()] == ["best.npz"]


def test_the_command_says_where_its_run_is(shop, tmp_path):
    data, run, moved = shop.folder / "data", tmp_path / "run", tmp_path / "moved"
    more = (*SIZES, "--steps", "1000000", "--eval-every", "20", "--json")
    process = begin("train", str(data), "--out", "run", *more, cwd=tmp_path, stdout=subprocess.DEVNULL)

    def evaluated():
        return (run / "best.npz").exists() and run.rename(moved)

    error, status = interrupt_when(process, evaluated)
    assert status == 130
    assert f"run was moved during the run, to {moved}" in error.decode()
    assert f"charrnn train --out {moved} --resume" in error.decode()
    assert (moved / "last.npz").exists() and not run.exists()
