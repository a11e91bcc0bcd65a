"""JSON from files: limits of size and depth, and forms."""

import os
from dataclasses import dataclass

import pytest

from charrnn.json_files import FINITE, WHOLE, Each, Maybe, Number, build, check, parse, read_object


@dataclass
class Example:
    count: int
    name: str = "x"
    rate: float = 0.5
    limit: int | None = None
    on: bool = False


Example.__dataclass_fields__["count"].type = "int"  # as `from __future__ import annotations` has it
for name, kind in (("name", "str"), ("rate", "float"), ("limit", "int | None"), ("on", "bool")):
    Example.__dataclass_fields__[name].type = kind


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 40 + "1" + "}" * 40, "", "{", "nul", b"\xff\xfe"])
def test_a_text_that_is_no_json_or_too_deep_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse(text)


def test_an_object_is_read_and_anything_else_is_an_error(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"é": [1, {"b": null}]}', encoding="utf-8")
    assert read_object(path, 100) == {"é": [1, {"b": None}]}
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_object(path, 10)
    path.write_text("[]")
    with pytest.raises(ValueError, match="not hold an object"):
        read_object(path, 100)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        read_object(path, 100)


@pytest.mark.parametrize(
    "form, good, bad",
    [
        (str, ["", "a"], [None, 1, ["a"]]),
        (bool, [True], [0, 1, "true"]),
        (WHOLE, [0, 2**63 - 1], [-1, 2**63, 10**400, 1.0, True, "1", None]),
        (FINITE, [0, -1.5, 1e308], [float("nan"), float("inf"), 10**400, False, "0", None]),
        (Number(-1, 1), [-1, 0.5, 1], [1.5, -2]),
        (Maybe(WHOLE), [None, 3], ["3", -3]),
        ([WHOLE], [[], [1, 2]], [1, None, {}, [1, "2"]]),
        ((str, WHOLE), [["a", 1]], [["a"], ["a", 1, 1], [1, "a"]]),
        ({"a": WHOLE}, [{"a": 1}, {"a": 1, "b": "more"}], [{}, {"a": "1"}, [], None]),
        (Each(WHOLE), [{}, {"any": 1}], [{"any": "1"}, [1]]),
    ],
    ids=str,
)
def test_a_value_has_a_form_or_is_an_error_that_names_it(form, good, bad):
    for value in good:
        check(value, form, "thing")
    for value in bad:
        with pytest.raises(ValueError, match="thing"):
            check(value, form, "thing")


def test_a_dataclass_is_built_from_fields_of_the_right_types():
    assert build(Example, {"count": 3, "rate": 1, "limit": None}) == Example(3, rate=1)
    bad = [[], {}, {"count": "3"}, {"count": -1}, {"count": True}, {"count": 3, "more": 1}, {"count": 3, "on": 1}]
    bad += [{"count": 3, "rate": float("nan")}, {"count": 3, "limit": 1.5}, {"count": 3, "name": None}]
    for values in bad:
        with pytest.raises(ValueError, match="Example"):
            build(Example, values)
