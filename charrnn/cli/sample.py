"""`charrnn sample`: text from a trained model."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from charrnn.cli.options import (
    CheckpointOrRun,
    Json,
    Seed,
    Threads,
    Unknown,
    print_json,
    say_skipped,
    start_engine,
    unknown_policy,
)
from charrnn.cli.terminal import readable_bytes
from charrnn.errors import ConfigError, InterruptError


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
    import numpy as np

    from charrnn.interrupt import Interrupt
    from charrnn.sampling.sampler import PIECE, Sampler
    from charrnn.training.checkpoint import find_checkpoint, load_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(source))
    vocabulary = checkpoint.vocabulary
    codes = vocabulary.codes_of(checkpoint.form.apply(prompt))
    start = vocabulary.encode(codes, "the prompt", unknown)
    say_skipped(len(codes) - len(start), "the prompt")
    sampler = Sampler(checkpoint.network(), count, temperature, seed)
    # Lines that are independent begin after a line break, so a prompt does too.
    before = vocabulary.beginning if checkpoint.model.stateless or not len(start) else start[:0]
    sampler.feed(np.concatenate([before, start]))
    pieces = []
    shown = Writer(live=count == 1 and not as_json)
    shown.write(vocabulary.decode(start))
    with Interrupt() as interrupt:
        while length > 0:
            if interrupt.asked:
                raise InterruptError(interrupt.asked)
            pieces.append(sampler.take(min(PIECE, length)))
            length -= len(pieces[-1])
            shown.write(vocabulary.decode(pieces[-1][:, 0]))
    texts = [vocabulary.decode(np.concatenate([start, stream])) for stream in np.concatenate(pieces).T]
    if as_json:
        print_json(
            {"texts": [text.decode("utf-8", "replace") for text in texts], "seed": seed, "temperature": temperature}
        )
    elif count == 1:
        shown.finish(texts[0])
    else:
        for number, text in enumerate(texts, start=1):
            shown.finish(f"--- {number} of {count} ---".encode(), whole=True)
            shown.finish(text, whole=True)


class Writer:
    """Writes text to standard output in whole characters; on a terminal, without what it would obey.

    Args:
        live: whether pieces are shown as they come.
    """

    def __init__(self, live: bool) -> None:
        self.live = live

    def write(self, piece: bytes) -> None:
        """Show a piece."""
        if self.live:
            self._put(piece)
            sys.stdout.buffer.flush()

    def _put(self, text: bytes) -> None:
        sys.stdout.buffer.write(readable_bytes(text) if sys.stdout.isatty() else text)

    def finish(self, text: bytes, whole: bool = False) -> None:
        """End a text with a line break, showing it first if it was not shown piece by piece."""
        if whole:
            self._put(text)
        if not text.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
