"""What all tests share: the engine's environment, and small models to run."""

import atexit
import os
import shutil
import signal
import tempfile

os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="charrnn-tests-")  # so that no code lies there from other runs
atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)
os.environ["NUMBA_NUM_THREADS"] = "2"  # two threads can be tested on one core as well

signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell that runs the tests may ignore signals, and
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # commands would then ignore them too

import pytest  # noqa: E402

from charrnn import runtime  # noqa: E402

runtime.prepare()

from shop import bytes_shop, shop  # noqa: E402, F401
from texts import ENGLISH, options, prepare, write  # noqa: E402  (the engine reads its environment when it loads)


@pytest.fixture
def threads():
    """A function that sets the number of threads; undone after the test."""
    import numba

    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    """A DATA folder of ENGLISH, of 190 characters to train on and 22 for validation."""
    prepare([write(tmp_path / "text.txt", ENGLISH)], tmp_path / "data", options(val=22.5 / 212))
    return tmp_path / "data"


LONG = ("test_docs.py", "test_vector_widths.py", "_tales_", "_recall_", "_with_everything_")


def pytest_collection_modifyitems(items):
    """Long tests come first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONG))
