"""What all tests share: the engine's environment, and small models to run."""

import os

os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # two threads can be tested on one core as well

import pytest

from charrnn import runtime

runtime.prepare()


@pytest.fixture
def threads():
    """A function that sets the number of threads; undone after the test."""
    import numba

    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)
