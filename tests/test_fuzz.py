"""A small share of scripts/fuzz: whatever happens to a file, its reader gives what it should or says what is wrong."""

import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from helpers_cli import TIMEOUT, environment
from test_training import prepared, start, train

from charrnn.errors import CharRNNError
from charrnn.text.data import open_data, read_meta
from charrnn.training.checkpoint import load_checkpoint
from charrnn.training.journal import read_journal
from charrnn.training.run import data_of_run

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

import fuzz_mutations  # noqa: E402  (it stands among the scripts)

READERS = {
    "run/last.npz": (lambda folder: load_checkpoint(folder / "run/last.npz"), 250),
    "run/config.json": (lambda folder: data_of_run(folder / "run"), 50),
    "run/log.jsonl": (lambda folder: read_journal(folder / "run"), 50),
    "data/meta.json": (lambda folder: (read_meta(folder / "data"), open_data(folder / "data").form), 100),
    "data/vocab.json": (lambda folder: open_data(folder / "data"), 50),
    "data/train.npy": (lambda folder: open_data(folder / "data"), 150),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """DATA and RUN."""
    folder = tmp_path_factory.mktemp("whole")
    data = prepared(folder, "the cat sat on a mat\n" * 30)
    config = {"batch": 2, "seq_len": 8, "steps": 3, "ema": 0.9}
    train(folder / "run", data, start(folder, data, {"hidden": 4, "layers": 1}, config))
    return folder


@pytest.mark.parametrize("name", READERS)
def test_readers_of_damaged_files(whole, tmp_path, monkeypatch, name):
    monkeypatch.setattr(fuzz_mutations, "BOMB", 1 << 20)
    (read, times), refused = READERS[name], 0
    shutil.copytree(whole, tmp_path / "whole")
    folder = tmp_path / "whole"
    for number in range(times):
        shutil.copy(whole / name, folder / name)
        what = fuzz_mutations.mutate(random.Random(number), folder / name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read(folder)
        except CharRNNError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"mutation {number}: {what}") from error
        remove(folder / name)
    assert refused > times / 10


def remove(path):
    """Whatever stands there."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def test_the_script_itself_finds_nothing_in_some_mutations():
    result = subprocess.run(
        [sys.executable, str(SCRIPTS / "fuzz"), "--mutations", "40", "--file", "run/log.jsonl"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (result.stdout, result.returncode) == ("40 mutations, 0 findings\n", 0), result.stderr
