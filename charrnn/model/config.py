"""What a model is: the numbers and names that fix every shape."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError

CELLS = ("rnn", "lstm", "gru", "mlstm", "ugrnn", "minlstm", "mingru")
NONLINEARITIES = ("tanh", "relu", "sigmoid")
RESETS = ("after", "before")
IDENTITY = "identity"  # a way to begin the recurrent weights
USUAL_FORGET_BIAS = "0.5"
OWN = "own:"  # before the name of a cell that is declared in a file of one's own
ONLY_OF = {  # settings that do nothing but with some cells
    **dict.fromkeys(("peepholes", "coupled", "output_gate"), ("lstm",)),
    **{"nonlinearity": ("rnn",), "reset": ("gru",), "zoneout_cell": ("lstm", "mlstm")},
}
CHRONO = "chrono"  # the way to begin forget gates' biases that is not a number


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a network.

    Args:
        symbols: V, size of the vocabulary.
        cell: one of CELLS, or OWN and the name of a cell of one's own, see own.py.
        cell_source, cell_declaration: of a cell of one's own.
        layers: L, depth of the stack.
        hidden: H, units of each layer.
        embed: width of a learned embedding, or 0 for one-hot input.
        nonlinearity: of the plain RNN, one of NONLINEARITIES.
        peepholes, coupled, output_gate: of the LSTM, see cells.py.
        reset: of the GRU, whether the reset gate applies "after" the recurrent product or "before" it.
        layer_norm: normalise the gates' pre-activations over each layer.
        residual: each layer above the first adds its output to that of the one below.
        input_skips: each layer above the first sees the character too.
        output_skips: the softmax sees all layers, not the top one alone (both Graves 2013, "Generating Sequences").
        tied: the output's weights are the embedding, which then has width H (Press & Wolf 2017).
        zoneout, zoneout_cell: share of h, and of the LSTM's c, that keeps its previous value at each step.
        stateless: lines are independent, the state is set to zeros where one begins.
    """

    symbols: int
    cell: str = "lstm"
    layers: int = 2
    hidden: int = 256
    embed: int = 0
    nonlinearity: str = "tanh"
    peepholes: bool = False
    coupled: bool = False
    output_gate: bool = True
    reset: str = "after"
    layer_norm: bool = False
    residual: bool = False
    input_skips: bool = False
    output_skips: bool = False
    tied: bool = False
    zoneout: float = 0.0
    zoneout_cell: float = 0.0
    stateless: bool = False
    cell_source: str = ""
    cell_declaration: str = ""

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
            if value not in names and not (name == "cell" and str(value).startswith(OWN)):
                raise ConfigError(f"expected --{name} to be one of {', '.join(names)}, got {value!r}; try {names[0]}")
        for name in ("zoneout", "zoneout_cell"):
            if not 0 <= getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise ConfigError(
                    f"expected --{flag} from 0 up to below 1, got {getattr(self, name)}; try --{flag} 0.1"
                )
        if self.zoneout_cell and not self.cell.startswith(OWN) and self.cell not in ONLY_OF["zoneout_cell"]:
            raise ConfigError(
                f"expected --zoneout-cell with a cell that has a cell state, got {self.cell}; try --zoneout"
            )
        for name in ("input_skips", "output_skips"):
            if getattr(self, name) and self.layers == 1:
                flag = name.replace("_", "-")
                raise ConfigError(f"expected --{flag} with several layers, got --layers 1; try it without --{flag}")
        if self.tied and self.embed != self.hidden:
            if self.embed:
                raise ConfigError(
                    f"expected --embed as wide as --hidden {self.hidden} with --tied, got {self.embed}; "
                    f"try --embed {self.hidden}"
                )
            object.__setattr__(self, "embed", self.hidden)

    @property
    def has_zoneout(self) -> bool:
        """Whether units keep their previous state by chance."""
        return bool(self.zoneout or self.zoneout_cell)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)
