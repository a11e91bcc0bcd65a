"""What `charrnn score` says of a line or of a file."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.text.vocabulary import Codes


@dataclass(frozen=True)
class Unit:
    """What gets a score: one line of a file, with its number from 1 on; or the whole file, with line 0.

    The codes are code points or bytes, without unknown ones that are left out.
    """

    file: str
    line: int
    codes: Codes


@dataclass(frozen=True)
class Score:
    """The score of a unit.

    Args:
        unit: what was scored.
        nats: (chars,) the surprisal of the unit's last `chars` codes, all that were predicted; without context, the
            first code is not predicted.
        other: the sum of nats that the other model of --compare needs; None without such a model.
        bytewise: whether the codes are bytes.
    """

    unit: Unit
    nats: NDArray[np.floating]
    other: float | None = None
    bytewise: bool = False

    @property
    def text(self) -> str:
        """The text as the model read it. A byte that is no UTF-8 becomes a lone surrogate, as in all JSON."""
        codes = self.unit.codes.tolist()
        return bytes(codes).decode("utf-8", "surrogateescape") if self.bytewise else "".join(map(chr, codes))

    def pieces(self) -> Iterator[tuple[str, float | None]]:
        """Each character, and its surprisal in nats, summed over its bytes; None if it was not predicted.

        Bytes that are no UTF-8 become U+FFFD.
        """
        codes = self.unit.codes.tolist()
        unpredicted: list[float | None] = [None] * (len(codes) - len(self.nats))
        surprisals = unpredicted + self.nats.tolist()
        if not self.bytewise:
            yield from zip(map(chr, codes), surprisals, strict=True)
            return
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        begun: list[float] = []
        for at, (code, nats) in enumerate(zip(codes, surprisals, strict=True), start=1):
            begun += [] if nats is None else [nats]
            if text := decoder.decode(bytes([code]), final=at == len(codes)):
                yield text, sum(begun) if begun else None
                begun = []

    @property
    def bpc(self) -> float | None:
        """Bits per predicted character; None if no character was predicted."""
        return float(self.nats.sum(dtype=float)) / math.log(2) / len(self.nats) if len(self.nats) else None

    @property
    def advantage(self) -> float | None:
        """How many more bits the other model needs for all characters."""
        return None if self.other is None else (self.other - float(self.nats.sum(dtype=float))) / math.log(2)

    def values(self, chars: bool) -> dict[str, Any]:
        """The score as JSON values."""
        nats = float(self.nats.sum(dtype=float))
        values = {"file": self.unit.file, "line": self.unit.line, "text": self.text, "chars": len(self.nats)}
        values |= {"nats": nats, "bpc": self.bpc}
        if self.other is not None:
            values |= {"other_nats": self.other, "advantage": self.advantage}
        if chars:
            values["surprisal"] = [round(float(bits), 4) for bits in self.nats / math.log(2)]
        return values
