"""What the scripts that compare trainings share: commands, and results that are kept between calls."""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

BATCH, SEQ_LEN = 32, 64
CHUNK = BATCH * SEQ_LEN  # characters of an update
SHAPE = ("--batch", BATCH, "--seq-len", SEQ_LEN)


def parser_for(script, doc, jobs=2):
    """A parser with the options that all comparisons have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(Path(script).name)
    parser.add_argument(
        "--cache",
        type=Path,
        default=cache,
        help=f"folder for results and runs, a new one after each change of charrnn [{cache}]",
    )
    parser.add_argument("--jobs", type=int, default=jobs, help=f"trainings at once, each on one thread [{jobs}]")
    return parser


@contextmanager
def workers(jobs):
    """A pool of threads. After an error or Ctrl-C, it begins no further work."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def output_of(*command):
    """The JSON object on the last line of what a command prints."""
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def charrnn(*words):
    """The result of a command of charrnn."""
    return output_of(sys.executable, "-m", "charrnn", *words, "--json")


def label(text):
    """A name for what a text holds: texts of the same name may differ."""
    return f"{text.name}-{sha256(text.read_bytes()).hexdigest()[:8]}"


def prepared(cache, text, *options):
    """The DATA folder of a text, made if it is not there yet."""
    data = cache / f"data-{label(text)}"
    if not data.exists():
        cache.mkdir(parents=True, exist_ok=True)
        charrnn("prepare", text, "--out", data, *options)
    return data


def training_part(cache, text):
    """A text without its last tenth, which no choice may see."""
    part = cache / f"{label(text)}.part"
    if not part.exists():
        cache.mkdir(parents=True, exist_ok=True)
        content = text.read_bytes()
        end = 9 * len(content) // 10
        part.write_bytes(content[: content.find(b"\n", end) + 1 or end])
    return part


def file_name(words):
    """The words as the name of a file."""
    return words.replace(" ", "").replace("/", "_")


def kept(cache, name, measure):
    """What measure() returns, or returned in an earlier call; `name` says what was measured."""
    path = cache / f"{file_name(name)}.json"
    if not path.exists():
        path.write_text(json.dumps(measure()))
    return json.loads(path.read_text())
