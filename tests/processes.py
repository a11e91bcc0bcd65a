"""Tests that run once more in a process of their own, where the engine is set up otherwise."""

import os
import subprocess
import sys


def run_tests(file, **variables):
    """Run the tests of a file with these environment variables; they must pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", str(file)]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
