"""`charrnn eval`: the loss of a trained model on a split or on a text file."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.options import (
    CheckpointOrRun,
    Encoding,
    Errors,
    Json,
    Threads,
    Unknown,
    print_json,
    say_skipped,
    show,
    start_engine,
    unknown_policy,
)
from charrnn.errors import CheckpointError, ConfigError, DataError, InterruptError, TrainingError

LARGEST_LOGARITHM = 700.0  # of a number that a double holds


def evaluate(
    source: CheckpointOrRun,
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA|FILE]", help="What to read; - for standard input.", show_default="the data of the RUN"
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Of a DATA folder: train, val or test.")] = "val",
    encoding: Encoding = "utf-8",
    errors: Errors = "error",
    unknown: Unknown = "error",
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Learn from each piece of the text after it was counted.")
    ] = False,
    dynamic_lr: Annotated[float, typer.Option(help="Learning rate of --dynamic.")] = 0.1,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure the loss on a text, read once from left to right."""
    unknown_policy(unknown)
    if not 0 < dynamic_lr < math.inf:
        raise ConfigError(f"expected --dynamic-lr above 0, got {dynamic_lr}; try 0.1")
    start_engine(threads)
    from charrnn.interrupt import Interrupt
    from charrnn.text.data import open_data
    from charrnn.text.reading import Reading
    from charrnn.text.sources import STANDARD_INPUT, read_file
    from charrnn.training.checkpoint import find_checkpoint, load_checkpoint
    from charrnn.training.evaluate import Evaluator
    from charrnn.training.run import data_of_run

    checkpoint = load_checkpoint(find_checkpoint(source))
    vocabulary = checkpoint.vocabulary
    text = data_of_run(source) if text is None else text
    if text == STANDARD_INPUT or (text.exists() and not text.is_dir()):
        reading = Reading(vocabulary.level, encoding, errors, form=checkpoint.form)
        codes = read_file(text, reading)
        symbols, what = vocabulary.encode(codes, str(text), unknown), str(text)
        say_skipped(len(codes) - len(symbols), what)
    else:
        data = open_data(text)
        if data.vocabulary != vocabulary:
            raise CheckpointError(
                f"expected data with the model's vocabulary ({len(vocabulary)} symbols), got {text} with another "
                f"({len(data.vocabulary)}); try a text file instead, or the DATA folder of the model"
            )
        symbols, what = data.split(split), f"{split} of {text}"
    if len(symbols) < 2:
        raise DataError(
            f"expected at least 2 characters to read, got {len(symbols)} that the model knows in {what}; "
            "try a longer text"
        )
    evaluator = Evaluator(checkpoint.network(), symbols, dynamic_lr if dynamic else 0.0)
    evaluator.warm_up()
    start = time.perf_counter()
    with Interrupt() as interrupt:
        loss = evaluator.loss(lambda _: not interrupt.asked)
    if loss is None:
        raise InterruptError(interrupt.asked)
    if not math.isfinite(loss):
        raise TrainingError(f"expected a finite loss, got {loss}; try a lower --dynamic-lr than {dynamic_lr}")
    seconds = time.perf_counter() - start
    bits = loss / math.log(2)
    chars = len(symbols) - 1
    per_byte = bits * chars / vocabulary.bytes_of(symbols[1:])
    perplexity = math.exp(loss) if loss < LARGEST_LOGARITHM else None
    if as_json:
        figures = {
            "loss": loss,
            "bpc": bits,
            "perplexity": perplexity,
            "bits_per_byte": per_byte,
        }
        print_json({"text": what, "chars": chars} | figures | {"seconds": seconds})
    else:
        show(
            f"{what}: {loss:.4f} nats, {bits:.4f} bpc, perplexity {perplexity or math.inf:.3f} per character, "
            f"{per_byte:.4f} bits per byte; {chars:,} characters"
        )
