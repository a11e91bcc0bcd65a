"""What a model is: the numbers and names that fix every shape."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError
from charrnn.settings import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, at_most, check_settings, flag, setting

CELLS = ("rnn", "lstm", "gru", "mlstm", "ugrnn", "minlstm", "mingru")
NONLINEARITIES = ("tanh", "relu", "sigmoid")
RESETS = ("after", "before")
IDENTITY = "identity"  # a way to initialise the recurrent weights
USUAL_FORGET_BIAS = "0.5"
OWN = "own:"  # stands before the name of a cell that the user declares in a file
TWO_STATES = ("lstm", "mlstm")
OF_LSTM = ("cell", ("lstm",))
MOST_SYMBOLS = 1_114_112  # all code points
CHRONO = "chrono"  # the way to initialise the forget gates' biases that is not a number


SIZE = (AT_LEAST_ONE, at_most(65_536))


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a network. Each setting has a help text. The following fields are not for the command line.

    Args:
        symbols: V, size of the vocabulary.
        cell_source, cell_declaration: for a cell that the user declares, see own.py. Its `cell` is OWN and its name.
    """

    symbols: int
    cell: str = setting("lstm", f"{', '.join(CELLS)}, or your own.", metavar="CELL|FILE.py:NAME")
    layers: int = setting(2, "Recurrent layers in the stack.", AT_LEAST_ONE, at_most(1000))
    hidden: int = setting(256, "Hidden units of each layer.", *SIZE)
    embed: int = setting(0, "Width of a learned embedding; 0 for one-hot input.", NOT_NEGATIVE, SIZE[1])
    nonlinearity: str = setting(
        "tanh",
        "Activation of the plain RNN: tanh, relu or sigmoid.",
        names=NONLINEARITIES,
        only=("cell", ("rnn",)),
    )
    peepholes: bool = setting(False, "Gates of the LSTM see the cell state.", only=OF_LSTM)
    coupled: bool = setting(False, "The LSTM's input gate is 1 - its forget gate.", only=OF_LSTM)
    output_gate: bool = setting(True, "The LSTM's output is tanh(c).", flags=(" /--no-output-gate",), only=OF_LSTM)
    reset: str = setting(
        "after",
        "Where the GRU's reset gate acts: after or before the product.",
        names=RESETS,
        only=("cell", ("gru",)),
    )
    layer_norm: bool = setting(False, "Normalise the gates of each layer.")
    residual: bool = setting(False, "Each layer above the first adds its input to its output.")
    input_skips: bool = setting(  # Graves (2013); output_skips too
        False, "Layers above the first also read the character.", flags=("--input-skips/--no-input-skips",)
    )
    output_skips: bool = setting(False, "The softmax sees all layers.", flags=("--output-skips/--no-output-skips",))
    tied: bool = setting(False, "The embedding, of width --hidden, is the output's weights too.")  # Press & Wolf (2017)
    zoneout: float = setting(0.0, "Share of hidden units that keep their previous value at each step.", SHARE)
    zoneout_cell: float = setting(
        0.0, "The same for the other states, such as an LSTM's c.", SHARE, only=("cell", TWO_STATES)
    )
    stateless: bool = setting(False, "Lines are independent: the state begins anew in each.")
    cell_source: str = ""
    cell_declaration: str = ""

    def __post_init__(self) -> None:
        if self.cell not in CELLS and not str(self.cell).startswith(OWN):
            raise ConfigError(f"expected --cell to be one of {', '.join(CELLS)}, got {self.cell!r}; try {CELLS[0]}")
        if not 1 <= self.symbols <= MOST_SYMBOLS:
            raise ConfigError(f"expected --symbols from 1 to {MOST_SYMBOLS}, got {self.symbols}; try --symbols 65")
        check_settings(self)
        if self.zoneout_cell and not self.cell.startswith(OWN) and self.cell not in TWO_STATES:
            raise ConfigError(
                f"expected --zoneout-cell with a cell that has a cell state, got {self.cell}; try --zoneout"
            )
        for name in ("input_skips", "output_skips"):
            if getattr(self, name) and self.layers == 1:
                option = flag(name)
                raise ConfigError(f"expected {option} with several layers, got --layers 1; try it without {option}")
        if self.tied and self.embed != self.hidden:
            if self.embed:
                raise ConfigError(
                    f"expected --embed as wide as --hidden {self.hidden} with --tied, got {self.embed}; "
                    f"try --embed {self.hidden}"
                )
            object.__setattr__(self, "embed", self.hidden)

    @property
    def has_zoneout(self) -> bool:
        """Whether units keep their previous state at random."""
        return bool(self.zoneout or self.zoneout_cell)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)
