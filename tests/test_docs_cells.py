"""What docs/cells.md says in numbers, against the program."""

import re
from pathlib import Path

import numpy as np
import pytest
import typer

from charrnn.cli.app import app
from charrnn.cli.options import settings_of
from charrnn.model.config import ModelConfig
from charrnn.model.layer import layer_shapes
from charrnn.model.size import part_sizes

PAGE = (Path(__file__).parent.parent / "docs" / "cells.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| `(--cell .+?)` \| `(.+?)` \| `(.+?)` \|$", PAGE, flags=re.M)


def formula(text, D, H):
    """The value of a formula such as 4 D H + H."""
    return eval(text.replace(" H", " * H").replace(" D", " * D").replace("+ *", "+ 1 *"), {"D": D, "H": H})


def model(options, hidden, symbols):
    """The model that these options of `train` make."""
    command = typer.main.get_command(app).commands["gradcheck"]
    context = command.make_context("gradcheck", options.split())
    return ModelConfig(**settings_of(context, ModelConfig) | {"hidden": hidden, "symbols": symbols, "layers": 2})


def test_the_table_has_every_cell():
    assert len(ROWS) == 11


@pytest.mark.parametrize(("name", "options", "parameters", "multiply_adds"), ROWS, ids=[row[0] for row in ROWS])
@pytest.mark.parametrize(("hidden", "symbols"), [(7, 11), (128, 65)])
def test_sizes_are_those_of_the_program(name, options, parameters, multiply_adds, hidden, symbols):
    config = model(options, hidden, symbols)
    for width, part in zip((symbols, hidden), part_sizes(config), strict=False):
        assert part.parameters == formula(parameters, width, hidden)
        assert part.parameters == sum(np.prod(shape) for shape in layer_shapes(config, width).values())
    first, second, _ = part_sizes(config)
    assert first.multiply_adds == formula(multiply_adds, symbols, hidden)
    assert second.multiply_adds == first.multiply_adds + formula(parameters.split(" + ")[0], hidden, hidden)


def numbers(name):
    """A vector of the worked example."""
    found = re.findall(rf"(?<![\w*'])(?<!\* ){re.escape(name)} = (?:o \* tanh\(c\) = )?\[([^\]]+)\]", PAGE)
    assert len(found) == 1, name
    return np.array([float(x) for x in found[0].split(",")])


def test_the_worked_step_is_right():
    f, i, g, o, before = map(numbers, ("f", "i", "g", "o", "c'"))
    for gate, value in (("i", i), ("f", f), ("o", o)):
        np.testing.assert_allclose(1 / (1 + np.exp(-numbers(f"a_{gate}"))), value, atol=5e-4)
    np.testing.assert_allclose(np.tanh(numbers("a_g")), g, atol=5e-4)
    c = f * before + i * g
    np.testing.assert_allclose(numbers("f * c'"), f * before, atol=5e-5)
    np.testing.assert_allclose(numbers("i * g"), i * g, atol=5e-5)
    np.testing.assert_allclose(numbers("c"), c, atol=5e-5)
    np.testing.assert_allclose(numbers("h"), o * np.tanh(c), atol=5e-5)
