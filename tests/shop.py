"""Folders that the tests of the command line share: texts, DATA and RUN, and much that is wrong."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from helpers_cli import charrnn, prepare_and_train

WORDS = "the cat sat on a mat and saw that rat where café noir was drunk"
TEXT = "".join(f"{WORDS[k % 31 :]}\n{WORDS[: k % 17 + 1]}\n" for k in range(40))
BYTES = bytes(range(256)) * 3 + b"\xff\n" * 200


def rewrite(source, target, **changes):
    """A copy of a checkpoint with some arrays changed."""
    with np.load(source) as file:
        arrays = dict(file.items()) | changes
    np.savez(target, **arrays)


def make_shop(folder):
    """Fill a folder with text, DATA and RUN, and much that is wrong; returns what the fixture does."""
    prepared, trained = prepare_and_train(folder, TEXT, "data", "--json")
    assert (prepared.returncode, trained.returncode) == (0, 0), prepared.stderr + trained.stderr
    run = folder / "data-run"
    # texts and DATA folders
    (folder / "empty.txt").touch()
    (folder / "bad.txt").write_bytes(b"abc\xff\xfe" * 9)
    (folder / "high.txt").write_bytes(b"\xff\xfe" * 9)
    (folder / "loop").symlink_to("loop")
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
    rewrite(run / "last.npz", folder / "newer.npz", format_version=4)
    for name in ("stateless", "momentless", "lastless"):
        shutil.copytree(run, folder / name)
    (folder / "lastless" / "last.npz").unlink()
    rewrite(run / "last.npz", folder / "stateless" / "last.npz", **{"state/h": np.zeros((1, 3, 8), np.float32)})
    rewrite(run / "last.npz", folder / "momentless" / "last.npz", **{"optimiser/v/b_y": np.zeros(3, np.float32)})
    (folder / "bert").mkdir()
    (folder / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "bert" / "weights.bin").write_bytes(b"months of work")
    (folder / "files").mkdir()
    (folder / "files" / "letter.txt").write_text("a letter")
    return SimpleNamespace(folder=folder, run=run, prepared=prepared, trained=trained)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """A folder with text, DATA and RUN, and much that is wrong; tests leave it as it is."""
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def bytes_shop(tmp_path_factory):
    """A folder with a byte-level DATA and RUN; the run was made without --json."""
    folder = tmp_path_factory.mktemp("bytes")
    prepared, trained = prepare_and_train(folder, BYTES, "data")
    assert (prepared.returncode, trained.returncode) == (0, 0), prepared.stderr + trained.stderr
    return SimpleNamespace(folder=folder, prepared=prepared, trained=trained)
