"""`charrnn eval`: the loss of a trained model on a split or on a text file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.options import (
    CheckpointOrRun,
    Encoding,
    Errors,
    Json,
    OwnCell,
    Precision,
    Threads,
    Unknown,
    cell_of_model,
    explicit,
    precision_here,
    print_json,
    refuse_alone,
    say_if_waiting,
    say_repaired,
    say_skipped,
    show,
    start_engine,
    trained_model,
    unknown_policy,
)
from charrnn.errors import CheckpointError, ConfigError, DataError, InterruptError, TrainingError
from charrnn.folders import what_is

if TYPE_CHECKING:
    from charrnn.model.network import Network
    from charrnn.text.data import Data
    from charrnn.text.reading import Reading
    from charrnn.text.stored import Symbols
    from charrnn.text.vocabulary import Codes, Vocabulary
    from charrnn.training.checkpoint import Checkpoint

LARGEST_LOGARITHM = 700.0  # about the logarithm of the largest number that a double can hold


def evaluate(
    context: typer.Context,
    source: CheckpointOrRun,
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA|FILE", help="What to read; - for standard input.", show_default="the data of the RUN"
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Of a DATA folder: train, val or test.")] = "val",
    encoding: Encoding = "utf-8",
    errors: Errors = "error",
    unknown: Unknown = "error",
    chars: Annotated[int, typer.Option(help="Characters to predict at most.", show_default="all")] = 0,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Learn from each piece of the text after it was counted.")
    ] = False,
    dynamic_lr: Annotated[float, typer.Option(help="Learning rate of --dynamic.")] = 0.1,
    threads: Threads = None,
    precision: Precision = "float32",
    cell: OwnCell = "",
    as_json: Json = False,
) -> None:
    """Measure the loss on a text, read once from left to right."""
    unknown_policy(unknown)
    if chars < 0:
        raise ConfigError(f"expected --chars of 0 or more, got {chars}; try --chars 100000")
    if not 0 < dynamic_lr < math.inf:
        raise ConfigError(f"expected --dynamic-lr above 0, got {dynamic_lr}; try 0.1")
    if dynamic and precision == "int8":
        raise ConfigError("expected --dynamic with float32 or bfloat16, got int8; try it without --precision")
    refuse_alone(context, "dynamic_lr", "dynamic")
    start_engine(threads)
    cell_of_model(cell)
    from charrnn.interrupt import Interrupt
    from charrnn.text.reading import Reading
    from charrnn.text.sources import STANDARD_INPUT
    from charrnn.training.evaluate import PieceReader
    from charrnn.training.run import data_of_run

    checkpoint = trained_model(source)
    vocabulary = checkpoint.vocabulary
    own, text = text is None, data_of_run(source) if text is None else text
    rate = dynamic_lr if dynamic else 0.0
    say_if_waiting([text])
    network = checkpoint.network(precision=precision_here(precision, "int8"))
    PieceReader(network, rate).warm_up()
    start = time.perf_counter()
    with Interrupt() as interrupt:
        if text == STANDARD_INPUT or (text.exists() and not text.is_dir()):
            if explicit(context, ["split"]):
                raise ConfigError(f"expected --split with a DATA folder, got {text}; try it without --split")
            reading = Reading(vocabulary.level, encoding, errors, form=checkpoint.form)
            known = KnownSymbols(text, reading, vocabulary, unknown, chars + 1 if chars else None)
            found = _of_file(network, known, rate, lambda _: not interrupt.asked)
        else:
            if given := explicit(context, ["encoding", "errors", "unknown"]):
                raise ConfigError(f"expected --{next(iter(given))} with a text file, got {text}; try it without")
            _refuse_missing(text, own)
            data = open_data_of(text, checkpoint, source if own else None)
            found = _of_split(network, data, split, chars, rate, lambda _: not interrupt.asked)
    if interrupt.asked:
        raise InterruptError(interrupt.asked)
    _refuse_too_short(found.count, found.what)
    assert found.loss is not None
    if not math.isfinite(found.loss):
        raise TrainingError(f"expected a finite loss, got {found.loss}; try a lower --dynamic-lr than {dynamic_lr}")
    _print(found, found.loss, time.perf_counter() - start, as_json)


@dataclass(frozen=True)
class Measured:
    """What was measured on a text.

    Args:
        what: a name of the text.
        loss: nats per character; None if an interrupt ended the reading, or if the text is too short.
        count: how many characters were read. All but the first were predicted.
        bytes: how many bytes the predicted characters have in UTF-8; None if it is not known.
    """

    what: str
    loss: float | None
    count: int
    bytes: int | None


def _of_file(network: Network, known: KnownSymbols, rate: float, going_on: Callable[[int], bool]) -> Measured:
    """The loss on a text file. Reading ends when `going_on` returns False."""
    from charrnn.training.evaluate import loss_of_blocks

    what = str(known.path)
    loss, count = loss_of_blocks(network, known.blocks(), rate, going_on)
    say_skipped(known.skipped, what)
    say_repaired(known.repairs, what)
    return Measured(what, loss, count, known.bytes)


def _of_split(
    network: Network, data: Data, split: str, chars: int, rate: float, going_on: Callable[[int], bool]
) -> Measured:
    """The same on a split of a DATA folder, or on as many of its first characters as are asked for."""
    from charrnn.training.evaluate import Evaluator

    whole, what = data.split(split), f"{split} of {data.path}"
    symbols = whole.first(chars + 1) if chars else whole
    _refuse_too_short(len(symbols), what)
    loss = Evaluator(network, symbols, rate).loss(going_on)
    return Measured(what, loss, len(symbols), _bytes_of(symbols, data))


def _print(found: Measured, loss: float, seconds: float, as_json: bool) -> None:
    """Print the figures."""
    chars, bits = found.count - 1, loss / math.log(2)
    per_byte = None if found.bytes is None else bits * chars / found.bytes
    perplexity = math.exp(loss) if loss < LARGEST_LOGARITHM else None
    if as_json:
        figures = {"loss": loss, "bpc": bits, "perplexity": perplexity, "bits_per_byte": per_byte, "seconds": seconds}
        print_json({"text": found.what, "chars": chars} | figures)
    else:
        show(
            f"{found.what}: {loss:.4f} nats, {bits:.4f} bpc, perplexity {perplexity or math.inf:.3f} per character"
            + ("" if per_byte is None else f", {per_byte:.4f} bits per byte")
            + f"; {chars:,} characters"
        )


def _bytes_of(symbols: Symbols, data: Data) -> int | None:
    """The bytes of a split's characters but the first; None if rare characters are not known any more."""
    from charrnn.text.stored import blocks

    if data.meta["left_out"]["characters"]:
        return None
    codes, bytes_of = data.vocabulary.codes, data.vocabulary.bytes_of
    return sum(bytes_of(codes[block]) for block in blocks(symbols)) - bytes_of(codes[symbols[:1]])


def _refuse_missing(text: Path, own: bool) -> None:
    """Raise DataError when there is nothing to read; `own` says whether `text` is the data of the run itself."""
    if not text.exists():
        hint = "try naming it, if it was moved: charrnn eval RUN DATA" if own else "try another path"
        raise DataError(f"expected a text file or a DATA folder, got {what_is(text)}; {hint}")


def open_data_of(
    path: Path, checkpoint: Checkpoint, run: Path | None, hint: str = "naming the DATA folder or text file to read"
) -> Data:
    """Open a DATA folder with the model's vocabulary; if `run` is given, the folder must hold the data of that run.

    The message says what to try: `hint`.
    """
    from charrnn.text.data import open_data

    data = open_data(path)
    checkpoint.refuse_other_vocabulary(data.vocabulary, path)
    if run is not None and data.fingerprint != checkpoint.data:
        raise CheckpointError(
            f"expected the data that {run} was trained on, got {path}, prepared anew from another text or split, so "
            f"that training text may be in it; try {hint}"
        )
    return data


def _refuse_too_short(count: int, what: str) -> None:
    if count < 2:
        raise DataError(
            f"expected at least 2 characters to read, got {count} that the model knows in {what}; try a longer text"
        )


class KnownSymbols:
    """The symbols of a text file, block by block.

    Args:
        path: the file, or `-`.
        reading: how it is read.
        vocabulary: the vocabulary of the model.
        unknown: what is done with characters that are not in the vocabulary, see `Vocabulary.encode`.
        most: the most symbols to read; None for all.

    Attributes:
        skipped: characters left out so far.
        repairs: what was repaired so far.
        bytes: how many bytes the characters read so far take, without the first one and those that were left out. Those
            that were replaced count with their own bytes.
    """

    def __init__(self, path: Path, reading: Reading, vocabulary: Vocabulary, unknown: str, most: int | None) -> None:
        from charrnn.text.reading import Repairs

        self.most, self.repairs = most, Repairs()
        self.path, self.reading, self.vocabulary, self.unknown = path, reading, vocabulary, unknown
        self.skipped = self.bytes = 0

    def blocks(self) -> Iterator[Codes]:
        """The text, (n,) symbols at a time."""
        from charrnn.text.sources import read_file

        read = kept = 0
        for block in read_file(self.path, self.reading, self.repairs):
            codes = block if self.most is None else block[: self._enough(block, self.most - kept)]
            symbols = self.vocabulary.encode(codes, str(self.path), self.unknown, read)
            read, self.skipped = read + len(codes), self.skipped + len(codes) - len(symbols)
            known = codes if self.unknown != "skip" else codes[self.vocabulary.numbers[codes] >= 0]
            self.bytes += self.vocabulary.bytes_of(known if kept else known[1:])
            kept += len(symbols)
            yield symbols
            if kept == self.most:
                return

    def _enough(self, codes: Codes, symbols: int) -> int:
        """How many of these codes give so many symbols; all if they give fewer."""
        if self.unknown != "skip":
            return symbols
        count = (self.vocabulary.numbers[codes] >= 0).cumsum()
        return int(count.searchsorted(symbols)) + 1
