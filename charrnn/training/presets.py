"""Settings that go well together; those that a preset leaves open are chosen by the rule of choose.py."""

from __future__ import annotations

from typing import Any

# The settings of the model and of its training that each preset gives instead of the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"cell": "lstm", "hidden": 256, "precision": "auto"},
    "quality": {"cell": "lstm", "hidden": 512, "ema": 0.999, "precision": "auto"},
    "classic": {  # the settings of char-rnn (Karpathy 2015); its rate also fell a little from the tenth pass on
        **{"cell": "lstm", "layers": 2, "hidden": 128, "embed": 0, "input_skips": False, "output_skips": False},
        **{"batch": 50, "seq_len": 50, "epochs": 50.0},
        **{"optimiser": "rmsprop", "lr": 0.002, "beta2": 0.95, "schedule": "constant", "warmup": 0.0},
        **{"input_rate": 1.0, "output_rate": 1.0, "projection_rate": 1.0},
        # It clips the sum over the 50 characters of a chunk at 5. Here gradients are means over these characters.
        **{"clip_norm": 0.0, "clip_value": 0.1, "reset_every": 0, "shuffle": 0},
        **{"init_scale": 1.0, "forget_bias": "1"},
        **{"dropout": 0.0, "dropout_output": 0.0, "weight_drop": 0.0},
    },
}
