"""`charrnn`: the command line with all its commands, and how it reports their errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated

import typer

from charrnn import __version__, runtime
from charrnn.cli.bench import bench
from charrnn.cli.evaluate import evaluate
from charrnn.cli.gradcheck import gradcheck
from charrnn.cli.help import SampleCommand, TrainCommand, examples, help_of
from charrnn.cli.info import info
from charrnn.cli.log import log
from charrnn.cli.novelty import novelty
from charrnn.cli.prepare import prepare
from charrnn.cli.sample import sample
from charrnn.cli.score import score
from charrnn.cli.terminal import readable, unbreakable, wrapped
from charrnn.cli.train import train
from charrnn.errors import CharRNNError, ConfigError, InterruptError
from charrnn.files import reason
from charrnn.interrupt import end_at_once_on_signals, end_on_signals

CLOSED_PIPE = 128 + 13  # the exit status that a shell shows when SIGPIPE ends a command
EPILOG = "Start with: charrnn prepare TEXT --out DATA, charrnn train DATA --out RUN, charrnn sample RUN"

app = typer.Typer(
    name="charrnn",
    help="Character-level language models with recurrent networks, trained on the CPU.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    (prepare, "prepare", "Turn texts into a DATA folder."),
    (info, "info", "Show what is in a DATA folder, or what a model is."),
    (train, "train", "Train a model on a DATA folder."),
    (sample, "sample", "Write text as a trained model does."),
    (score, "score", "Say how well a model predicts each line of a text."),
    (novelty, "novelty", "Say how much of a sampled text is new."),
    (evaluate, "eval", "Measure the loss of a model on a text."),
    (log, "log", "Show how a run went."),
    (bench, "bench", "Measure speed on this machine."),
    (gradcheck, "gradcheck", "Check every gradient."),
    (help_of, "help", "Show what a command does, and all its options."),
)


@contextmanager
def _quiet_at_a_closed_pipe() -> Iterator[None]:
    """End the command without a message when the reader of standard output closes it; typer would exit with 1."""
    try:
        yield
    except BrokenPipeError:
        _discard_output()
        sys.exit(CLOSED_PIPE)


GROUPED = {"train": TrainCommand, "sample": SampleCommand}
for function, name, summary in COMMANDS:
    app.command(name, short_help=summary, epilog=examples(name), cls=GROUPED.get(name))(
        _quiet_at_a_closed_pipe()(function)
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


PATHS = (
    *("--out", "-o", "--data", "--init-from", "--prompt-file", "--prompts", "--words", "--compare", "--html"),
    *("--val-file", "--test-file", "--vocab-from"),
)


TEXTS = (  # options whose value may be empty
    *("--prompt", "-p", "--stop", "--separator", "--ban", "--allow", "--pattern", "--context", "--glob", "--exclude"),
    *("--name", "--note"),
)


def _refuse_missing_paths(words: list[str]) -> None:
    """Raise ConfigError for an empty path, or another option in its place, as an unset variable of a shell makes it.

    An empty path would mean this folder.
    """
    for before, word in pairwise(words):
        of_option = word.endswith("=") and word[:-1] in PATHS
        if before in PATHS and word.startswith("--"):
            raise ConfigError(f"expected a path after {before}, got {word}; try ./{word} if it is the name of a file")
        if of_option or (not word and before not in TEXTS):
            place = word[:-1] if of_option else before
            what = "a path" if place in PATHS or not place.startswith("-") else "a path or a value"
            raise ConfigError(f"expected {what} after {place}, got an empty text; try one, such as . for this folder")


def main() -> None:
    """Run the command line; an error that the user can correct is one line on standard error."""
    runtime.prepare()
    if sys.stdin is None:  # closed by the shell
        sys.stdin = open(os.devnull)  # noqa: SIM115
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal may lack some characters
    sys.stderr = unbreakable(sys.stderr)
    end_on_signals()
    try:
        try:
            _refuse_missing_paths(sys.argv[1:])
            app(prog_name="charrnn")
        finally:
            sys.stdout.flush()
    except CharRNNError as error:
        _fail(str(error), 1)
    except InterruptError as error:
        end_at_once_on_signals()
        _fail("interrupted", 128 + error.signal)
    except BrokenPipeError:
        _discard_output()
        sys.exit(CLOSED_PIPE)
    except OSError as error:
        _discard_output()
        where = f" {error.filename}" if error.filename else " the output"
        _fail(f"expected to read or write{where}, got: {reason(error)}; try another place", 1)
    except MemoryError:
        _fail("expected enough memory, got none left; try a smaller --hidden, --batch or --seq-len", 1)
    except Exception as error:
        _fail(f"unexpected {type(error).__name__}: {error}; try CHARRNN_DEBUG=1 for the traceback, and report it", 1)


def _discard_output() -> None:
    """Nobody reads standard output any more: send what the interpreter flushes at its end to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int) -> None:
    if runtime.debugging():
        raise  # noqa: PLE0704  (called while an exception is handled)
    print(wrapped(f"charrnn: {readable(' '.join(message.split()))}"), file=sys.stderr)
    sys.exit(status)
