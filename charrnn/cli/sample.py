"""`charrnn sample`: text from a trained model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn import runtime
from charrnn.cli.options import (
    CheckpointOrRun,
    Json,
    OwnCell,
    Seed,
    Threads,
    Unknown,
    cell_of_model,
    print_json,
    say_skipped,
    start_engine,
    trained_model,
    unknown_policy,
)
from charrnn.cli.terminal import readable_bytes
from charrnn.errors import ConfigError, InterruptError

if TYPE_CHECKING:
    from charrnn.model.config import ModelConfig

BLOCK = 1 << 16  # symbols that are shown at a time


def sample(
    source: CheckpointOrRun,
    length: Annotated[
        int, typer.Option("--length", "-n", help="Characters to sample, not counting the prompt.")
    ] = 1000,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="Text to begin with; it is printed too.")] = "",
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", help="Below 1 safer, above 1 wilder, 0 always the likeliest.")
    ] = 1.0,
    seed: Seed = 0,
    count: Annotated[int, typer.Option(help="How many texts.")] = 1,
    unknown: Unknown = "error",
    threads: Threads = None,
    cell: OwnCell = "",
    as_json: Json = False,
) -> None:
    """Sample text from a checkpoint, to standard output as it is generated."""
    if length < 1 or count < 1:
        raise ConfigError(f"expected --length and --count of at least 1, got {length} and {count}; try --length 1000")
    if not 0 <= temperature <= 100:
        raise ConfigError(f"expected --temperature from 0 to 100, got {temperature}; try 0.8")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"expected --seed from 0 to 2^63 - 1, got {seed}; try --seed 0")
    unknown_policy(unknown)
    start_engine(threads)
    cell_of_model(cell)
    import numpy as np

    from charrnn.interrupt import Interrupt
    from charrnn.sampling.rule import Rule
    from charrnn.sampling.sampler import PIECE, Sampler

    checkpoint = trained_model(source)
    vocabulary = checkpoint.vocabulary
    codes = vocabulary.codes_of(checkpoint.form.apply(prompt))
    start = vocabulary.encode(codes, "the prompt", unknown)
    say_skipped(len(codes) - len(start), "the prompt")
    live = count == 1 and not as_json
    _refuse_too_large(checkpoint.model, count, 0 if live else length * count * vocabulary.dtype.itemsize)
    sampler = Sampler(checkpoint.network(), count, Rule(float(temperature)), seed)
    # Lines that are independent begin after a line break, so a prompt does too.
    before = vocabulary.beginning if checkpoint.model.stateless or not len(start) else start[:0]
    sampler.feed(np.concatenate([before, start]))
    kept = np.empty((count, 0 if live else length), vocabulary.dtype)
    shown = Writer()
    with Interrupt() as interrupt:
        if live:
            shown.write(vocabulary.decode(start))
        for position in range(0, length, PIECE):
            if interrupt.asked:
                raise InterruptError(interrupt.asked)
            piece = sampler.take(min(PIECE, length - position))
            if live:
                shown.write(vocabulary.decode(piece[:, 0]))
            else:
                kept[:, position : position + PIECE] = piece.T
    if as_json:
        texts = [vocabulary.decode(np.concatenate([start, stream])).decode("utf-8", "replace") for stream in kept]
        print_json({"texts": texts, "seed": seed, "temperature": temperature})
    elif live:
        shown.finish()
    else:
        for number, stream in enumerate(kept, start=1):
            shown.write(f"--- {number} of {count} ---\n".encode())
            shown.write(vocabulary.decode(start))
            for position in range(0, length, BLOCK):
                shown.write(vocabulary.decode(stream[position : position + BLOCK]))
            shown.finish()


def _refuse_too_large(model: ModelConfig, count: int, kept: int) -> None:
    """Raise ConfigError when texts would take more memory than there is; `kept` are the bytes of their symbols."""
    from charrnn.model.size import memory_needed
    from charrnn.sampling.sampler import PIECE

    needed, there = kept + memory_needed(model, count, PIECE, vectors=2), runtime.available_memory()
    if there is not None and needed > there:
        raise ConfigError(
            f"expected texts that fit into {there / 2**30:.1f} GB of free memory, got some of about "
            f"{needed / 2**30:.1f} GB; try a smaller --count, or --count 1 without --json, of which nothing is kept"
        )


class Writer:
    """Writes a text to standard output in whole characters; on a terminal, without what it would obey."""

    def __init__(self) -> None:
        self.ended = False  # whether what was shown ends with a line break

    def write(self, piece: bytes) -> None:
        """Show a piece."""
        sys.stdout.buffer.write(readable_bytes(piece) if sys.stdout.isatty() else piece)
        sys.stdout.buffer.flush()
        self.ended = piece.endswith(b"\n") if piece else self.ended

    def finish(self) -> None:
        """End a text with a line break."""
        if not self.ended:
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
