"""Arguments and options that several commands share, and functions that belong to them."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn import runtime
from charrnn.cache import compilation
from charrnn.cli.terminal import readable, wrapped
from charrnn.errors import ConfigError, DataError
from charrnn.folders import BEST, LAST
from charrnn.model.config import OWN, ModelConfig
from charrnn.settings import flag, settings_in
from charrnn.training.config import TrainConfig

if TYPE_CHECKING:
    from charrnn.text.reading import Repairs
    from charrnn.training.checkpoint import Checkpoint


def in_lower_case(name: str | None) -> str | None:
    """The name in lower case, so that `--cell LSTM` means `--cell lstm`."""
    return None if name is None else name.lower()


UNKNOWN_POLICIES = ("error", "skip", "replace")
OF_CELL = ("cell", "nonlinearity", "peepholes", "coupled", "output_gate", "reset", "cell_source", "cell_declaration")

CheckpointOrRun = Annotated[
    Path, typer.Argument(metavar="CKPT|RUN", help="A checkpoint, or a RUN folder (its best.npz).", show_default=False)
]
OwnCell = Annotated[
    str,
    typer.Option("--cell", metavar="FILE.py:NAME", help="Of a model with a cell of your own.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads; the results are the same for any number.", show_default="all CPUs")
]
Precision = Annotated[
    str,
    typer.Option(
        callback=in_lower_case,
        help="Number format of matrix products: float32, bfloat16, int8 (weights), or auto: bfloat16 if it is faster.",
    ),
]
Unknown = Annotated[
    str, typer.Option(callback=in_lower_case, help="Characters the model does not know: error, skip or replace.")
]
Encoding = Annotated[str, typer.Option(help="Encoding of text files, at level char.")]
Errors = Annotated[
    str,
    typer.Option(
        callback=in_lower_case, help="Undecodable bytes: error, replace (by U+FFFD), skip or surrogateescape."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an older folder of the same kind.")]


def word(path: Path) -> str:
    """A path as a word of a shell's command, which is not taken for an option."""
    text = str(path)
    return quote(f"./{text}" if text.startswith("-") else text)


def start_engine(threads: int | None) -> None:
    """Set the number of threads, and tell the user when kernels compile. Call this before the engine is imported."""
    if threads is None:
        threads = runtime.threads()
    if not 1 <= threads <= runtime.MOST_THREADS:
        most, cpus = runtime.MOST_THREADS, runtime.available_cpus()
        raise ConfigError(f"expected --threads from 1 to {most}, got {threads}; try --threads {cpus}")
    runtime.prepare(threads)
    compilation.tell = say


def precision_here(name: str, *known: str) -> str:
    """The precision that --precision means on this CPU; for `auto`, tell the user which one was chosen.

    Call this after `start_engine`.

    Args:
        name: the value of --precision.
        known: the values that are allowed besides float32, bfloat16 and auto.
    """
    names = ("float32", "bfloat16", *known, "auto")
    if name not in names:
        raise ConfigError(f"expected --precision to be one of {', '.join(names)}, got {name!r}; try float32")
    if name != "auto":
        return name
    from charrnn.model.dense import fastest_precision

    chosen = fastest_precision()
    say(f"--precision auto: {chosen}, the faster one on this CPU")
    return chosen


def own_cell(name: str) -> dict[str, str]:
    """If --cell is FILE.py:NAME, execute the file and return the settings of its cell for ModelConfig; else {}."""
    path, colon, name = name.rpartition(":")
    if not colon:
        if name.endswith(".py"):
            raise ConfigError(f"expected --cell FILE.py:NAME, got {name}; try {name}: and the name of the cell")
        return {}
    from charrnn.model.own import read_cell

    return read_cell(Path(path), name).settings


def name_of(model: ModelConfig) -> str:
    """The name of a model's cell, with the options that change its equations."""
    options = {"peepholes": model.peepholes, "coupled": model.coupled, "no output gate": not model.output_gate}
    further = [name for name, chosen in options.items() if chosen]
    if model.cell == "rnn" and model.nonlinearity != ModelConfig.nonlinearity:
        further.append(model.nonlinearity)
    if model.cell == "gru" and model.reset != ModelConfig.reset:
        further.append(f"reset {model.reset}")
    name = model.cell.removeprefix(OWN)
    return f"{name} ({', '.join(further)})" if further else name


def cell_of_model(name: str) -> None:
    """Execute the file of --cell for a trained model; only a model with a cell of the user's own needs a file."""
    if name and not own_cell(name):
        raise ConfigError(f"expected --cell FILE.py:NAME beside a trained model, got {name}; try without --cell")


def say_other_source(model: ModelConfig) -> None:
    """Warn when a model's cell comes from another file than the one it was trained with."""
    from charrnn.model.own import other_source

    if warning := other_source(model):
        say(warning)


def trained_model(source: Path) -> Checkpoint:
    """The checkpoint that CKPT|RUN means; it warns as `say_other_source` does."""
    from charrnn.training.checkpoint import find_checkpoint, load_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(source))
    say_other_source(checkpoint.model)
    return checkpoint


def unknown_policy(value: str) -> str:
    """Check --unknown."""
    if value not in UNKNOWN_POLICIES:
        raise ConfigError(f"expected --unknown error, skip or replace, got {value!r}; try --unknown skip")
    return value


def check_seed(seed: int) -> None:
    """Check --seed of a command that draws text."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"expected --seed from 0 to 2^63 - 1, got {seed}; try --seed 0")


def explicit(context: typer.Context, names: list[str]) -> dict[str, Any]:
    """The parameters among `names` that the user gave on the command line, with their values."""
    return {
        name: context.params[name]
        for name in names
        if name in context.params
        and (source := context.get_parameter_source(name)) is not None
        and source.name == "COMMANDLINE"
    }


def settings_of(context: typer.Context, config: type) -> dict[str, Any]:
    """The parameters of the command line that are fields of a configuration."""
    return {field.name: context.params[field.name] for field in fields(config) if field.name in context.params}


def refuse_inert(context: typer.Context, chosen: dict[str, Any]) -> None:
    """Raise ConfigError for a setting on the command line that has no effect together with the other settings.

    Args:
        chosen: the settings of the model and its training.
    """
    known = settings_in(ModelConfig) | settings_in(TrainConfig)
    needed = {name: what.only for name, what in known.items() if what.only is not None}
    for name in explicit(context, list(needed)):
        other, values = needed[name]
        of_two_states = name == "zoneout_cell" and str(chosen.get("cell")).startswith(OWN)
        if other in chosen and chosen[other] not in values and not of_two_states:
            option = "--no-output-gate" if name == "output_gate" else flag(name)
            raise ConfigError(
                f"expected {option} with {flag(other)} {' or '.join(values)}, got {chosen[other]}; try it without"
            )
    lacking = _lacking(chosen)
    for name in explicit(context, list(lacking)):
        raise ConfigError(f"expected {flag(name)} with {lacking[name]}; try it without")


def _lacking(chosen: dict[str, Any]) -> dict[str, str]:
    """What some settings need that the model does not have, in words; only those that have no effect."""
    from charrnn.model.cells import cell_of

    found = {}
    of_cell = {name: chosen[name] for name in OF_CELL if name in chosen}
    cell = cell_of(ModelConfig(1, **of_cell))
    if not cell.forget:
        found["forget_bias"] = f"a cell that has a forget gate, got {cell.name}"
    if not cell.recurrent:
        found["init"] = f"a cell that has recurrent weights, got {cell.name}"
    if chosen.get("layers") == 1:
        found["residual"] = "several layers, got --layers 1"
    if chosen.get("layers") == 1 and chosen.get("optimiser") == "muon" and not cell.recurrent:
        found["optimiser"] = f"weights between hidden units for muon, got one layer of {cell.name}"
    if chosen.get("seq_len") == 1 and not chosen.get("bptt"):
        found["temporal_penalty"] = "chunks of several time steps, got --seq-len 1"
    if chosen.get("momentum") == 0:
        found["nesterov"] = "a --momentum above 0, got 0"
    if chosen.get("stateless"):
        found["reset_every"] = "a state that is carried from line to line, got --stateless"
    return found


def refuse_alone(context: typer.Context, name: str, other: str) -> None:
    """Raise ConfigError when the first of these options was given without the other one."""
    if explicit(context, [name]) and not explicit(context, [other]):
        raise ConfigError(f"expected {flag(name)} with {flag(other)}, got it alone; try {flag(other)} too")


def refuse_both_lengths(context: typer.Context) -> None:
    """Raise ConfigError when both --bptt and --seq-len are given: each of them sets the length of a chunk."""
    if context.params["bptt"] and explicit(context, ["seq_len"]):
        raise ConfigError("expected --bptt or --seq-len, got both; try --bptt alone: its K1 is the --seq-len")


def is_data_folder(path: Path) -> bool:
    """Whether a path is a DATA folder, and not a RUN folder or a checkpoint.

    Raises:
        DataError: it is a folder of another kind, or nothing is there.
    """
    if (path / "meta.json").is_file():
        return True
    is_run = any((path / name).is_file() for name in (BEST, LAST))
    if (path.is_dir() and not is_run) or not path.exists():
        what = f"the folder {path}" if path.is_dir() else f"{path}, where nothing is"
        raise DataError(f"expected a DATA or RUN folder or a checkpoint, got {what}; try one of these")
    return False


def say_if_waiting(inputs: list[Path]) -> bool:
    """If text is read from the terminal, tell the user so, because nothing else shows it. Returns whether it is."""
    from charrnn.text.sources import STANDARD_INPUT

    waiting = STANDARD_INPUT in inputs and sys.stdin is not None and sys.stdin.isatty()
    if waiting:
        end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
        say(f"reading text from this terminal; end it with {end} on a new line")
    return waiting


def say_skipped(count: int, where: str) -> None:
    """Say that unknown characters were left out, if any were."""
    if count:
        say(f"left out {count:,} unknown characters of {where}")


def say_repaired(repairs: Repairs, where: str) -> None:
    """Say that undecodable bytes were skipped or replaced, if any were."""
    if repairs.places:
        say(f"undecodable bytes of {where}, treated as --errors says: {repairs.bytes:,}")


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object to standard output. It is ASCII, so the encoding of the output does not matter."""
    print(json.dumps(values))


def say(text: str) -> None:
    """Print one line for the user on standard error."""
    print(wrapped(readable(text)), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print one line that the user asked for on standard output."""
    print(readable(text))
