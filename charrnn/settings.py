"""Settings of a model and of its training: each is declared once, as a field of a configuration.

The command line, its help, the checks and the table in docs/reference.md are derived from the fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from charrnn.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may have.

    Args:
        text: the range in words. Messages put it after "expected --setting".
        holds: whether a number is in the range.
    """

    text: str
    holds: Callable[[float], bool]


AT_LEAST_ONE = Range("of at least 1", lambda value: value >= 1)
NOT_NEGATIVE = Range("of 0 or more", lambda value: 0 <= value < math.inf)
POSITIVE = Range("above 0", lambda value: 0 < value < math.inf)
SHARE = Range("from 0 up to below 1", lambda value: 0 <= value < 1)


def at_most(most: int) -> Range:
    """Numbers up to this one."""
    return Range(f"of at most {most}", lambda value: value <= most)


def below_power(bits: int) -> Range:
    """Numbers below 2^bits."""
    return Range(f"below 2^{bits}", lambda value: value < 2**bits)


@dataclass(frozen=True)
class Setting:
    """What is known about a setting in addition to its name, its type and its default.

    Args:
        help: what it is, for a user.
        ranges: the ranges of its numbers; empty if the configuration itself checks them.
        names: the texts that it may be; empty for any text.
        flags: its spelling on the command line, if this is not --name.
        metavar: what help shows as its value, if this is not the type.
        usual: what help shows as its default, if this is not the default value.
        only: another setting, and the values of that setting with which this one has an effect; None if it always has.
    """

    help: str
    ranges: tuple[Range, ...] = ()
    names: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    usual: str = ""
    only: tuple[str, tuple[str, ...]] | None = None


def setting(default: Any, help_: str, *ranges: Range, **more: Any) -> Any:
    """A field of a configuration that is a setting; see `Setting`."""
    return field(default=default, metadata={"setting": Setting(help_, ranges, **more)})


def settings_in(config: Any) -> dict[str, Setting]:
    """The settings of a configuration, by name."""
    return {f.name: f.metadata["setting"] for f in fields(config) if "setting" in f.metadata}


def check_settings(config: Any) -> None:
    """Raise ConfigError unless each setting has one of its names and lies in its ranges. None is in every range."""
    for name, what in settings_in(config).items():
        value = getattr(config, name)
        if what.names and value not in what.names:
            raise ConfigError(
                f"expected {flag(name)} to be one of {', '.join(what.names)}, got {value!r}; try {what.names[0]}"
            )
        for span in what.ranges if value is not None else ():
            if not span.holds(value):
                raise ConfigError(f"expected {flag(name)} {span.text}, got {value}; try leaving it out")


def flag(name: str) -> str:
    """How a setting is spelled on the command line."""
    return f"--{name.replace('_', '-')}"


def as_options(settings: dict[str, Any]) -> str:
    """Settings, written as options of the command line."""
    if "bptt" in settings:  # --bptt holds --seq-len
        settings = {name: value for name, value in settings.items() if name != "seq_len"}
    return " ".join(
        flag(name if value else f"no_{name}") if isinstance(value, bool) else f"{flag(name)} {value}"
        for name, value in settings.items()
    )
