"""The process that compiles ahead: it ends with its command, and what it compiles is what training needs."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from helpers_cli import SIZES, charrnn, compiled_code, environment

from charrnn import cache
from charrnn.cache import compilation
from charrnn.errors import ConfigError
from charrnn.model.config import OWN, ModelConfig
from charrnn.training import ahead
from charrnn.training.config import TrainConfig

MODEL = ModelConfig(20, cell="rnn", layers=1, hidden=8)
LAST = ("charrnn.engine.softmax.cross_entropy", "charrnn.engine.recurrence.backward_by_", "charrnn.engine.optimisers.")
WRITES = "import sys, time; open(sys.argv[1], 'w').write(sys.stdin.read()); time.sleep(100)"


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Where a process in the helper's place writes what it is told."""
    monkeypatch.setattr(ahead, "COMMAND", (sys.executable, "-c", WRITES, str(tmp_path / "told")))
    monkeypatch.setattr(ahead.runtime, "available_cpus", lambda: 2)
    monkeypatch.setattr(ahead.runtime, "threads", lambda: 2)
    monkeypatch.setattr(compilation, "began", lambda: None)
    return tmp_path / "told"


def content(path):
    """Of a file that another process is going to write."""
    end = time.monotonic() + 30
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < end
        time.sleep(0.01)
    return path.read_text()


def test_it_begins_with_the_first_kernel_and_ends_with_the_block(told):
    config = TrainConfig(batch=3, precision="bfloat16")
    with ahead.Helper() as helper:
        helper.offer(MODEL, config)
        assert not told.exists()
        with compilation.of("first"), compilation.of("second"):
            pass
        model, training = json.loads(content(told))
        assert (ModelConfig(**model), TrainConfig(**training)) == (MODEL, config)
        process = helper._process
        assert process.poll() is None
    assert process.poll() is not None


def test_it_is_not_started_for_a_cell_of_the_users_own(told):
    with ahead.Helper() as helper:
        helper.offer(SimpleNamespace(cell=f"{OWN}mine"), TrainConfig())
        with compilation.of("a kernel"):
            pass
        assert helper._process is None


@pytest.mark.parametrize("limited", ["available_cpus", "threads"])
def test_it_is_not_started_on_one_cpu_or_thread(told, monkeypatch, limited):
    monkeypatch.setattr(ahead.runtime, limited, lambda: 1)
    with ahead.Helper() as helper:
        helper.offer(MODEL, TrainConfig())
        with compilation.of("a kernel"):
            pass
        assert helper._process is None


@pytest.mark.parametrize(("asked", "threads"), [("1", 1), (" 3", 3), ("", 2)])
def test_the_engine_has_as_many_threads_as_asked_or_as_there_are_cpus(monkeypatch, asked, threads):
    monkeypatch.setenv("NUMBA_NUM_THREADS", asked)
    monkeypatch.setattr(ahead.runtime, "available_cpus", lambda: 2)
    assert ahead.runtime.threads() == threads


@pytest.mark.parametrize("asked", ["0", "-1", "many", "1025", "99999", "1" * 5000])
def test_an_impossible_number_of_threads_is_refused(monkeypatch, asked):
    monkeypatch.setenv("NUMBA_NUM_THREADS", asked)
    with pytest.raises(ConfigError, match=f"expected NUMBA_NUM_THREADS from 1 to 1024, got '{asked}'"):
        ahead.runtime.threads()


def test_numba_gets_the_share_of_a_container(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    monkeypatch.setattr(ahead.runtime, "available_cpus", lambda: 1)
    ahead.runtime.prepare()
    assert os.environ["NUMBA_NUM_THREADS"] == "1"


@pytest.mark.parametrize("error", [FileNotFoundError, BrokenPipeError])
def test_training_goes_on_without_it(told, monkeypatch, error):
    tried = []

    def fails(command, **how):
        tried.append(command)
        raise error

    monkeypatch.setattr(ahead.subprocess, "Popen", fails)
    with ahead.Helper() as helper:
        helper.offer(MODEL, TrainConfig())
        with compilation.of("a kernel"):
            pass
    assert tried == [ahead.COMMAND]


def test_it_compiles_what_training_needs(tmp_path):
    """In a copy of the compile cache that training has left, it misses nothing but what is removed there."""
    (tmp_path / "text").write_text("the cat sat on a mat\n" * 60)
    assert charrnn("prepare", "text", "--out", "data", cwd=tmp_path).returncode == 0
    trained = charrnn("train", "data", "--out", "run", *SIZES, "--cell", "rnn", "--steps", "1", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    copied = tmp_path / "cache" / cache.key()
    copied.mkdir(parents=True)
    for path in compiled_code().glob("*.nb[ci]"):
        shutil.copy(path, copied)
    before = codes(copied)
    for kernel in LAST:
        for path in copied.glob(f"{kernel}*"):
            path.unlink()
    removed = codes(copied)
    description = json.dumps([MODEL.as_dict(), TrainConfig(batch=2, seq_len=8).as_dict()])
    changes = {"CHARRNN_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    subprocess.run(ahead.COMMAND, input=description, text=True, check=True, env=environment(**changes))
    after = codes(copied)
    assert all(any(name.startswith(kernel) for name in after - removed) for kernel in LAST)
    assert not after - before


def codes(folder):
    """Of each kernel in a compile cache, how many versions there are."""
    return Counter(path.name.rsplit(".", 3)[0] for path in folder.glob("*.nbc"))
