"""What each part of a model needs in parameters, computation and memory; for `charrnn info`."""

from __future__ import annotations

from typing import Any

from charrnn.model.config import ModelConfig
from charrnn.model.size import multiply_adds_per_char, parameter_count, part_sizes
from charrnn.training.config import TrainConfig
from charrnn.training.memory import memory_of_run
from charrnn.training.speed import product_speed, seconds_per_char

NUMBER_BYTES = 4
ROW = "  {:<11} {:<34} {:>12} {:>14} {:>11}"


def shape_values(model: ModelConfig, training: TrainConfig) -> dict[str, Any]:
    """Shapes, parameters, multiply-adds and memory of the parts, and the whole, for JSON."""
    rows = training.batch * (training.chunk_steps + 1)
    parts = [
        {
            "name": part.name,
            "shapes": {name: list(shape) for name, shape in part.shapes.items()},
            "parameters": part.parameters,
            "multiply_adds": part.multiply_adds,
            "activation_bytes": NUMBER_BYTES * rows * part.numbers,
        }
        for part in part_sizes(model)
    ]
    return {
        "parts": parts,
        "parameters": parameter_count(model),
        "multiply_adds": multiply_adds_per_char(model),
        "optimiser": training.optimiser,
        "batch": training.batch,
        "seq_len": training.chunk_steps,
        "precision": training.precision,
        "memory_bytes": memory_of_run(model, training),
    }


def plan_values(model: ModelConfig, training: TrainConfig) -> dict[str, Any]:
    """The same for a model that does not exist yet, and its training speed on this machine in characters a second."""
    values = shape_values(model, training)
    seconds = seconds_per_char(model, product_speed(training.precision == "bfloat16"), training.batch)
    return {"model": model.as_dict()} | values | {"chars_per_second": 1 / seconds}


def shape_lines(values: dict[str, Any]) -> list[str]:
    """The parts as a table, in lines of text."""
    lines = [ROW.format("part", "shapes", "parameters", "multiply-adds", "activations")]
    for part in values["parts"]:
        shapes = [f"{name} {' x '.join(map(str, shape))}" for name, shape in part["shapes"].items()]
        figures = (f"{part['parameters']:,}", f"{part['multiply_adds']:,}", _size(part["activation_bytes"]))
        for k, shape in enumerate(shapes):
            lines.append(ROW.format(part["name"], shape, *figures) if k == 0 else ROW.format("", shape, "", "", ""))
    whole = (f"{values['parameters']:,}", f"{values['multiply_adds']:,}", "")
    lines.append(ROW.format("whole", "", *whole))
    memory = _size(values["memory_bytes"])
    lines.append(
        f"  training with {values['optimiser']}, batch {values['batch']}, {values['seq_len']} time steps, "
        f"{values['precision']}: about {memory} of memory"
    )
    if "chars_per_second" in values:
        lines.append(f"  about {values['chars_per_second']:,.0f} characters a second on this machine")
    return [line.rstrip() for line in lines]


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MB" if count < 2**30 else f"{count / 2**30:,.1f} GB"
