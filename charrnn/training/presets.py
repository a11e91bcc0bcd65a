"""Settings that go well together, chosen on a part of a training text that was held out for that."""

from __future__ import annotations

from typing import Any

# What each preset says instead of the defaults, of the model and of its training.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"cell": "gru", "lr": 0.005, "dropout": 0.2},
    "quality": {"cell": "gru", "hidden": 512, "lr": 0.003, "dropout": 0.4, "dropout_output": 0.2, "ema": 0.999},
}


def describe(name: str) -> str:
    """A preset as options of the command line."""
    return " ".join(f"--{option.replace('_', '-')} {value}" for option, value in PRESETS[name].items())
