"""`charrnn sample`: text from a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn import runtime
from charrnn.cli.options import (
    CheckpointOrRun,
    OwnCell,
    Precision,
    Seed,
    Threads,
    Unknown,
    cell_of_model,
    check_seed,
    explicit,
    precision_here,
    refuse_alone,
    say,
    start_engine,
    trained_model,
    unknown_policy,
)
from charrnn.cli.prompts import formed, prompts_of, read_bytes, unescaped
from charrnn.cli.shown import Shown
from charrnn.cli.terminal import interruptible
from charrnn.errors import ConfigError, DataError
from charrnn.settings import flag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.model.config import ModelConfig
    from charrnn.model.network import Network
    from charrnn.sampling.constraints import Constraint
    from charrnn.sampling.rule import Rule
    from charrnn.sampling.sampler import Sampler
    from charrnn.sampling.texts import Ending, Text
    from charrnn.training.checkpoint import Checkpoint

USUAL_LENGTH, USUAL_LINES, USUAL_BATCH = 1000, 20, 64
LONGEST_WINDOW = 1_000_000
USUAL_LINE, LONGEST_LINE = 100, 1000  # with --lines alone, a text has at most this many characters for each line


def sample(
    context: typer.Context,
    source: CheckpointOrRun,
    length: Annotated[
        int | None,
        typer.Option(
            "--length", "-n", help="Characters to sample, not counting the prompt.", show_default=str(USUAL_LENGTH)
        ),
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option(help="Whole lines to sample.", show_default=f"{USUAL_LINES} with a model of independent lines"),
    ] = None,
    stop: Annotated[
        list[str], typer.Option(metavar="TEXT", help="End before this text; may be given several times.")
    ] = [],  # noqa: B006
    keep_stop: Annotated[bool, typer.Option("--keep-stop", help="End after it instead.")] = False,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="Text to begin with; it is printed too.")] = "",
    prompt_file: Annotated[
        Path | None, typer.Option(metavar="FILE|-", help="The same from a file or standard input.", show_default=False)
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE|-", help="Many prompts, one to a line.", show_default=False)
    ] = None,
    escapes: Annotated[
        bool, typer.Option("--escapes", help=r"\n, \t, \\ and \u0061 in --prompt, --stop and --separator.")
    ] = False,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", help="Below 1 safer, above 1 wilder, 0 always the most likely.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only this many of the most likely characters.", show_default="all")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Only the most likely characters, which together have this probability.")
    ] = 1.0,
    min_p: Annotated[
        float, typer.Option(help="Only characters at least this share as likely as the most likely one.")
    ] = 0.0,
    typical: Annotated[
        float, typer.Option(help="Only the most typical characters that have this probability together.")
    ] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1, recent characters become less likely.")] = 1.0,
    repetition_window: Annotated[int, typer.Option(help="How many characters are recent.")] = 64,
    ban: Annotated[
        str | None, typer.Option(metavar="CHARS", help="Characters that never come.", show_default=False)
    ] = None,
    allow: Annotated[
        str | None, typer.Option(metavar="CHARS", help="The only characters that may come.", show_default=False)
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its characters form only words of this list.", show_default=False),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Only text that matches this regular expression.", show_default=False),
    ] = None,
    seed: Seed = 0,
    count: Annotated[int, typer.Option(help="How many texts, after each prompt.")] = 1,
    best_of: Annotated[
        int, typer.Option(help="Texts that are drawn for each one shown: the most likely one is shown.")
    ] = 1,
    beam: Annotated[
        int,
        typer.Option(help="Beginnings that a search for the most likely text keeps at a time.", show_default="none"),
    ] = 0,
    batch: Annotated[int, typer.Option(help="Texts that are drawn side by side.")] = USUAL_BATCH,
    separator: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Between texts, instead of headings.", show_default=False)
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Prompts from the terminal, with the state kept; /help shows more.")
    ] = False,
    unknown: Unknown = "error",
    raw: Annotated[bool, typer.Option("--raw", help="Write control characters to a terminal as they are.")] = False,
    threads: Threads = None,
    precision: Precision = "float32",
    cell: OwnCell = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each text, in a line.")] = False,
) -> None:
    """Sample text from a checkpoint, to standard output as it is generated.

    Rules apply in this order: repetition penalty, forbidden characters, temperature, top-k, top-p, min-p, typical.
    """
    if repetition_window > LONGEST_WINDOW:
        raise ConfigError(
            f"expected --repetition-window of at most {LONGEST_WINDOW:,}, got {repetition_window:,}; try 1000"
        )
    _at_least_one(count=count, best_of=best_of, batch=batch, repetition_window=repetition_window)
    _at_least_one(beam=beam or 1)
    check_seed(seed)
    _refuse_combinations(context)
    unknown_policy(unknown)
    start_engine(threads)
    rule = _rule(temperature, top_k, top_p, min_p, typical, repetition_penalty)
    cell_of_model(cell)
    from charrnn.sampling.beam import Beam
    from charrnn.sampling.sampler import Sampler
    from charrnn.sampling.texts import draw_texts, likeliest_of, wanted_texts

    unescape = unescaped if escapes else str
    checkpoint = trained_model(source)
    ending = _ending(checkpoint, length, lines, [unescape(text) for text in stop], keep_stop)
    precision = precision_here(precision, "int8")
    if interactive:
        network = checkpoint.network(precision=precision)
        constraint = _constraint(checkpoint, ban, allow, words, pattern, unknown)
        sampler = Sampler(network, 1, rule, seed, repetition_window, constraint)
        _converse(checkpoint, network, sampler, ending, unknown, raw)
        return
    given = prompts_of(checkpoint, unescape(prompt), prompt_file, prompts, unknown)
    texts = len(given) * count
    streams = beam or min(batch, texts * best_of)
    kept = as_json or streams > 1
    window = repetition_window if rule.repetition_penalty != 1.0 else 0
    _refuse_too_large(checkpoint.model, streams, _usual_length(length, ending) if kept else 0, precision, window)
    network = checkpoint.network(precision=precision)
    wants_log_probs = as_json or best_of > 1
    constraint = _constraint(checkpoint, ban, allow, words, pattern, unknown)
    shown = Shown(checkpoint, texts, None if separator is None else unescape(separator), raw, as_json, seed)
    live = texts == 1 and best_of == 1 and not beam and not as_json
    with shown, interruptible() as look:
        wanted = wanted_texts(network, given, count * best_of, streams, look)

        def going_on(text: Text) -> None:
            look()
            if live:
                shown.piece(text)

        found: Iterator[Text]
        if beam:
            beams = Beam(network, beam, ending, constraint)
            found = (beams.search(one, look) for one in wanted)
        else:
            sampler = Sampler(network, streams, rule, seed, repetition_window, constraint, wants_log_probs)
            found = draw_texts(sampler, wanted, ending, going_on)
        for text in likeliest_of(found, best_of) if best_of > 1 else found:
            shown.text(text)


def _refuse_combinations(context: typer.Context) -> None:
    """Raise ConfigError for options that cannot be given together, and for some that have no effect alone."""
    _refuse_together(context, "prompt", "prompt_file", "prompts")
    _refuse_together(context, "ban", "allow")
    _refuse_together(context, "words", "pattern")
    for name in ("separator", "raw"):
        _refuse_together(context, "as_json", name)
    for name in ("prompt", "prompt_file", "prompts", "count", "best_of", "beam", "batch", "separator", "as_json"):
        _refuse_together(context, "interactive", name)
    for name in ("temperature", "top_k", "top_p", "min_p", "typical", "repetition_penalty"):
        _refuse_together(context, "beam", name)
    for name in ("count", "best_of", "batch", "seed"):
        _refuse_together(context, "beam", name)
    refuse_alone(context, "keep_stop", "stop")
    refuse_alone(context, "repetition_window", "repetition_penalty")


def _converse(
    checkpoint: Checkpoint, network: Network, sampler: Sampler, ending: Ending, unknown: str, raw: bool
) -> None:
    """Read prompts and continue each of them; exit status 1 if one in a pipe was refused."""
    from charrnn.cli.interactive import Session
    from charrnn.sampling.conversation import Conversation

    conversation = Conversation(network, sampler, checkpoint.vocabulary.beginning)
    if not Session(checkpoint, conversation, ending, unknown, raw).run():
        raise typer.Exit(1)


def draw_one(checkpoint: Checkpoint, rule: Rule, length: int, seed: int) -> NDArray[np.integer]:
    """The symbols of one text without a prompt."""
    from charrnn.sampling.sampler import Sampler
    from charrnn.sampling.texts import Ending, draw_texts, wanted_texts

    network, beginning = checkpoint.network(), checkpoint.vocabulary.beginning
    wanted = wanted_texts(network, [(beginning[:0], beginning)], 1, 1)
    with interruptible() as look:
        (text,) = draw_texts(Sampler(network, 1, rule, seed), wanted, Ending(length), lambda _: look())
    return text.drawn


def _rule(
    temperature: float, top_k: int, top_p: float, min_p: float, typical: float, repetition_penalty: float
) -> Rule:
    """The rule of the command line.

    Raises:
        ConfigError: a number is out of its range.
    """
    from charrnn.sampling.rule import Rule

    ranges = {  # name: number, whether it is in its range, the range in words, a number to try
        "temperature": (temperature, 0 <= temperature <= 100, "from 0 to 100", 0.8),
        "top_k": (top_k, 0 <= top_k < 2**31, f"from 0 to {2**31 - 1:,}", 10),
        "top_p": (top_p, 0 < top_p <= 1, "above 0 and up to 1", 0.9),
        "min_p": (min_p, 0 <= min_p <= 1, "from 0 to 1", 0.05),
        "typical": (typical, 0 < typical <= 1, "above 0 and up to 1", 0.9),
        "repetition_penalty": (repetition_penalty, 0 < repetition_penalty <= 100, "above 0 and up to 100", 1.2),
    }
    for name, (number, fits, words, good) in ranges.items():
        if not fits:
            raise ConfigError(f"expected {flag(name)} {words}, got {number}; try {flag(name)} {good}")
    numbers = (float(number) for number in (top_p, min_p, typical, repetition_penalty))
    return Rule(float(temperature), int(top_k), *numbers)


def _limit(number: int, most: int) -> str:
    """The limit that a number exceeds, which should lie between 1 and `most`."""
    return "of at least 1" if number < 1 else f"of at most {most:,}"


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if not 1 <= number < 2**31:
            raise ConfigError(f"expected {flag(name)} {_limit(number, 2**31 - 1)}, got {number}; try leaving it out")


def _refuse_together(context: typer.Context, *names: str) -> None:
    """Raise ConfigError when more than one of these options was given."""
    given = [flag(name.removeprefix("as_")) for name in explicit(context, list(names))]
    if len(given) > 1:
        raise ConfigError(f"expected one of {' and '.join(given)}, got both; try one of them")


def _ending(checkpoint: Checkpoint, length: int | None, lines: int | None, stops: list[str], keep_stop: bool) -> Ending:
    """Where texts end.

    Raises:
        ConfigError: a number is out of its range, or a stop is empty or has characters that the model does not know.
    """
    from charrnn.sampling.texts import Ending

    vocabulary = checkpoint.vocabulary
    if lines is None and length is None and not stops and checkpoint.model.stateless:
        lines = USUAL_LINES
    for name, number in (("length", length), ("lines", lines)):
        if number is not None and not 1 <= number < 2**40:
            raise ConfigError(f"expected --{name} {_limit(number, 2**40 - 1)}, got {number}; try --{name} 10")
    if lines and vocabulary.line_break < 0:
        raise ConfigError("expected a model that knows the line break for --lines, got one without; try --length")
    if not all(stops):
        raise ConfigError('expected --stop TEXT of one character or more, got none; try --stop "."')
    if length is None:
        length = lines * LONGEST_LINE if lines else USUAL_LENGTH
    encoded = []
    for text in stops:
        codes = vocabulary.codes_of(formed(checkpoint, text, "--stop"))
        encoded.append(vocabulary.encode(codes, "--stop", "skip"))
        if len(encoded[-1]) != len(codes):
            raise ConfigError(f"expected --stop of characters that the model knows, got {text!r}; try another --stop")
    return Ending(length, tuple(encoded), keep_stop, lines or 0, vocabulary.line_break)


def _constraint(
    checkpoint: Checkpoint, ban: str | None, allow: str | None, words: Path | None, pattern: str | None, unknown: str
) -> Constraint:
    """What --ban, --allow, --words and --pattern leave.

    Raises:
        ConfigError: no character is allowed, or there are too many words.
        DataError: characters are not known to the model.
    """
    from charrnn.sampling.constraints import FREE, forbidding, only_words
    from charrnn.sampling.pattern import matching

    banned = _banned(checkpoint, ban, allow)
    if pattern is not None:
        return matching(pattern, [chr(code) for code in checkpoint.vocabulary.codes], banned)
    if words is None:
        return forbidding(banned) if banned.any() else FREE
    found = _words_in(words, checkpoint, unknown)
    if all(banned[word].any() for word in found):
        raise ConfigError(f"expected words in {words} without banned characters, got none; try another file")
    try:
        return only_words(found, banned)
    except ValueError as error:
        raise ConfigError(f"expected a shorter list of --words, got {words} with {error}; try fewer") from None


def _banned(checkpoint: Checkpoint, ban: str | None, allow: str | None) -> NDArray[np.bool_]:
    """(V,) the symbols that --ban or --allow forbids. Raises ConfigError when no symbol would be left."""
    import numpy as np

    banned = np.zeros(len(checkpoint.vocabulary), np.bool_)
    for name, text in (("--ban", ban), ("--allow", allow)):
        if text is None:
            continue
        chosen = np.zeros(len(banned), np.bool_)
        codes = checkpoint.vocabulary.codes_of(formed(checkpoint, text, name))
        chosen[checkpoint.vocabulary.encode(codes, name, "skip")] = True  # others never come anyway
        banned = chosen if name == "--ban" else ~chosen
        if banned.all():
            what = "all" if name == "--ban" else "none"
            raise ConfigError(f"expected {name} to leave some character, got {what} that the model knows; try others")
    return banned


def _words_in(path: Path, checkpoint: Checkpoint, unknown: str) -> list[list[int]]:
    """The words of a file, one to a line, as symbols.

    With `unknown` "skip", words that the model cannot write are left out.
    """
    vocabulary, found, left_out = checkpoint.vocabulary, [], 0
    for number, line in enumerate(read_bytes(path, vocabulary.level).splitlines(), start=1):
        if word := line.strip():
            place = f"line {number} of {path}"
            codes = vocabulary.codes_of(formed(checkpoint, word, place))
            symbols = vocabulary.encode(codes, place, "skip" if unknown == "skip" else "error")
            left_out += len(symbols) < len(codes)
            found += [symbols.tolist()] if len(symbols) == len(codes) else []
    if left_out:
        say(f"left out {left_out:,} words with characters that the model does not know")
    if not found:
        raise DataError(f"expected words in {path}, one to a line, that the model knows, got none; try another file")
    return found


def _usual_length(length: int | None, ending: Ending) -> int:
    """How long a text will be if its lines are of the usual length."""
    return ending.length if length is not None or not ending.lines else ending.lines * USUAL_LINE


def _refuse_too_large(model: ModelConfig, streams: int, length: int, precision: str, window: int) -> None:
    """Raise ConfigError when the texts, of which `length` characters are kept, need more memory than is free.

    `window` is the length of a repetition penalty's window, 0 without a penalty.
    """
    from charrnn.model.size import memory_needed
    from charrnn.sampling.draws import memory_of_draws
    from charrnn.sampling.sampler import PIECE

    needed = 100 * streams * length  # bytes: a list of integers, and its array
    needed += memory_needed(model, streams, PIECE, 2, rounded=precision == "bfloat16")
    needed += memory_of_draws(streams, model.symbols, window)
    there = runtime.available_memory()
    if there is not None and needed > there:
        raise ConfigError(
            f"expected texts that fit into {there / 2**30:.1f} GB of free memory, got some of about "
            f"{needed / 2**30:.1f} GB; "
            "try a smaller --batch, --beam or --repetition-window, or --count 1 without --json"
        )
