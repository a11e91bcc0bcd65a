"""The command line as a whole: help, versions, wrong usage."""

import re
import signal
import subprocess
import sys
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
from helpers_cli import TIMEOUT, charrnn, environment
from typer.models import OptionInfo

import charrnn as package
from charrnn.cli.app import COMMANDS, PATHS
from charrnn.settings import flag


def test_help_names_every_command_and_imports_neither_numba_nor_numpy(tmp_path):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "charrnn", "--help"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    imported = {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if "|" in line}
    assert "charrnn.cli.app" in imported
    assert not imported & {"numba", "numpy", "llvmlite", "rich", "tqdm"}
    assert result.returncode == 0
    for _, name, _ in COMMANDS:
        assert re.search(rf"^ +{name} ", result.stdout, re.MULTILINE)


EARLY = """
import builtins, os, signal
from charrnn.cli import start
real = builtins.__import__
def with_signal(name, *more, **settings):
    if name == "charrnn.cli.app":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *more, **settings)
builtins.__import__ = with_signal
start.main()
"""


LATER = """
import signal, sys
from charrnn.cli import app as start
from charrnn.errors import InterruptError
def interrupted(**_):
    raise InterruptError(signal.SIGINT)
start.app = interrupted
try:
    start.main()
finally:
    signal.raise_signal(signal.SIGINT)  # while the interpreter ends, and waits for threads
"""


def test_ctrl_c_again_while_the_command_ends_shows_no_traceback():
    line = [sys.executable, "-c", LATER]
    result = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.stderr == "charrnn: interrupted\n"
    assert result.returncode == -signal.SIGINT


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_during_the_imports_ends_the_command_without_a_traceback(ignored):
    """Unless the command was started with this signal ignored, as a shell does in the background of a script."""
    result = subprocess.run(
        [sys.executable, "-c", EARLY, "--version"],
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == (0 if ignored else -signal.SIGINT)


def test_every_option_that_is_a_path_may_not_be_empty():
    """`PATHS` is complete."""
    found = set()
    for function, _, _ in COMMANDS:
        for name, annotation in get_type_hints(function, include_extras=True).items():
            kind, *about = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
            if "Path" in str(kind) and any(isinstance(one, OptionInfo) for one in about):
                (option,) = about
                named = [text for text in (option.default, *(option.param_decls or ())) if str(text).startswith("-")]
                found |= set(named or [flag(name)])
    assert found >= {"--out", "--html", "--words"}
    assert found == set(PATHS)


def test_version_is_one_line_on_standard_output(tmp_path):
    result = charrnn("--version", cwd=tmp_path)
    assert (result.stdout, result.stderr, result.returncode) == (f"charrnn {package.__version__}\n", "", 0)


@pytest.mark.parametrize(
    "args",
    [
        ["fly"],
        ["--fly"],
        ["train"],
        ["train", "data"],
        ["train", "data", "--out", "new", "--hidden", "many"],
        ["prepare", "--out", "new"],
        ["sample", "data-run", "--length"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_says_so_on_standard_error(tmp_path, args):
    result = charrnn(*args, cwd=tmp_path)
    assert (result.stdout, result.returncode) == ("", 2)
    assert "Error" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_help_of_a_command_is_the_same_both_ways_and_lists_every_option_of_train_once(tmp_path):
    shown = charrnn("help", "train", cwd=tmp_path).stdout
    assert shown.split("\n", 1)[1] == charrnn("train", "--help", cwd=tmp_path).stdout.split("\n", 1)[1]
    options = re.findall(r"^  (?:-\w, )?--([\w-]+)", shown, re.MULTILINE)
    assert len(options) == len(set(options)) > 50
    assert options[0] == "out"
    assert re.search(r"^Regularisation:$", shown, re.MULTILINE)
    assert charrnn("help", cwd=tmp_path).stdout == charrnn("--help", cwd=tmp_path).stdout
    unknown = charrnn("help", "fly", cwd=tmp_path)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "No such command 'fly'" in unknown.stderr
