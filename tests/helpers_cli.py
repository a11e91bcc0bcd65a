"""Runs the command line as a user does, and looks at what it leaves behind."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from forks import Forks

from charrnn import cache

SIZES = ("--hidden", "8", "--layers", "1", "--batch", "2", "--seq-len", "8")
TIMEOUT = 300  # seconds; the first run of a cell on a machine compiles


def command(*args):
    """The words of a charrnn command."""
    return [sys.executable, "-m", "charrnn", *args]


def environment(**changes):
    """The environment of the tests without what would change the output; and with `changes`."""
    dropped = {"CHARRNN_DEBUG", "NO_COLOR", "FORCE_COLOR", "NUMBA_NUM_THREADS", "COLUMNS"}
    return {k: v for k, v in os.environ.items() if k not in dropped} | changes


FORKS = Forks()
NEED_A_START = {
    "CHARRNN_DEBUG",
    "CHARRNN_CACHE",
    "PYTHONIOENCODING",
    "LC_ALL",
    "HOME",
}  # variables that are read when Python starts


def charrnn(*args, cwd, text=True, stdout=None, **changes):
    """Run a command to its end, without standard input; further arguments change its environment."""
    if stdout is not None or "--threads" in args or changes.keys() & NEED_A_START:
        result = start(*args, cwd=cwd, stdout=stdout or subprocess.PIPE, **changes)
    else:
        result = FORKS.run(args, cwd, environment(**changes))
    if text:
        result.stdout, result.stderr = (None if t is None else t.decode() for t in (result.stdout, result.stderr))
    return result


def begin(*args, cwd, **more):
    """A command that has begun, without standard input; `more` is for subprocess.Popen."""
    usual = {"env": environment(), "stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(*args), cwd=cwd, **usual | more)


def open_terminal():
    """Both ends of a terminal of 120 columns: what a person reads, and what a command writes to."""
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    return reader, terminal


def read_some(reader):
    """What is shown next on a terminal."""
    assert select.select([reader], [], [], TIMEOUT)[0], "nothing more is shown"
    return os.read(reader, 4096)


def read_to_end(reader):
    """All that is shown on a terminal until nobody writes to it any more; closes the reader."""
    shown = b""
    with open(reader, "rb", buffering=0) as file, suppress(OSError):  # how Linux says that the other end is closed
        while piece := file.read(4096):
            shown += piece
    return shown


def start(*args, cwd, stdout=subprocess.PIPE, **changes):
    """The same in a process of its own."""
    return subprocess.run(
        command(*args),
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT,
        check=False,
    )


def tree(folder):
    """Every file, folder and link below a folder, with the contents of files."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def compiled_code():
    """The folder of the compile cache that holds this process's code."""
    (folder,) = [place.path for place in cache.places() if any(place.path.glob("*.nbc"))]
    return folder


def check_failure(result, *parts):
    """Exit status 1, nothing on standard output, and one line: what was expected, what came, what to try."""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("charrnn: expected "), result.stderr
    for part in ("got", "try ", *parts):
        assert part in result.stderr, f"{part!r} is not in {result.stderr!r}"
    assert not result.stdout
    assert result.returncode == 1


def prepare_and_train(folder: Path, text, name, *options):
    """A DATA folder of a text and a RUN of five steps beside it; returns both results."""
    (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    level = ("--level", "byte") if isinstance(text, bytes) else ()
    prepared = charrnn("prepare", f"{name}.txt", "--out", name, "--json", *level, cwd=folder)
    trained = charrnn("train", name, "--out", f"{name}-run", *SIZES, "--steps", "5", *options, cwd=folder)
    return prepared, trained


def interrupt_when(process, condition, *numbers):
    """Send SIGINT or other signals once the condition holds; returns standard error and the exit status."""
    limit = time.monotonic() + TIMEOUT
    while not condition() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    send_together(process, *(numbers or [signal.SIGINT]))
    return process.communicate(timeout=TIMEOUT)[1], process.returncode


def send_together(process, *numbers):
    """Send signals that the process gets at the same moment. Python handles the one with the lowest number first."""
    for number in (signal.SIGSTOP, *numbers, signal.SIGCONT):
        process.send_signal(number)


def saved_step(run):
    """The step of a run's last.npz."""
    with np.load(run / "last.npz", allow_pickle=False) as file:
        return json.loads(str(file["progress"]))["step"]


def journal(run):
    """The lines of a run's journal."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def examples_of(command, folder):
    """The three examples at the end of a command's help."""
    shown = charrnn(command, "--help", cwd=folder).stdout
    head, *examples = (line.strip() for line in shown.splitlines()[-4:])
    assert head == "Examples:"
    assert all(line.startswith("charrnn ") for line in examples)
    return examples
