"""What docs/reference.md says of the keys of --json is what the commands print."""

import json
import re
from pathlib import Path

import pytest
from helpers_cli import charrnn

REFERENCE = Path(__file__).parent.parent / "docs" / "reference.md"
SIZES = ("--layers", "1", "--hidden", "8")
COMMANDS = {
    "log": ("log", "data-run"),
    "eval": ("eval", "data-run"),
    "novelty": ("novelty", "data-run", "--length", "200"),
    "gradcheck": ("gradcheck", "--layers", "1", "--hidden", "3"),
    "bench": ("bench", *SIZES, "--seconds", "0.1"),
    "info RUN": ("info", "data-run"),
    "info": ("info", *SIZES),
}


def described(command):
    """The names in a row of the table of the section on JSON."""
    section = REFERENCE.read_text().split("## JSON\n")[1].split("\n## ")[0]
    [row] = [line for line in section.splitlines() if line.startswith(f"| `{command}` |")]
    return set(re.findall(r"`(\w+)`", row.split("|", 2)[2]))


def names_in(value):
    """The keys of a JSON value, at any depth."""
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    return set(value) | names_in(list(value.values())) if isinstance(value, dict) else set()


def check(command, values):
    assert set(values) <= described(command)
    assert described(command) <= names_in(values)


@pytest.mark.parametrize("command", COMMANDS)
def test_keys_are_those_of_the_reference(shop, command):
    done = charrnn(*COMMANDS[command], "--json", cwd=shop.folder)
    assert done.returncode == 0, done.stderr
    check(command, json.loads(done.stdout))


def test_keys_of_train_and_prepare_are_those_of_the_reference(shop):
    check("train", json.loads(shop.trained.stdout))
    meta = json.loads((shop.folder / "data" / "meta.json").read_text())
    assert json.loads(shop.prepared.stdout) == meta | {"up_to_date": False}
