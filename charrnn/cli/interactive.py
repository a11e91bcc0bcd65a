"""`charrnn sample --interactive`: it reads prompts from the terminal, and the model continues each of them."""

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
HELP = """\
Type the beginning of a text and Enter; the model goes on. An empty line lets it go on further.
/temperature X   below 1 safer, above 1 wilder
/length N        characters of a continuation, at most
/seed N          of the random numbers, from the first ones on
/reset           begin a new text
/quit            end; so does Ctrl-D. Ctrl-C ends a continuation
//...            a prompt that begins with /"""


class Session:
    """Reads lines, and answers them.

    Args:
        checkpoint: the checkpoint of the model.
        conversation: the conversation with the model.
        ending: where a continuation ends.
        unknown: what is done with characters that the model does not know.
        raw: whether a terminal gets control characters as they are.
    """

    def __init__(
        self, checkpoint: Checkpoint, conversation: Conversation, ending: Ending, unknown: str, raw: bool
    ) -> None:
        self.checkpoint, self.conversation, self.ending, self.unknown = checkpoint, conversation, ending, unknown
        self.writer = Writer(raw)

    def run(self) -> bool:
        """Answer lines until the input ends, or until the line is /quit.

        Returns:
            False if the input is not a terminal and one of its lines was refused, else True.
        """
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        refused, on_terminal = False, sys.stdin.isatty()
        if on_terminal:
            with suppress(ImportError):
                import readline  # noqa: F401  (from then on, `input` has editing and a history)
            say("type the beginning of a text; /help shows more, Ctrl-D ends")
        while (line := self._next_line()) is not None and line.split(" ")[0] != "/quit":
            try:
                self._answer(line)
            except (CharRNNError, ValueError) as error:
                say(f"charrnn: {error}")
                refused = True
        return on_terminal or not refused

    def _next_line(self) -> str | None:
        """The next line without its line break; None at the end of the input."""
        if not sys.stdin.isatty():
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        while True:
            try:
                if sys.stdout.isatty():
                    return input(SIGN)
                print(SIGN, end="", file=sys.stderr, flush=True)
                return input()
            except EOFError:
                say("")
                return None
            except InterruptError as error:
                if error.signal != SIGINT:
                    raise
                say("")
                say("Ctrl-D or /quit ends")

    def _answer(self, line: str) -> None:
        if not line.startswith("/") or line.startswith("//"):
            self._continue(line.removeprefix("/"))
            return
        name, *values = line.split()
        if name == "/reset":
            self.conversation.reset()
        elif name == "/help":
            for row in HELP.splitlines():
                say(row)
        elif name in ("/temperature", "/length", "/seed"):
            self._change(name, " ".join(values))
        else:
            raise ConfigError(f"expected /temperature, /length, /seed, /reset, /help or /quit, got {name}; try /help")

    def _change(self, name: str, value: str) -> None:
        sampler = self.conversation.sampler
        kind, most = (float, 100) if name == "/temperature" else (int, 2**40 - 1 if name == "/length" else 2**63 - 1)
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
            self.conversation.set_seed(int(number))

    def _continue(self, line: str) -> None:
        vocabulary, place = self.checkpoint.vocabulary, "the prompt"
        codes = vocabulary.codes_of(formed(self.checkpoint, line, place))
        symbols = vocabulary.encode(codes, place, self.unknown)
        say_skipped(len(codes) - len(symbols), place)
        stopped = ""
        try:
            with interruptible() as look:

                def show(piece: NDArray[np.integer]) -> None:
                    self.writer.write(vocabulary.decode(piece))
                    look()

                stopped = self.conversation.turn(symbols, self.ending, show).stopped
        except InterruptError as error:
            if error.signal != SIGINT:
                raise
        self.writer.finish()
        if stopped == "constraint":
            say("the constraint left no character; /reset begins a new text")
