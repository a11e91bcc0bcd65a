"""What the soak scripts share: a text, and what must hold of a run after it was disturbed."""

import json
from pathlib import Path

import numpy as np

from charrnn.training.checkpoint import load_checkpoint

TEXT = Path(__file__).resolve().parent.parent / "corpora" / "tales.txt"
TIMES = {"seconds", "elapsed", "overhead", "evaluation_seconds"}  # of Progress, which no two runs share


def check(run):
    """All checkpoints load, and every complete line of the journal is an object."""
    for path in run.glob("*.npz"):
        load_checkpoint(path)
    journal = run / "log.jsonl"
    *complete, _ = journal.read_bytes().split(b"\n") if journal.exists() else [b""]  # killed before it was begun
    for line in complete:
        assert isinstance(json.loads(line), dict), line


def bits(path):
    """All that a checkpoint holds but times."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file.items())
    progress = json.loads(str(arrays.pop("progress")))
    return {k: v for k, v in progress.items() if k not in TIMES}, {k: v.tobytes() for k, v in arrays.items()}
