"""`charrnn info` of a checkpoint, against the checkpoint and the run that made it."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from helpers_cli import SIZES, charrnn, journal
from texts import check_message

from charrnn.cli.app import app
from charrnn.cli.info import changed_settings
from charrnn.errors import CheckpointError, ConfigError, DataError
from charrnn.model.config import ModelConfig
from charrnn.model.network import Network
from charrnn.settings import as_options
from charrnn.training.checkpoint import load_checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.memory import memory_of_run


def test_settings_are_shown_as_options_that_there_are():
    settings = {"output_gate": False, "layer_norm": True, "seq_len": 8, "bptt": "8:16"}
    assert as_options(settings) == "--no-output-gate --layer-norm --bptt 8:16"


def info(source, as_json=False):
    """The command, in this process."""
    typer.main.get_command(app).main(["info", str(source), *["--json"] * as_json], standalone_mode=False)


def planned(capsys, *options):
    """What is said in JSON of a model that does not exist yet."""
    typer.main.get_command(app).main(["info", *options, "--json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_info_of_a_run_says_in_json_what_its_checkpoint_is(shop, capsys):
    info(shop.run, as_json=True)
    found = json.loads(capsys.readouterr().out)
    with np.load(shop.run / "best.npz") as file:
        arrays = dict(file.items())
    config = json.loads((shop.run / "config.json").read_text())
    best = min(line["loss"] for line in journal(shop.run) if line["kind"] == "eval")
    assert found["checkpoint"] == str(shop.run / "best.npz")
    assert (found["model"], found["training"], found["data"]) == tuple(config[k] for k in ("model", "training", "data"))
    assert found["parameters"] == sum(a.size for name, a in arrays.items() if name.startswith("parameters/"))
    assert found["vocabulary"] == {"level": "char", "symbols": len(arrays["vocabulary"])}
    assert found["progress"] == json.loads(str(arrays["progress"]))
    assert found["progress"]["best_loss"] == pytest.approx(best, rel=1e-5)
    assert found["best_val_loss"] == found["progress"]["best_loss"]
    assert found["best_step"] == found["progress"]["best_step"]
    assert found["best_val_bpc"] == found["best_val_loss"] / math.log(2)
    assert found["origin"] == config["origin"]
    assert (found["changed"]["batch"], found["changed"]["steps"]) == (2, 5)


def test_the_memory_of_a_run_is_what_training_asks_for(shop, tmp_path, capsys):
    for more in ((), ("--accumulate", "3"), ("--optimiser", "muon", "--ema", "0.9"), ("--optimiser", "sgd")):
        run = ["train", str(shop.folder / "data"), "--out", str(tmp_path / "-".join(("run", *more))), *SIZES]
        assert charrnn(*run, "--steps", "1", *more, cwd=tmp_path).returncode == 0
        info(run[3], as_json=True)
        sizes = json.loads(capsys.readouterr().out)["sizes"]
        checkpoint = load_checkpoint(Path(run[3]) / "last.npz")
        assert sizes["memory_bytes"] == memory_of_run(checkpoint.model, checkpoint.training)
        assert sizes["optimiser"] == checkpoint.training.optimiser


def test_info_of_a_checkpoint_is_shown_to_a_person(shop, capsys):
    info(shop.run / "last.npz")
    shown = capsys.readouterr().out
    for part in (
        f"{shop.run / 'last.npz'}\n",
        "lstm 1 x 8",
        " parameters\n",
        "symbols of level char",
        "5 steps, 80 characters",
        " nats, ",
        "--batch 2",
        "--seq-len 8",
        str(shop.folder / "data"),
    ):
        assert part in shown
    assert "--epochs" not in shown


def test_a_checkpoint_by_itself_does_not_know_where_its_data_is(shop, tmp_path, capsys):
    shutil.copy(shop.run / "last.npz", tmp_path)
    info(tmp_path / "last.npz", as_json=True)
    data = json.loads(capsys.readouterr().out)["data"]
    info(tmp_path / "last.npz")
    assert data["path"] is None
    assert f"not known where, fingerprint {data['fingerprint'][:16]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "chosen, want",
    [
        ({}, {}),
        ({"steps": 5}, {"steps": 5}),
        ({"optimiser": "rmsprop"}, {"optimiser": "rmsprop"}),
        ({"optimiser": "adamw", "weight_decay": 0.0}, {"optimiser": "adamw", "weight_decay": 0.0}),
        ({"seq_len": 32, "epochs": 3.0}, {"seq_len": 32, "epochs": 3.0}),
        ({"bptt": "8:20"}, {"seq_len": 8, "bptt": "8:20"}),
    ],
)
def test_settings_that_differ_from_the_defaults_are_those_that_were_chosen(chosen, want):
    model = ModelConfig(9, "gru", 3, 16, embed=4, stateless=True)
    assert changed_settings(model, TrainConfig(**chosen)) == {"stateless": True} | want


@pytest.mark.parametrize("name, kind", [("files", DataError), ("none", DataError), ("data.txt", CheckpointError)])
def test_info_of_anything_else_is_refused(shop, name, kind):
    with pytest.raises(kind) as error:
        info(shop.folder / name)
    check_message(error, name)


@pytest.mark.parametrize("cell", ["lstm", "gru", "minlstm", "mlstm"])
def test_a_planned_model_has_the_shapes_of_the_real_one(cell, capsys):
    options = ("--cell", cell, "--layers", "3", "--hidden", "40", "--embed", "9", "--vocab", "30")
    found = planned(capsys, *options, "--batch", "4", "--seq-len", "10")
    network = Network(ModelConfig(30, cell, 3, 40, 9))
    shapes = {}
    for part in found["parts"]:
        prefix = part["name"].replace(" ", "") + "." if part["name"].startswith("layer") else ""
        shapes |= {prefix + name: tuple(shape) for name, shape in part["shapes"].items()}
    assert shapes == {name: view.shape for name, view in network.parameters.items()}
    assert found["parameters"] == sum(part["parameters"] for part in found["parts"]) == network.parameters.count
    assert found["multiply_adds"] == sum(part["multiply_adds"] for part in found["parts"])
    assert found["memory_bytes"] > sum(part["activation_bytes"] for part in found["parts"])
    assert found["chars_per_second"] > 0


def test_a_planned_model_is_shown_to_a_person(capsys):
    typer.main.get_command(app).main(["info", "--cell", "lstm", "--peepholes", "--hidden", "64"], standalone_mode=False)
    shown = capsys.readouterr().out
    for part in (
        "lstm (peepholes) 2 x 64, 65 symbols",
        "W_x 65 x 256",
        "p_o 64",
        "characters a second on this machine",
    ):
        assert part in shown


def test_a_model_is_planned_or_read_but_not_both(shop):
    with pytest.raises(ConfigError, match="--hidden; try one of them"):
        typer.main.get_command(app).main(["info", str(shop.run), "--hidden", "9"], standalone_mode=False)
