"""What `charrnn score` says of a line or of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.text.vocabulary import Codes


@dataclass(frozen=True)
class Unit:
    """What gets a score: one line of a file, with its number from 1 on; or the whole file, with line 0."""

    file: str
    line: int
    codes: Codes


@dataclass(frozen=True)
class Score:
    """The score of a unit.

    Args:
        unit: what was scored.
        text: the text as the model read it.
        nats: (chars,) the surprisal of each predicted character; without context, the first one is not predicted.
        other: the sum of nats that the other model of --compare needs; None without such a model.
    """

    unit: Unit
    text: str
    nats: NDArray[np.floating]
    other: float | None = None

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
