"""The settings of a model and of its training as options of the commands, made from the configurations' fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from charrnn.cli.options import in_lower_case
from charrnn.model.config import ModelConfig
from charrnn.settings import Setting, flag, settings_in
from charrnn.training.config import TrainConfig

MODEL, TRAINING = tuple(settings_in(ModelConfig)), tuple(settings_in(TrainConfig))


def _cell_name(text: str) -> str:
    """The name of a cell in lower case; FILE.py:NAME stays as it is."""
    return text if ":" in text else text.lower()


def _option(name: str, kind: Any, what: Setting) -> Any:
    """The type annotation of a setting's parameter, which tells typer what it needs."""
    more: dict[str, Any] = {"help": what.help, "metavar": what.metavar}
    if what.names or name == "cell":
        more["callback"] = _cell_name if name == "cell" else in_lower_case
    if what.usual:
        more["show_default"] = what.usual
    if kind is bool:
        more["show_default"] = False
    return Annotated[kind, typer.Option(*(what.flags or (flag(name),)), **more)]


def setting_options(
    before: str, training: tuple[str, ...] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command settings as options; the command finds their values in `context.params`.

    Args:
        before: a parameter of the command; the settings are listed before it.
        training: the settings of training that the command has; it always has all settings of a model.
        defaults: the defaults that differ from those of the configurations.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        added = []
        for config, names in ((ModelConfig, MODEL), (TrainConfig, training)):
            known, kinds = settings_in(config), get_type_hints(config)
            for name in names:
                default, annotation = defaults.get(name, getattr(config, name)), _option(name, kinds[name], known[name])
                added.append(
                    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                )
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
