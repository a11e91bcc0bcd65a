"""`charrnn score`: how well a model predicts each line of a text."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from charrnn import runtime
from charrnn.cli.options import (
    CheckpointOrRun,
    Encoding,
    Errors,
    OwnCell,
    Threads,
    Unknown,
    cell_of_model,
    say,
    say_if_waiting,
    say_repaired,
    show,
    start_engine,
    trained_model,
    unknown_policy,
)
from charrnn.cli.scored import Score, Unit
from charrnn.cli.terminal import interruptible
from charrnn.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.text.vocabulary import Codes
    from charrnn.training.checkpoint import Checkpoint

STANDARD_STREAM = Path("-")
LINE_FEED = 10
LONGEST_LINE = 1 << 24  # characters
SHADES = ((1, ""), (3, "\x1b[33m"), (6, "\x1b[31m"), (math.inf, "\x1b[1;97;41m"))  # bits, and the colour for fewer
PLAIN = "\x1b[0m"


def score(
    source: CheckpointOrRun,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Texts; - for standard input.", show_default="-")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="A score for each file, not for each line.")] = False,
    chars: Annotated[bool, typer.Option("--chars", help="Each character's surprisal too, in bits.")] = False,
    sort: Annotated[bool, typer.Option("--sort", help="The most surprising first.")] = False,
    context: Annotated[
        str, typer.Option(metavar="TEXT", help="What stands before each line or file.", show_default=False)
    ] = "",
    compare: Annotated[
        Path | None,
        typer.Option(metavar="CKPT|RUN", help="How many bits this other model needs more.", show_default=False),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with each character.", show_default=False)
    ] = None,
    encoding: Encoding = "utf-8",
    errors: Errors = "error",
    unknown: Unknown = "error",
    threads: Threads = None,
    cell: OwnCell = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each score, in a line.")] = False,
) -> None:
    """Say how well a model predicts each line, in bits per character: few bits for what it expects."""
    unknown_policy(unknown)
    if html is not None and (chars or as_json or compare):
        other = "--chars" if chars else "--json" if as_json else "--compare"
        raise ConfigError(f"expected --html alone, got {other} too; try two commands")
    if html is not None:
        _refuse_other_content(html)
    inputs = files or [STANDARD_STREAM]
    start_engine(threads)
    cell_of_model(cell)
    from charrnn.text.reading import Reading

    checkpoint = trained_model(source)
    reading = Reading(checkpoint.vocabulary.level, encoding, errors, form=checkpoint.form)
    context = checkpoint.form.apply(context)
    say_if_waiting(inputs)
    units = _units(inputs, reading, whole)
    with interruptible() as look:
        scorer, rival = Scorer(checkpoint, context, unknown, look), None
        if compare is not None:
            rival = Scorer(_rival(compare, checkpoint), context, unknown, look, f" for {compare}")
        scores = _watched(_scores(scorer, rival, units), look)
        if sort:
            scores = _hardest_first(scores)
        if html is not None:
            _write_page(html, scores)
        else:
            _print(scores, chars, as_json)
    if left_out := scorer.left_out + (rival.left_out if rival is not None else 0):
        say(f"left out {left_out:,} unknown characters")


def _watched(scores: Iterator[Score], look: Callable[[], None]) -> Iterator[Score]:
    """The scores, until Ctrl-C is pressed. There must be one at least."""
    count = 0
    for found in scores:
        look()
        count += 1
        yield found
    if not count:
        raise DataError("expected lines to score, got none; try a file with text")


def _hardest_first(scores: Iterator[Score]) -> Iterator[Score]:
    """The scores in the order of --sort; they are computed when the first one is asked for."""
    yield from sorted(scores, key=lambda s: -math.inf if s.bpc is None else s.bpc, reverse=True)


def _print(scores: Iterator[Score], chars: bool, as_json: bool) -> None:
    coloured = chars and not as_json and sys.stdout.isatty() and runtime.colours_wanted()
    for found in scores:
        if as_json or (chars and not coloured):
            print(json.dumps(found.values(chars)), flush=True)
        else:
            _show(found, coloured)


def _rival(path: Path, checkpoint: Checkpoint) -> Checkpoint:
    """The other model of --compare; it must read the same kind of symbols."""
    other = trained_model(path)
    if other.vocabulary.level != checkpoint.vocabulary.level:
        raise ConfigError(
            f"expected two models of level {checkpoint.vocabulary.level} to --compare, got {path} of level "
            f"{other.vocabulary.level}; try another one"
        )
    if other.form != checkpoint.form:
        say(
            f"the text of {path} was prepared with another --lowercase, --newlines or --normalize; "
            "both models read in the form of the first one"
        )
    return other


def _units(inputs: list[Path], reading: Any, whole: bool) -> Iterator[Unit]:
    """The lines of the files, or each file as a whole."""
    import numpy as np

    from charrnn.text.reading import Repairs
    from charrnn.text.sources import read_file

    for path in inputs:
        name = "standard input" if path == STANDARD_STREAM else str(path)
        repairs = Repairs()
        blocks = read_file(path, reading, repairs)
        if whole:
            yield Unit(name, 0, np.concatenate([np.zeros(0, np.uint8), *blocks]))
        else:
            for number, codes in enumerate(_lines(blocks, name), start=1):
                yield Unit(name, number, codes)
        say_repaired(repairs, name)


def _lines(blocks: Iterable[Codes], name: str) -> Iterator[Codes]:
    """The lines of a text that comes in blocks, without their line ends."""
    import numpy as np

    begun: list[Codes] = []
    number = 1
    for block in blocks:
        at = 0
        for end in np.flatnonzero(block == LINE_FEED).tolist():
            line = np.concatenate([*begun, block[at:end]]) if begun else block[at:end]
            yield line[:-1] if len(line) and line[-1] == ord("\r") else line
            begun, at, number = [], end + 1, number + 1
        if at < len(block):
            begun.append(block[at:])
        if sum(map(len, begun)) > LONGEST_LINE:
            raise DataError(
                f"expected lines of at most {LONGEST_LINE:,} characters, got line {number} of {name}, a longer one; "
                "try --whole"
            )
    if begun:
        yield np.concatenate(begun)


class Scorer:
    """Scores units with one model.

    Args:
        checkpoint: the checkpoint of the model.
        context: the text before each unit, in the form of the units.
        unknown: what is done with characters that the model does not know.
        look: called often; may raise an error to end the reading.
        whose: for messages, whose model it is.

    Attributes:
        left_out: how many characters `known` has left out so far.
    """

    def __init__(
        self, checkpoint: Checkpoint, context: str, unknown: str, look: Callable[[], None], whose: str = ""
    ) -> None:
        import numpy as np

        from charrnn.model.reader import Reader

        self._look = look
        self.vocabulary, self.unknown, self.whose, self.left_out = checkpoint.vocabulary, unknown, whose, 0
        codes = self.vocabulary.codes_of(context)
        before: NDArray[np.integer] = self.vocabulary.encode(codes, f"--context{whose}", unknown)
        beginning = self.vocabulary.beginning if checkpoint.model.stateless else before[:0]
        self.context = np.concatenate([beginning, before])
        self.network = checkpoint.network()
        self._readers: dict[int, Reader] = {}

    def nats(self, units: list[Unit]) -> list[NDArray[np.floating]]:
        """The surprisal of each predicted character of each unit, in nats."""
        import numpy as np

        texts = []
        for unit in units:
            where = f"line {unit.line} of {unit.file}" if unit.line else unit.file
            symbols = self.vocabulary.encode(unit.codes, f"{where}{self.whose}", self.unknown)
            texts.append(np.concatenate([self.context, symbols]).astype(np.int32))
        found: list[NDArray[np.floating]] = [np.zeros(0)] * len(units)
        foretold = [k for k, text in enumerate(texts) if len(text) > 1]
        for group in self._reader(len(foretold)).read(texts[k] for k in foretold):
            for read in group:
                found[foretold[read.number]] = read.nats[max(0, len(self.context) - 1) :]
        return found

    def known(self, unit: Unit) -> Unit:
        """The unit without the characters that the model does not know, if these are left out."""
        if self.unknown != "skip":
            return unit
        codes = unit.codes[self.vocabulary.numbers[unit.codes] >= 0]
        self.left_out += len(unit.codes) - len(codes)
        return replace(unit, codes=codes)

    def _reader(self, texts: int) -> Any:
        from charrnn.model.reader import STREAMS, Reader

        streams = min(STREAMS, max(1, texts))
        if streams not in self._readers:
            self._readers[streams] = Reader(self.network, streams, look=self._look)
        return self._readers[streams]


def _scores(scorer: Scorer, rival: Scorer | None, units: Iterator[Unit]) -> Iterator[Score]:
    """The scores in the order of the units; some thousands of units are read together.

    Two models are compared on the characters that both of them know.
    """
    from itertools import islice

    from charrnn.model.reader import SORTED, STREAMS

    known = map(scorer.known, units) if rival is None else map(rival.known, map(scorer.known, units))
    while group := list(islice(known, SORTED * STREAMS)):
        others = rival.nats(group) if rival is not None else [None] * len(group)
        for unit, nats, other in zip(group, scorer.nats(group), others, strict=True):
            bytewise = scorer.vocabulary.level == "byte"
            if other is None:
                yield Score(unit, nats, None, bytewise)
                continue
            both = min(len(nats), len(other))  # a stateless model predicts the first character too
            total = float(other[len(other) - both :].sum(dtype=float))
            yield Score(unit, nats[len(nats) - both :], total, bytewise)


def _show(found: Score, coloured: bool) -> None:
    """Print one line: the bits per character, with --compare the advantage, and the text."""
    figures = f"{found.bpc:7.3f}" if found.bpc is not None else "      -"
    if found.advantage is not None:
        figures += f"  {found.advantage:+9.2f}"
    what = found.text if found.unit.line else f"{found.unit.file}, {len(found.nats):,} characters"
    if not coloured:
        show(f"{figures}  {what}")
        return
    from charrnn.cli.terminal import readable

    shown = []
    for character, nats in found.pieces():
        bits = 0.0 if nats is None else nats / math.log(2)
        shade = next(colour for most, colour in SHADES if bits < most)
        shown.append(f"{shade}{readable(character)}{PLAIN}" if shade else readable(character))
    print(f"{figures}  {''.join(shown)}")


def _write_page(path: Path, scores: Iterator[Score]) -> None:
    """Write the page of --html."""
    from charrnn.cli.page import page

    with _file_of_page(path) as file:
        for part in page(scores):
            file.write(part.encode("utf-8", "replace"))
    if path != STANDARD_STREAM:
        say(f"wrote {path}")


@contextmanager
def _file_of_page(path: Path) -> Iterator[IO[bytes]]:
    """Standard output for `-`; a pipe or a device as it is; else a file that replaces an older page at the end."""
    from charrnn.files import replacing, without_links

    if path == STANDARD_STREAM:
        yield sys.stdout.buffer
    elif path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:
            yield file
    else:
        with replacing(without_links(path)) as file:
            yield file


def _refuse_other_content(path: Path) -> None:
    """Raise ConfigError if something stands at the place of the page that is no page, such as a text or a folder."""
    from charrnn.cli.page import HEAD

    beginning = HEAD[: HEAD.index("<style>")].encode()
    if path.is_dir():
        raise ConfigError(f"expected a file for --html, got {path}, a folder; try {path / 'page.html'}")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(beginning)) not in (b"", beginning):
                raise ConfigError(f"expected a new file or an older page for --html, got {path}; try another name")
