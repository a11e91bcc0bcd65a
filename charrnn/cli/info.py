"""`charrnn info`: what is in a DATA folder, what a checkpoint is."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import (
    Json,
    cell_of_model,
    explicit,
    is_data_folder,
    name_of,
    own_cell,
    precision_here,
    print_json,
    refuse_inert,
    settings_of,
    show,
    start_engine,
    trained_model,
)
from charrnn.cli.report import LINE, describe
from charrnn.cli.setting_options import setting_options
from charrnn.errors import CheckpointError, ConfigError
from charrnn.model.config import MOST_SYMBOLS, ModelConfig
from charrnn.settings import as_options, flag
from charrnn.training.config import TrainConfig

if TYPE_CHECKING:
    from charrnn.training.checkpoint import Checkpoint

USUAL_SYMBOLS = 65
STOPS = ("epochs", "steps", "minutes")


@setting_options(before="vocab", training=("batch", "seq_len", "precision"))
def info(
    context: typer.Context,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA|CKPT|RUN",
            help="A DATA folder, a checkpoint, or a RUN folder (its best.npz). Without, a planned model.",
            show_default=False,
        ),
    ] = None,
    vocab: Annotated[int, typer.Option(help="Symbols of the vocabulary.")] = USUAL_SYMBOLS,
    as_json: Json = False,
) -> None:
    """Show what is in a DATA folder, with the figures that a model must beat; what a trained model is; or what a model
    would cost: info --cell gru --layers 3 --hidden 512 --vocab 65.
    """
    asked = [name for name in explicit(context, list(context.params)) if name not in ("source", "as_json", "cell")]
    if source is not None and asked:
        raise ConfigError(
            f"expected DATA, CKPT or RUN or a planned model, got {source} and {flag(asked[0])}; try one of them"
        )
    if source is not None and is_data_folder(source):
        from charrnn.text.data import read_meta

        if explicit(context, ["cell"]):
            raise ConfigError(f"expected --cell with a model, got {source}, a DATA folder; try it without")
        values = read_meta(source)
        lines = describe(values)
    else:
        start_engine(None)
        if source is None:
            context.params |= own_cell(context.params["cell"])
            refuse_inert(context, context.params)
        else:
            cell_of_model(context.params["cell"] if explicit(context, ["cell"]) else "")
        values, lines = _planned(context) if source is None else _trained(source)
    if as_json:
        print_json(values)
        return
    for line in lines:
        show(line)


def _planned(context: typer.Context) -> tuple[dict[str, Any], list[str]]:
    """Values and lines for a model that does not exist yet."""
    from charrnn.cli.shape import plan_values, shape_lines

    settings = settings_of(context, ModelConfig)
    if not 1 <= context.params["vocab"] <= MOST_SYMBOLS:
        got = context.params["vocab"]
        raise ConfigError(f"expected --vocab from 1 to {MOST_SYMBOLS:,}, got {got}; try --vocab 65")
    model = ModelConfig(**settings | {"symbols": context.params["vocab"]})
    sizes = TrainConfig(**settings_of(context, TrainConfig))
    values = plan_values(model, replace(sizes, precision=precision_here(sizes.precision)))
    return values, [
        f"{name_of(model)} {model.layers} x {model.hidden}, {model.symbols:,} symbols",
        *shape_lines(values),
    ]


def _trained(source: Path) -> tuple[dict[str, Any], list[str]]:
    """Values and lines for a checkpoint."""
    from charrnn.cli.shape import shape_lines, shape_values
    from charrnn.training.checkpoint import find_checkpoint

    path = find_checkpoint(source)
    checkpoint = trained_model(path)
    training = checkpoint.training
    values = model_values(path, checkpoint)
    values["sizes"] = shape_values(checkpoint.model, training)
    return values, [*describe_model(path, checkpoint, values), "", *shape_lines(values["sizes"])]


def model_values(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """What `info --json` says about a checkpoint."""
    from charrnn.model.size import parameter_count
    from charrnn.training.run import data_of_run, origin_of

    try:
        data = str(data_of_run(path))
    except CheckpointError:
        data = None
    best = checkpoint.progress.best_loss
    return {
        "checkpoint": str(path),
        "model": checkpoint.model.as_dict(),
        "parameters": parameter_count(checkpoint.model),
        "vocabulary": {"level": checkpoint.vocabulary.level, "symbols": len(checkpoint.vocabulary)},
        "form": asdict(checkpoint.form),
        "progress": asdict(checkpoint.progress),
        "best_val_loss": best,
        "best_val_bpc": None if best is None else best / math.log(2),
        "best_step": checkpoint.progress.best_step,
        "training": checkpoint.training.as_dict(),
        "changed": changed_settings(checkpoint.model, checkpoint.training),
        "data": {"path": data, "fingerprint": checkpoint.data},
        "origin": origin_of(path.parent),
    }


def changed_settings(model: ModelConfig, training: TrainConfig) -> dict[str, Any]:
    """The settings that differ from the defaults, without the sizes of the model.

    Some defaults depend on the optimiser or on the length of a chunk. They are taken for the optimiser and the length
    that are given here.
    """
    plain = ModelConfig(model.symbols, model.cell, model.layers, model.hidden, model.embed).as_dict()
    usual = TrainConfig(optimiser=training.optimiser, seq_len=training.seq_len).as_dict()
    usual |= {name: getattr(TrainConfig(), name) for name in ("optimiser", "seq_len")}
    usual |= {name: 0 for name in STOPS if not getattr(training, name)}
    settings = model.as_dict() | training.as_dict()
    settings = {name: value for name, value in settings.items() if name not in ("cell_source", "cell_declaration")}
    return {name: value for name, value in settings.items() if value != (plain | usual)[name]}


def describe_model(path: Path, checkpoint: Checkpoint, values: dict[str, Any]) -> list[str]:
    """What `info` prints about a checkpoint: the values of `model_values` as lines of text."""
    from charrnn.cli.bar import clock
    from charrnn.cli.progress import losses

    model, progress, form = checkpoint.model, checkpoint.progress, checkpoint.form
    embedding = f", embedding {model.embed}" if model.embed else ""
    figures = []
    if progress.best_loss is not None:
        figures.append(f"validation {losses(progress.best_loss)} at step {progress.best_step:,}, the lowest")
    if progress.loss_mean is not None:
        figures.append(f"training {losses(progress.loss_mean)}, a running mean")
    forms = {name: value for name, value in asdict(form).items() if value != getattr(type(form)(), name)}
    origin = values["origin"]
    rows = {
        "name": origin.get("name", ""),
        "note": origin.get("note", ""),
        "cell": model.cell_declaration and f"{model.cell_declaration}; SHA-256 of its file {model.cell_source[:16]}...",
        "model": f"{name_of(model)} {model.layers} x {model.hidden}{embedding}, {values['parameters']:,} parameters",
        "vocabulary": f"{model.symbols:,} symbols of level {checkpoint.vocabulary.level}",
        "text": as_options(forms),
        "trained": f"{progress.step:,} steps, {progress.chars:,} characters in {clock(progress.seconds)}",
        "losses": "; ".join(figures) or "none yet",
        "settings": as_options(values["changed"]) or "the defaults",
        "data": f"{values['data']['path'] or 'not known where'}, fingerprint {checkpoint.data[:16]}",
    }
    return [str(path), *(LINE.format(name, text) for name, text in rows.items() if text)]
