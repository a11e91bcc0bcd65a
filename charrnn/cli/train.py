"""`charrnn train`: it trains a model on a DATA folder and writes a RUN folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn import runtime
from charrnn.cli.options import (
    Force,
    Json,
    Threads,
    explicit,
    in_lower_case,
    own_cell,
    precision_here,
    print_json,
    refuse_both_lengths,
    refuse_inert,
    say,
    say_other_source,
    start_engine,
    trained_model,
    word,
)
from charrnn.cli.setting_options import TRAINING, setting_options
from charrnn.errors import ConfigError, DataError, InterruptError
from charrnn.model.config import ModelConfig
from charrnn.settings import as_options, flag
from charrnn.training.config import TrainConfig, parse_bptt
from charrnn.training.presets import PRESETS

if TYPE_CHECKING:
    from charrnn.folders import NewFolder
    from charrnn.text.data import Data
    from charrnn.training.ahead import Helper
    from charrnn.training.checkpoint import Checkpoint
    from charrnn.training.progress import Progress
    from charrnn.training.state import TrainingState

# Chosen for each run, see training/choose.py.
CHOSEN: Any = dict.fromkeys(
    [
        *("hidden", "embed", "input_skips", "output_skips", "batch", "shuffle"),
        *("lr", "input_rate", "projection_rate", "output_rate", "dropout", "weight_drop", "init_scale", "forget_bias"),
    ]
)
OF_MODEL = [f.name for f in fields(ModelConfig) if f.name != "symbols"]
SETTINGS = [*OF_MODEL, *TRAINING]


@setting_options(before="threads", training=TRAINING, **CHOSEN)
def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA", help="Folder made by charrnn prepare; --resume finds its own.", show_default=False
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder for the run.", show_default=False)],
    threads: Threads = None,
    preset: Annotated[
        str | None,
        typer.Option(
            callback=in_lower_case,
            help="Settings that go well together, unless given. "
            + "; ".join(f"{n}: {as_options(PRESETS[n])}" for n in PRESETS),
            show_default=False,
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(metavar="CKPT|RUN", help="Begin with this model's shape and parameters.", show_default=False),
    ] = None,
    name: Annotated[str, typer.Option(help="A name for the run, kept in config.json.", show_default=False)] = "",
    note: Annotated[str, typer.Option(help="What the run is about, kept there too.", show_default=False)] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a model; Ctrl-C saves and stops, --resume goes on.

    Hidden units, embedding, batch, the order of the text, learning rates, skips, dropout, weight drop and weight decay
    are chosen for the text and the length of the run, unless given.
    """
    start_engine(threads)
    of_own_cell = f" --cell {quote(context.params['cell'])}" if ":" in context.params["cell"] else ""
    context.params |= own_cell(context.params["cell"])
    if resume:
        _refuse_beside_resume(force, preset, init_from)
    from charrnn.cli.progress import Display, Previewer, summary
    from charrnn.interrupt import Interrupt
    from charrnn.text.data import open_data
    from charrnn.training.ahead import Helper
    from charrnn.training.loop import Trainer
    from charrnn.training.run import origin

    data = _data_folder(context, data, out, resume)
    text = open_data(data)
    refuse_both_lengths(context)
    _refuse_without_validation(context, text)
    with ExitStack() as stack:
        helper = stack.enter_context(Helper())
        if resume:
            state, run, settle = _resumed(context, out, text, stack, helper), out, None
        else:
            state, folder = _started(context, out, text, stack, helper, preset, init_from, force, origin(name, note))
            run, settle = folder.path, folder.settle if force else None
        display = stack.enter_context(Display(state.model, state.config, text))
        previewer = Previewer(text.vocabulary, state.config.seed) if state.config.preview else None
        with _ready_to_resume("" if force else _again(out, of_own_cell)):
            trainer = Trainer(run, state, display, previewer, settle, runtime.STARTED)
            if not (ended_before := trainer.ended()):
                trainer.warm_up()
            helper.stop()
        interrupt = stack.enter_context(Interrupt())
        if ended_before:
            more = "a larger --patience" if trainer.out_of_patience() else "more --epochs, --steps or --minutes"
            say(f"{out} is finished already; try {more}")
        else:
            trainer.run(interrupt)
            if force and interrupt.asked and not state.progress.step:
                raise InterruptError(interrupt.asked)  # so that an older run stays
    place = _place(trainer.kept.path, out)
    if not ended_before:
        if trainer.out_of_patience():
            say(f"stopped by --patience {state.config.patience}: no lower loss in as many evaluations")
        summary(place, state.progress, of_own_cell)
    stopped_by = 0 if trainer.ended() else interrupt.asked  # a signal during the last save stops nothing
    if as_json:
        print_json(_result(place, state.progress, bool(stopped_by)))
    if stopped_by:
        say(f"interrupted and saved; go on with: {_again(place, of_own_cell)}")
        raise typer.Exit(128 + stopped_by)


def _again(run: Path, of_own_cell: str) -> str:
    """The command that resumes a run."""
    return f"charrnn train --out {word(run)} --resume{of_own_cell}"


def _place(run: Path, out: Path) -> Path:
    """The RUN folder as the user named it, or where somebody has moved it during the run."""
    if out.exists() and out.samefile(run):
        return out
    say(f"{out} was moved during the run, to {run}")
    return run


def _refuse_beside_resume(force: bool, preset: str | None, init_from: Path | None) -> None:
    if force:
        raise ConfigError("expected --resume or --force, got both; try --resume to go on, --force to start anew")
    if preset is not None:
        raise ConfigError("expected --resume or --preset, got both; try --resume alone: the run keeps its settings")
    if init_from is not None:
        raise ConfigError("expected --resume or --init-from, got both; try --resume alone to go on with the run")


def _resumed(context: typer.Context, out: Path, text: Data, stack: ExitStack, helper: Helper) -> TrainingState:
    """The state of a run that goes on. Its folder is locked until the stack closes."""
    from charrnn.cli.progress import refuse_too_large
    from charrnn.folders import locked
    from charrnn.training.run import resume_run
    from charrnn.training.state import TrainingState

    if out.is_dir():
        stack.enter_context(locked(out))
    asked, remarks = explicit(context, SETTINGS), explicit(context, ["name", "note"])
    if asked.get("precision") == "auto":
        del asked["precision"]
        say("--precision auto: that of the run, which it keeps")
    checkpoint = resume_run(
        out, text, asked, remarks, partial(refuse_too_large, len(text.split("train")), resumed=True)
    )
    say_other_source(checkpoint.model)
    say(f"resuming {out} at step {checkpoint.progress.step:,}")
    helper.offer(checkpoint.model, checkpoint.training)
    return TrainingState.of(checkpoint, text)


def _started(
    context: typer.Context,
    out: Path,
    text: Data,
    stack: ExitStack,
    helper: Helper,
    preset: str | None,
    init_from: Path | None,
    force: bool,
    began: dict[str, str],
) -> tuple[TrainingState, NewFolder]:
    """The state of a new run, and its folder, which is locked until the stack closes."""
    from charrnn.folders import CONFIG, refuse_existing
    from charrnn.training.run import new_run

    refuse_existing(out, CONFIG, force, otherwise="--resume to go on, ")
    source = None if init_from is None else trained_model(init_from)
    given = _settings(context, preset, source)
    state, lines = _initial_state(given, explicit(context, OF_MODEL), text, source, f"{init_from}", helper)
    if source is not None and preset is not None:
        lines.append(f"--preset {preset} does not change the model: it is that of {init_from}")
    folder = stack.enter_context(new_run(out, state, force, began))
    for line in lines:
        say(line)
    return state, folder


def _refuse_without_validation(context: typer.Context, text: Data) -> None:
    """Raise ConfigError for options that say when or how a model is evaluated, if the data have no part for it."""
    given = explicit(context, ["patience", "eval_every", "keep", "preview", "schedule"])
    for name in given if "val" not in text.splits else {}:
        if given[name] == "plateau" or (name != "schedule" and given[name]):
            option = "--schedule plateau" if name == "schedule" else flag(name)
            raise ConfigError(
                f"expected data with a validation part for {option}, got {text.path} without; "
                "try charrnn prepare with --val 0.1"
            )


def _data_folder(context: typer.Context, data: Path | None, out: Path, resume: bool) -> Path:
    """The DATA folder that the user named, else the one of the run that is resumed."""
    from charrnn.training.run import data_of_run

    if data is None and not resume:
        context.fail("Missing argument 'DATA'.")
    found = data_of_run(out) if data is None else data
    if data is None and not found.exists():
        what = f"expected the data of {out}, got {found}, which does not exist"
        raise DataError(f"{what}; try charrnn train DATA --resume --out {word(out)}")
    return found


def _result(out: Path, p: Progress, interrupted: bool) -> dict[str, Any]:
    """What --json prints at the end of a run: its figures, and what config.json holds."""
    from charrnn.training.run import read_config

    best = p.best_loss
    figures = {
        "run": str(out),
        "step": p.step,
        "chars": p.chars,
        "seconds": p.seconds,
        "elapsed": p.elapsed,
        "best_val_loss": best,
        "best_val_bpc": None if best is None else best / math.log(2),
        "best_step": p.best_step,
        "interrupted": interrupted,
    }
    return figures | {"config": read_config(out)}


@contextmanager
def _ready_to_resume(command: str) -> Iterator[None]:
    """If the user interrupts the block, print the command that resumes the run, unless it is empty."""
    try:
        yield
    except InterruptError:
        if command:
            say(f"interrupted before training; go on with: {command}")
        raise


def _settings(context: typer.Context, preset: str | None, source: Checkpoint | None) -> dict[str, Any]:
    """The settings that are given.

    What the command line does not give comes from the preset, and what the preset does not give from the defaults, if
    there are any.
    """
    for name in explicit(context, ["init", "init_scale", "forget_bias"]) if source is not None else {}:
        raise ConfigError(f"expected {flag(name)} or --init-from, got both; try it without {flag(name)}")
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"expected --preset to be one of {', '.join(PRESETS)}, got {preset!r}; try --preset fast")
    settings = {name: context.params[name] for name in SETTINGS if context.params.get(name) is not None}
    settings |= PRESETS[preset] if preset is not None else {}
    settings |= explicit(context, SETTINGS)
    settings["precision"] = precision_here(settings["precision"])
    refuse_inert(context, settings if source is None else settings | source.model.as_dict())
    if settings["bptt"]:
        settings["seq_len"] = parse_bptt(settings["bptt"])[0]
    return settings


def _initial_state(
    settings: dict[str, Any],
    asked: dict[str, Any],
    text: Data,
    source: Checkpoint | None,
    init_from: str,
    helper: Helper,
) -> tuple[TrainingState, list[str]]:
    """The state at the beginning of a run, and what to say about it.

    `asked` are the model's settings that the user gave, and `init_from` is the name of the source.
    """
    from charrnn.cli.progress import refuse_too_large
    from charrnn.training.choose import Chooser, Text
    from charrnn.training.finetune import model_for
    from charrnn.training.run import refuse_changes
    from charrnn.training.speed import product_speed
    from charrnn.training.state import TrainingState

    if source is not None:
        rates = {name: value for name, value in asked.items() if name in ("zoneout", "zoneout_cell")}
        refuse_changes(source.model.as_dict() | rates, asked, f"{init_from} has it", "--init-from")
        settings = settings | replace(model_for(source, text.vocabulary), **rates).as_dict()
    read = Text(len(text.split("train")), len(text.vocabulary), text.common)
    chooser = Chooser(read, settings, product_speed, source is not None)
    settings = chooser.choose()
    training = TrainConfig(**{name: value for name, value in settings.items() if name in TRAINING})
    model = ModelConfig(**{name: settings[name] for name in OF_MODEL if name in settings}, symbols=len(text.vocabulary))
    refuse_too_large(read.characters, model, training)
    helper.offer(model, training)
    state, transferred = TrainingState.begin(model, training, text, source)
    lines = [chooser.describe()]
    if text.meta["report"].get("lines", {}).get("list") and not model.stateless and source is None:
        lines.append(f"the lines of {text.path} are short: if they are independent, as names are, try --stateless")
    if transferred is not None:
        lines.append(
            f"beginning with the parameters of {init_from}: {transferred.kept} characters keep their rows, "
            f"{transferred.new} new ones begin afresh, {transferred.dropped} are dropped"
        )
    return state, lines
