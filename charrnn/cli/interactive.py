"""`charrnn sample --interactive`: prompts from the terminal, and what the model continues them with."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from signal import SIGINT
from typing import TYPE_CHECKING

from charrnn.cli.options import say, say_skipped
from charrnn.cli.prompts import formed
from charrnn.cli.terminal import Writer, interruptible
from charrnn.errors import CharRNNError, ConfigError, InterruptError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.sampling.conversation import Conversation
    from charrnn.sampling.texts import Ending
    from charrnn.training.checkpoint import Checkpoint

SIGN = "> "
NOTHING = "/"  # a line that asks for nothing
HELP = """\
Type the beginning of a text and Enter; the model goes on. An empty line lets it go on further.
/temperature X   below 1 safer, above 1 wilder
/length N        characters of a continuation, at most
/seed N          of the random numbers
/reset           begin a new text
/quit            end; so does Ctrl-D. Ctrl-C ends a continuation
//...            a prompt that begins with /"""


class Session:
    """Reads lines, and answers them.

    Args:
        checkpoint: of the model.
        conversation: with it.
        ending: where a continuation ends.
        unknown: what is done with characters that the model does not know.
        raw: whether a terminal gets control characters as they are.
    """

    def __init__(
        self, checkpoint: Checkpoint, conversation: Conversation, ending: Ending, unknown: str, raw: bool
    ) -> None:
        self.checkpoint, self.conversation, self.ending, self.unknown = checkpoint, conversation, ending, unknown
        self.writer = Writer(raw)

    def run(self) -> None:
        """Until the input ends, or /quit."""
        if sys.stdin.isatty():
            with suppress(ImportError):
                import readline  # noqa: F401  (from then on, `input` has editing and a history)
            say("type the beginning of a text; /help shows more, Ctrl-D ends")
        while (line := self._next_line()) is not None and line != "/quit":
            try:
                self._answer(line)
            except (CharRNNError, ValueError) as error:
                say(f"charrnn: {error}")

    def _next_line(self) -> str | None:
        """The next line without its end; None when there is none."""
        if not sys.stdin.isatty():
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        try:
            return input(SIGN)
        except EOFError:
            say("")
            return None
        except InterruptError as error:
            if error.signal != SIGINT:
                raise
            say("")
            say("Ctrl-D or /quit ends")
            return NOTHING

    def _answer(self, line: str) -> None:
        name, _, value = line.partition(" ")
        if not line.startswith("/") or line.startswith("//"):
            self._continue(line.removeprefix("/"))
        elif name == "/reset":
            self.conversation.reset()
        elif name == "/help":
            for row in HELP.splitlines():
                say(row)
        elif name in ("/temperature", "/length", "/seed"):
            self._change(name, value)
        elif line != NOTHING:
            raise ConfigError(f"expected /temperature, /length, /seed, /reset, /help or /quit, got {name}; try /help")

    def _change(self, name: str, value: str) -> None:
        sampler = self.conversation.sampler
        kind, most = (float, 100) if name == "/temperature" else (int, 2**40 if name == "/length" else 2**63 - 1)
        least = 1 if name == "/length" else 0
        try:
            number = kind(value)
        except ValueError:
            number = -1
        if not least <= number <= most:
            raise ConfigError(f"expected {name} with a number from {least} to {most}, got {value!r}; try {name} 1")
        if name == "/temperature":
            sampler.rule = sampler.rule._replace(temperature=number)
        elif name == "/length":
            self.ending = replace(self.ending, length=int(number))
        else:
            sampler.set_seed(int(number))

    def _continue(self, line: str) -> None:
        vocabulary, place = self.checkpoint.vocabulary, "the prompt"
        codes = vocabulary.codes_of(formed(self.checkpoint, line, place))
        symbols = vocabulary.encode(codes, place, self.unknown)
        say_skipped(len(codes) - len(symbols), place)
        try:
            with interruptible() as look:

                def show(piece: NDArray[np.integer]) -> None:
                    self.writer.write(vocabulary.decode(piece))
                    look()

                self.conversation.turn(symbols, self.ending, show)
        except InterruptError as error:
            if error.signal != SIGINT:
                raise
        self.writer.finish()
