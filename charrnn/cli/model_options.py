"""The settings of a model as options, stated once for all commands that make one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from charrnn.cli.options import in_lower_case
from charrnn.model.config import ModelConfig


def _cell_name(text: str) -> str:
    """A cell's name as it is known; FILE.py:NAME stays as it is."""
    return text if ":" in text else text.lower()


def _text(help_: str, **more: Any) -> Any:
    return Annotated[str, typer.Option(**({"callback": in_lower_case} | more), help=help_)]


def _flag(name: str, help_: str) -> Any:
    return Annotated[bool, typer.Option(name, help=help_)]


def _number(kind: type, help_: str) -> Any:
    return Annotated[kind, typer.Option(help=help_)]


CELL_HELP = "rnn, lstm, gru, mlstm, ugrnn, minlstm, mingru, or your own."
OPTIONS: dict[str, Any] = {  # of the fields of ModelConfig that are options
    "cell": _text(CELL_HELP, callback=_cell_name, metavar="CELL|FILE.py:NAME"),
    "layers": _number(int, "Recurrent layers in the stack."),
    "hidden": _number(int, "Hidden units of each layer."),
    "embed": _number(int, "Width of a learned embedding; 0 for one-hot input."),
    "nonlinearity": _text("Of the plain RNN: tanh, relu or sigmoid."),
    "peepholes": _flag("--peepholes", "Gates of the LSTM see the cell state."),
    "coupled": _flag("--coupled", "The LSTM's input gate is 1 - its forget gate."),
    "output_gate": Annotated[
        bool, typer.Option(" /--no-output-gate", help="The LSTM gives tanh(c).", show_default=False)
    ],
    "reset": _text("Of the GRU: reset gate after or before the recurrent product."),
    "layer_norm": _flag("--layer-norm", "Normalise the gates of each layer."),
    "residual": _flag("--residual", "Each upper layer adds to what the one below gives."),
    "input_skips": _flag("--input-skips", "Upper layers see the character too."),
    "output_skips": _flag("--output-skips", "The softmax sees all layers."),
    "tied": _flag("--tied", "The embedding, of width --hidden, is the output's weights too."),
    "zoneout": _number(float, "Share of hidden units that keep their previous value at each step."),
    "zoneout_cell": _number(float, "The same for the second state, such as an LSTM's c."),
    "stateless": _flag("--stateless", "Lines are independent: the state begins anew in each."),
}


def model_options(before: str, **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the settings of a model as options; it finds their values in `context.params`.

    Args:
        before: the parameter of the command before which they are listed.
        defaults: those that are not ModelConfig's.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, getattr(ModelConfig, name)),
                annotation=annotation,
            )
            for name, annotation in OPTIONS.items()
        ]
        place = list(own.parameters).index(before)
        given = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.parameters.values()]

        @wraps(command)
        def with_options(**values: Any) -> None:
            command(**{name: value for name, value in values.items() if name in own.parameters})

        signature = own.replace(parameters=[*given[:place], *added, *given[place:]])
        with_options.__signature__ = signature  # type: ignore[attr-defined]
        with_options.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return with_options

    return decorate
