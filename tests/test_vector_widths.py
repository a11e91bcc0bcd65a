"""The engine with narrower vectors than the CPU has: the same answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SUITES = {
    "128": ["test_simd.py", "test_product.py", "test_torch_reference.py", "test_optimisers.py"],
    "256": ["test_simd.py", "test_product.py", "test_optimisers.py"],
}
CHOICE = "not pytorch or gru"  # of PyTorch's cells one is enough


@pytest.mark.parametrize("bits", SUITES)
def test_narrower_vectors_pass_the_same_tests(bits):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", CHOICE, *(str(TESTS / name) for name in SUITES[bits])]
    environment = os.environ | {"CHARRNN_VECTOR_BITS": bits}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_setting_is_obeyed():
    code = "from charrnn.engine import simd, tile; print(simd.VECTOR_BITS, tile.TILE_ROWS >= 6)"
    environment = os.environ | {"CHARRNN_VECTOR_BITS": "128"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["128", "True"]
