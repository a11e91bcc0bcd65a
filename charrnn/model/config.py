"""What a model is: the numbers and names that fix every shape."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError

CELLS = ("rnn", "lstm", "gru")
NONLINEARITIES = ("tanh", "relu")
RESETS = ("after", "before")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a network.

    Args:
        symbols: V, size of the vocabulary.
        cell: one of CELLS.
        layers: L, depth of the stack.
        hidden: H, units of each layer.
        embed: width of a learned embedding, or 0 for one-hot input.
        nonlinearity: of the plain RNN, one of NONLINEARITIES.
        reset: of the GRU, whether the reset gate applies "after" the recurrent product or "before" it.
    """

    symbols: int
    cell: str = "lstm"
    layers: int = 2
    hidden: int = 256
    embed: int = 0
    nonlinearity: str = "tanh"
    reset: str = "after"

    def __post_init__(self) -> None:
        limits = {"symbols": (1, 1_114_112), "layers": (1, 1000), "hidden": (1, 65_536), "embed": (0, 65_536)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if isinstance(value, int) and value > most:
                raise ConfigError(f"expected --{name} of at most {most}, got {value}; try --{name} {min(most, 512)}")
            if not isinstance(value, int) or value < least:
                raise ConfigError(f"expected --{name} of at least {least}, got {value!r}; try --{name} {least or 64}")
        for name, names in (("cell", CELLS), ("nonlinearity", NONLINEARITIES), ("reset", RESETS)):
            value = getattr(self, name)
            if value not in names:
                raise ConfigError(f"expected --{name} to be one of {', '.join(names)}, got {value!r}; try {names[0]}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)
