"""The engine with narrower vectors than the CPU has: the same answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import run_tests
from thorough import first_of_all

TESTS = Path(__file__).parent
SUITES = [("128", "test_simd.py"), ("128", "test_product.py"), ("128", "test_transpose.py")]
FURTHER = [
    ("256", "test_product.py"),
    ("256", "test_transpose.py"),
    ("256", "test_simd.py"),
    ("128", "test_optimisers.py"),
    ("256", "test_optimisers.py"),
]
FURTHER += [("128", "test_torch_reference.py")]


@pytest.mark.parametrize(("bits", "tests"), first_of_all(SUITES + FURTHER, *SUITES))
def test_narrower_vectors_pass_the_same_tests(bits, tests):
    run_tests(TESTS / tests, CHARRNN_VECTOR_BITS=bits)


def test_the_setting_is_obeyed():
    code = "from charrnn.engine import simd, tile_code; print(simd.VECTOR_BITS, tile_code.TILE_ROWS >= 6)"
    environment = os.environ | {"CHARRNN_VECTOR_BITS": "128"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["128", "True"]
