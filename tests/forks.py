"""A process that has imported the command line and forks a child for each command: a command then takes no start.

It never runs a parallel kernel itself, since a process that has threads cannot be forked safely.
"""

import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module

LONGEST = 600  # seconds, after which a command that hangs is ended
PARTS = ("cli.app", "cli.progress", "training.loop", "training.run", "training.choose", "sampling.sampler", "folders")


def read(pipe):
    """One message: its length, then the pickled object."""
    return pickle.loads(pipe.read(int.from_bytes(pipe.read(8), "big")))


def write(pipe, message):
    content = pickle.dumps(message)
    pipe.write(len(content).to_bytes(8, "big") + content)
    pipe.flush()


def run(args, cwd, environment, stdout, stderr):
    """Run a command in this process, which ends with its status."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate((os.devnull, stdout, stderr)):
        opened = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(descriptor, mode, closefd=False), "utf-8", line_buffering=descriptor == 2)  # noqa: SIM115
        for descriptor, mode in enumerate(("rb", "wb", "wb"))
    )
    import_module("charrnn.runtime").STARTED = time.perf_counter()
    import_module("charrnn.cache").compilation.seconds = 0.0  # what `serve` compiled came before
    signal.alarm(LONGEST)
    sys.argv = ["charrnn", *(os.fsdecode(arg) for arg in args)]
    status = 0
    try:
        import_module("charrnn.cli.app").main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    os._exit(status)


def serve():
    """Answer requests from standard input until it is closed."""
    import_module("charrnn.runtime").prepare()
    for part in PARTS:
        import_module(f"charrnn.{part}")
    target = import_module("numba.core.registry").cpu_target
    target.typing_context.refresh()  # what numba would do for the first kernel of every child
    target.target_context.refresh()
    with suppress(import_module("charrnn.errors").CharRNNError):
        import_module("charrnn.cli.app").app(["sample", os.devnull])  # no run; but what reads options is imported now
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    while requests.peek(1):
        request = read(requests)
        child = os.fork()
        if not child:
            try:
                run(*request)
            finally:
                os._exit(70)  # an error that the command line did not catch
        write(answers, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


class Forks:
    """The other side: starts the process when it is first needed."""

    def __init__(self):
        self.process = None

    def run(self, args, cwd, environment):
        """A completed command, with its output as bytes."""
        if self.process is None:
            command = [sys.executable, __file__]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with tempfile.NamedTemporaryFile() as stdout, tempfile.NamedTemporaryFile() as stderr:
            write(self.process.stdin, (args, str(cwd), environment, stdout.name, stderr.name))
            status = read(self.process.stdout)
            return subprocess.CompletedProcess(["charrnn", *args], status, stdout.read(), stderr.read())


if __name__ == "__main__":
    serve()
