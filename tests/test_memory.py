"""What is read piece by piece takes little memory and gives the same figures; and how much memory is free."""

import gzip
import os
import tracemalloc

import numpy as np
import pytest
from networks import make
from texts import options, prepare, write

from charrnn import runtime
from charrnn.text import report
from charrnn.text.reading import Reading, Repairs
from charrnn.text.sources import read_file
from charrnn.training.evaluate import Evaluator, loss_of_blocks


@pytest.mark.parametrize("dynamic", [0.0, 0.3])
@pytest.mark.parametrize("length", [2, 33, 257, 700])
@pytest.mark.parametrize("block", [1, 100, 256, 1000])
def test_the_loss_of_a_text_in_blocks_has_the_bits_of_that_of_the_whole(dynamic, length, block):
    text = np.random.default_rng(1).integers(0, 40, length).astype(np.uint8)
    want = Evaluator(make("lstm", np.float32, hidden=8, batch=1).network, text, dynamic).loss()
    blocks = (text[start : start + block] for start in range(0, length, block))
    network = make("lstm", np.float32, hidden=8, batch=1).network
    assert loss_of_blocks(network, blocks, dynamic) == (want, length)


def test_a_text_without_two_characters_has_no_loss():
    network = make("lstm", np.float32, hidden=8, batch=1).network
    assert loss_of_blocks(network, []) == (None, 0)
    assert loss_of_blocks(network, [np.zeros(1, np.uint8)]) == (None, 1)


def test_evaluation_in_blocks_is_given_up_when_asked_to():
    network = make("lstm", np.float32, hidden=8, batch=1).network
    assert loss_of_blocks(network, [np.zeros(1000, np.uint8)], progress=lambda chars: chars < 512) == (None, 512)


def test_a_compressed_text_is_read_at_constant_memory(tmp_path):
    line = b"the cat sat on a mat\n"
    (tmp_path / "text.gz").write_bytes(gzip.compress(line * 1_000_000))
    tracemalloc.start()
    assert sum(len(codes) for codes in read_file(tmp_path / "text.gz", Reading(), Repairs())) == 1_000_000 * len(line)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("level", ["char", "byte"])
def test_a_text_of_any_size_is_prepared_at_constant_memory(tmp_path, monkeypatch, level):
    """Simple models of the beginning of the text need a lot of memory. It would hide that of a text that is kept."""
    monkeypatch.setattr(report, "simple_models", lambda splits, vocabulary: {})

    def peak(lines):
        text = write(tmp_path / "text", "the cat sat on a mat in Zürich\n" * lines)
        tracemalloc.start()
        prepare([text], tmp_path / f"data-{lines}", options(level))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(100)  # what is made once
    assert peak(800_000) < peak(100_000) + (1 << 20)


@pytest.mark.parametrize("share, expected", [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64)])
def test_a_container_limits_the_cpus(tmp_path, monkeypatch, share, expected):
    quota, period = share.replace("max", "-1").split()
    for name, text in (("cpu.max", share), ("quota", quota), ("period", period)):
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    for files in ([tmp_path / "cpu.max"], [tmp_path / "quota", tmp_path / "period"], [tmp_path / "missing"]):
        monkeypatch.setattr(runtime, "CPU_LIMITS", [files])
        assert runtime.available_cpus() == (64 if "missing" in files[0].name else expected)


@pytest.mark.parametrize("version", [1, 2])
def test_cached_files_of_a_container_count_as_free(tmp_path, monkeypatch, version):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    _, limit, used, cache = runtime.CGROUPS[2 - version]
    (tmp_path / limit).write_text("5000000\n")
    (tmp_path / used).write_text("4000000\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\n{cache} 700000\nactive_file 9\n")
    monkeypatch.setattr(runtime, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(runtime, "CGROUPS", [(tmp_path, limit, used, cache)])
    assert runtime.available_memory() == 1_700_000
    (tmp_path / "memory.stat").unlink()
    assert runtime.available_memory() == 1_000_000
    (tmp_path / limit).write_text("max\n")
    assert runtime.available_memory() == 8000 * 1024
