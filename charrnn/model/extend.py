"""Arrays of a cell together with those of what is done beside its equations."""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterable

EXTENDED: dict[tuple[type, str], type] = {}  # by the type that was extended and what was added


def extend(arrays_class: type, prefix: str, fields: Iterable[str]) -> type:
    """Make a NamedTuple with the fields of another one and further ones.

    It gets a name in the module of the other, by which the compile cache finds it again.
    """
    name = prefix + arrays_class.__name__
    old: tuple[str, ...] = arrays_class._fields  # type: ignore[attr-defined]
    new = namedtuple(name, (*old, *fields), module=arrays_class.__module__)  # type: ignore[misc]
    setattr(sys.modules[arrays_class.__module__], name, new)
    EXTENDED[arrays_class, prefix] = new
    return new
