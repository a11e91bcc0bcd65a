"""JSON from files. Its size, its depth and its form are checked before it is used.

A form says what a value must be:

    str, bool               this type
    Number(low, high)       a number in this range; `WHOLE` is an integer from 0 to 2^63 - 1
    Maybe(form)             this form, or null
    [form]                  a list of values of this form
    (form, form)            a list with a value of each form
    {"name": form}          an object with at least these names
    Each(form)              an object with any names
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from charrnn.files import open_regular

Form = Any
T = TypeVar("T")
DEEPEST = 30  # levels of lists and objects


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, including both. With `whole` it must be an integer."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    def fits(self, value: Any) -> bool:
        """Whether the value is such a number. True, false, infinity and NaN are not."""
        kinds = int if self.whole else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self._contains(value)

    def _contains(self, value: float) -> bool:
        try:
            return math.isfinite(value) and self.low <= value <= self.high
        except OverflowError:  # an integer that is too large for a float
            return False


@dataclass(frozen=True)
class Maybe:
    """A form, or null."""

    form: Form


@dataclass(frozen=True)
class Each:
    """An object whose values all have this form."""

    form: Form


WHOLE = Number(0, 2**63 - 1, whole=True)
FINITE = Number()
FORMS: dict[str, Form] = {"int": WHOLE, "float": FINITE, "bool": bool, "str": str}  # of a dataclass's fields
FORMS |= {f"{name} | None": Maybe(form) for name, form in FORMS.items()}


def parse(content: bytes | str) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ValueError: the text is not JSON, or lists and objects are nested too deeply.
    """
    try:
        value = json.loads(content.decode() if isinstance(content, bytes) else content)
        if _deeper(value, DEEPEST):
            raise RecursionError
    except RecursionError:
        raise ValueError(f"lists or objects more than {DEEPEST} deep") from None
    return value


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper(v, levels - 1) for v in inner if isinstance(v, (dict, list)))


def read_object(path: Path, most: int) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        most: the largest number of bytes that is allowed.
    Raises:
        OSError: the file cannot be read, or is not a regular file.
        ValueError: the file is too large, or does not hold an object.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path.name} has more than {most:,} bytes")
    value = parse(content)
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} does not hold an object")
    return value


def check(value: Any, form: Form, name: str) -> None:
    """Raise ValueError unless the value has this form. The error names the part that is wrong."""
    if isinstance(form, Maybe):
        if value is not None:
            check(value, form.form, name)
    elif isinstance(form, Number):
        _demand(form.fits(value), name)
    elif isinstance(form, type):
        _demand(isinstance(value, form), name)
    elif isinstance(form, (list, tuple)):
        _demand(isinstance(value, list) and (isinstance(form, list) or len(value) == len(form)), name)
        for number, inner in enumerate(value):
            check(inner, form[0 if isinstance(form, list) else number], f"{name}[{number}]")
    else:
        _demand(isinstance(value, dict), name)
        for key, part in (dict.fromkeys(value, form.form) if isinstance(form, Each) else form).items():
            _demand(key in value, f"{name}.{key}")
            check(value[key], part, f"{name}.{key}")


def _demand(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"{name[:80]} is missing or not what it should be")


def build(kind: type[T], values: Any) -> T:
    """A dataclass of numbers, strings and booleans from a JSON object.

    Args:
        kind: the dataclass. Its own checks of its values apply too.
        values: the object. Fields that are missing in it have their defaults.
    Raises:
        ValueError: a field is unknown, missing, of another type or not finite, or contradicts another one.
        CharRNNError: the dataclass rejects a value.
    """
    known: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    needed = {name: FORMS[str(field.type)] for name, field in known.items() if field.default is MISSING}
    check(values, needed, kind.__name__)
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{kind.__name__} has no {name[:80]!r}")
        check(value, FORMS[str(known[name].type)], f"{kind.__name__}.{name}")
    made = kind(**values)
    for name, value in values.items():
        if value is not None and getattr(made, name) != value:
            raise ValueError(f"{kind.__name__}.{name} contradicts another setting")
    return made
