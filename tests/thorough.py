"""What ./scripts/test leaves to ./scripts/test_thorough, since it would take most of the time: more of the same law."""

import pytest

thorough = pytest.mark.thorough


def first_of_all(values, *first):
    """Values of a test's parameter: the first ones are for every run of the suite, the others for the thorough one."""
    return [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=() if v in first else thorough) for v in values]
