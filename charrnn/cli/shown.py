"""Sampled texts on standard output: as they are, below headings or with separators, or as JSON."""

from __future__ import annotations

import json
import math
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from charrnn.cli.options import say
from charrnn.cli.terminal import Writer

if TYPE_CHECKING:
    from charrnn.sampling.texts import Text
    from charrnn.training.checkpoint import Checkpoint


class Shown:
    """Writes texts to standard output: as they are, below headings or with separators, or as JSON.

    Args:
        checkpoint: the checkpoint of the model.
        count: how many texts there will be.
        separator: what is written between texts; None for headings.
        raw: whether a terminal gets control characters as they are.
        as_json: whether each text is written as one JSON object in a line.
        seed: shown with JSON.
    """

    def __init__(
        self, checkpoint: Checkpoint, count: int, separator: str | None, raw: bool, as_json: bool, seed: int
    ) -> None:
        from charrnn.cli.bar import Bar

        self.vocabulary, self.count, self.as_json, self.seed = checkpoint.vocabulary, count, as_json, seed
        self.separator = None if separator is None else separator.encode("utf-8", "surrogateescape")
        self.writer = Writer(raw)
        self.early: dict[int, Text] = {}  # texts that ended before a text of a lower number
        self.begun, self.done, self.left_nothing = False, 0, 0
        many = count > 1 and sys.stderr.isatty() and not sys.stdout.isatty()
        self.bar = Bar() if many else None

    def piece(self, text: Text) -> None:
        """Show the next piece, when there is only one text."""
        if not self.begun:
            self.writer.write(self.vocabulary.decode(text.prompt))
            self.begun = True
        self.writer.write(self.vocabulary.decode(text.hand_over()))

    def text(self, text: Text) -> None:
        """Show a text that has ended; texts that are not JSON are shown in the order of their numbers."""
        self.done += 1
        self.left_nothing += text.stopped == "constraint"
        if self.bar is not None:
            self.bar.show(self.done / self.count, {f"{self.done:,} of {self.count:,} texts": 0})
        if self.as_json:
            self._json(text)
        elif self.begun:
            self.writer.write(self.vocabulary.decode(text.hand_over()))
            self.writer.finish()
        else:
            self.early[text.index] = text
            while (ready := self.early.pop(self.writer.texts, None)) is not None:
                self._plain(ready)

    def _plain(self, text: Text) -> None:
        if self.separator is None:
            if self.count > 1:
                self.writer.write(f"--- {text.index + 1} of {self.count} ---\n".encode())
        elif text.index:
            self.writer.separate(self.separator)
        self.writer.write(self.vocabulary.decode(text.prompt))
        self.writer.write(self.vocabulary.decode(text.drawn))
        self.writer.finish(line_break=self.separator is None or text.index + 1 == self.count)

    def _json(self, text: Text) -> None:
        import numpy as np

        drawn = text.drawn
        whole = self.vocabulary.decode(np.concatenate([text.prompt, drawn]))
        values = {
            "text": whole.decode("utf-8", "surrogateescape"),
            "log_probability": text.nats,
            "bpc": -text.nats / math.log(2) / len(drawn) if len(drawn) else None,
            "stopped": text.stopped,
            "seed": self.seed,
            "index": text.index,
        }
        print(json.dumps(values), flush=True)

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the bar; at the end of all texts, say what they do not show."""
        if self.bar is not None:
            self.bar.close()
        if kind is None and self.left_nothing:
            say(f"{self.left_nothing:,} of {self.count:,} texts ended where the constraint left no character")
