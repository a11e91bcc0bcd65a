"""What is only shown never ends a command, and nothing from a file commands a terminal."""

import fcntl
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from types import SimpleNamespace

import pytest
from helpers_cli import (
    SIZES,
    TIMEOUT,
    begin,
    charrnn,
    environment,
    journal,
    open_terminal,
    read_some,
    read_to_end,
    saved_step,
)
from shop import TEXT

from charrnn.cli import terminal
from charrnn.cli.terminal import Writer, readable, readable_bytes, unbreakable

ESCAPE = "\x1b]0;mine\x07"


def start(shop, tmp_path, *args, stderr, **more):
    """A training run that is watched through `stderr`."""
    command = ("train", str(shop.folder / "data"), "--out", "run", *SIZES, *args)
    more |= {"env": environment(TERM="xterm-256color"), "stdout": subprocess.PIPE, "stderr": stderr}
    return begin(*command, cwd=tmp_path, **more)


def test_a_full_standard_error_ends_no_run(shop, tmp_path):
    with open("/dev/full", "wb") as full:
        process = start(shop, tmp_path, "--steps", "9", "--json", stderr=full)
        output = process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 0
    assert json.loads(output)["step"] == 9


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="only Linux has small pipes")
def test_a_run_whose_messages_nobody_reads_is_saved_at_the_first_signal(shop, tmp_path):
    """Standard error is a full pipe, as before a pager. Its reader is there but does not read."""
    reader, full = os.pipe()
    fcntl.fcntl(full, fcntl.F_SETPIPE_SZ, 8192)

    def written():
        return (tmp_path / "run" / "log.jsonl").stat().st_size if (tmp_path / "run").exists() else -1

    process = start(shop, tmp_path, "--minutes", "30", "--eval-every", "9", "--preview", "2000", stderr=full)
    limit, told = time.monotonic() + TIMEOUT, -1
    while (select.select([], [full], [], 0)[1] or told != written()) and time.monotonic() < limit:
        told = written()
        time.sleep(1)
    process.terminate()
    process.communicate(timeout=TIMEOUT)
    os.close(full)
    os.close(reader)
    assert process.returncode == 128 + signal.SIGTERM
    last = journal(tmp_path / "run")[-1]
    assert last["name"] == "interrupt"
    assert saved_step(tmp_path / "run") == last["step"] > 0


def test_messages_wait_for_a_slow_reader(monkeypatch):
    reader, full = os.pipe()
    monkeypatch.setattr(terminal, "PATIENCE", 0.01)
    text = "message\n" * 50_000
    with open(full, "w") as plain:
        writes = threading.Thread(target=lambda: (unbreakable(plain).write(text), plain.close()))
        writes.start()
        time.sleep(0.1)
        assert read_to_end(reader).decode() == text
        writes.join()


def wait_for_bar(reader):
    shown = b""
    while not re.search(rb"\d+% ?\|", shown):
        shown += read_some(reader)


def test_a_run_goes_on_when_its_terminal_is_gone(shop, tmp_path):
    """Writing to it then fails with EIO."""
    reader, terminal = open_terminal()
    process = start(shop, tmp_path, "--minutes", "0.05", "--json", stderr=terminal)
    os.close(terminal)
    wait_for_bar(reader)
    os.close(reader)
    output = process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 0
    assert json.loads(output)["interrupted"] is False
    assert journal(tmp_path / "run")[-1]["name"] == "end"


def test_a_terminal_that_is_closed_ends_a_run_with_129_and_a_checkpoint(shop, tmp_path):
    reader, terminal = open_terminal()

    def control():
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = start(shop, tmp_path, "--minutes", "30", stderr=terminal, preexec_fn=control)
    os.close(terminal)
    wait_for_bar(reader)
    os.close(reader)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + signal.SIGHUP
    last = journal(tmp_path / "run")[-1]
    assert last["name"] == "interrupt"
    assert saved_step(tmp_path / "run") == last["step"] > 0


@pytest.mark.parametrize(
    "text, shown",
    [
        ("tea\tand\nSöhne 李", "tea\tand\nSöhne 李"),
        (ESCAPE, r"\x1b]0;mine\x07"),
        ("a\rb", r"a\x0db"),
        ("a\r\nb", "a\r\nb"),
        ("\x7f\x9b1m", r"\x7f\x9b1m"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert readable(text) == shown


def test_bytes_that_a_terminal_would_obey_are_written_out():
    assert readable_bytes("tea\tand\r\nSöhne 李".encode()) == "tea\tand\r\nSöhne 李".encode()
    assert readable_bytes(b"\x1b[1m\xff\r \xc2\x9b \x7f") == rb"\x1b[1m" + b"\xff" + rb"\x0d \xc2\x9b \x7f"


def test_pieces_may_end_inside_a_character_or_a_line_end(monkeypatch):
    terminal = SimpleNamespace(buffer=io.BytesIO(), isatty=lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    writer = Writer()
    for piece in (b"one\r", b"\ntwo\r", b"three \xe6\x9d", b"\x8e\r"):
        writer.write(piece)
    writer.finish()
    assert terminal.buffer.getvalue() == "one\r\ntwo\\x0dthree 李\\x0d\n".encode()


def test_escape_sequences_in_files_reach_no_person(shop, tmp_path):
    """In a journal, in names of files, in texts, in settings of a DATA folder."""
    shutil.copytree(shop.folder / "data", tmp_path / "data")
    shutil.copytree(shop.run, tmp_path / "run")
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        for line in ({"kind": "event", "name": ESCAPE, "step": 5, ESCAPE: ESCAPE}, journal(shop.run)[-2]):
            log.write(json.dumps(line | {"preview": ESCAPE}) + "\n")
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    meta["report"]["scripts"] = {ESCAPE: 3}
    (tmp_path / "data" / "meta.json").write_text(json.dumps(meta))
    (tmp_path / ESCAPE).write_text(TEXT)
    (tmp_path / "odd.txt").write_text(TEXT + ESCAPE)
    commands = [
        ("log", "run"),
        ("info", "data"),
        ("eval", "run", ESCAPE),
        ("eval", "run", "odd.txt"),
        ("train", ESCAPE, "--out", "new"),
        ("prepare", "odd.txt", "--out", "odd"),
        ("prepare", ESCAPE, "odd.txt", "--out", "odd"),
    ]
    for args in commands:
        result = charrnn(*args, cwd=tmp_path)
        assert "unexpected" not in result.stderr
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", result.stdout + result.stderr), args


@pytest.mark.parametrize("raw", [False, True])
def test_a_sample_on_a_terminal_has_no_escape_sequences_and_in_a_pipe_has_them(bytes_shop, raw):
    """With --raw, a terminal gets them too."""
    args = ("sample", "data-run", "--length", "3000", "--temperature", "5", *(("--raw",) if raw else ()))
    plain = charrnn(*args, cwd=bytes_shop.folder, text=False).stdout
    assert b"\x1b" in plain
    reader, terminal = open_terminal()
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    process = begin(*args, cwd=bytes_shop.folder, stdout=terminal)
    os.close(terminal)
    shown = read_to_end(reader)
    assert process.wait(TIMEOUT) == 0
    assert shown == (plain if raw else readable_bytes(plain))


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (("prepare", "data.txt", "--out", "again"), rb"\d+%"),
        (("sample", "data-run", "--count", "3", "--length", "20"), rb"3 of 3 texts"),
    ],
)
def test_a_terminal_shows_how_far_a_command_has_come(shop, tmp_path, command, part):
    shutil.copytree(shop.folder / "data-run", tmp_path / "data-run")
    shutil.copy(shop.folder / "data.txt", tmp_path)
    reader, terminal = open_terminal()
    variables = environment(TERM="xterm-256color")
    process = begin(*command, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = read_to_end(reader)
    assert process.wait(TIMEOUT) == 0, shown
    assert re.search(part, shown), shown


def test_json_keeps_bytes_that_are_no_utf_8(bytes_shop, tmp_path):
    (tmp_path / "prompt").write_bytes(b"\x93abc\xff")
    sampled = charrnn(
        "sample", "data-run", "--prompt-file", str(tmp_path / "prompt"), "-n", "9", "--json", cwd=bytes_shop.folder
    )
    plain = charrnn(
        "sample", "data-run", "--prompt-file", str(tmp_path / "prompt"), "-n", "9", cwd=bytes_shop.folder, text=False
    )
    whole = json.loads(sampled.stdout)["text"].encode("utf-8", "surrogateescape")
    assert plain.stdout.startswith(whole)
    assert whole.startswith(b"\x93abc\xff")
    scored = charrnn("score", "data-run", str(tmp_path / "prompt"), "--json", "--chars", cwd=bytes_shop.folder)
    line = json.loads(scored.stdout)
    assert line["text"].encode("utf-8", "surrogateescape") == b"\x93abc\xff"
    assert len(line["surprisal"]) == 4


@pytest.mark.parametrize("args", [("prepare", "a.txt", "--out", "new"), ("train", "data", "--out", "new"),
                                  ("eval", "data-run"), ("sample", "data-run")])  # fmt: skip
def test_json_is_json_in_any_encoding(bytes_shop, tmp_path, args):
    shutil.copytree(bytes_shop.folder, tmp_path / "shop")
    (tmp_path / "shop" / "a.txt").write_text("Söhne 李 \ufffd" * 99)
    more = [*SIZES, "--steps", "2"] if args[0] == "train" else []
    result = charrnn(*args, *more, "--json", cwd=tmp_path / "shop", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert result.returncode == 0, result.stderr
    json.loads(result.stdout)
    assert result.stdout.isascii()


def test_standard_input_that_does_not_fit_into_the_temporary_file_is_said(tmp_path):
    """A limit on the size of files cuts a write short before it fails."""
    small = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (32767, 32767))}
    process = begin("prepare", "-", "--out", "data", cwd=tmp_path, stdin=subprocess.PIPE, text=True, **small)
    message = process.communicate("x y" * 20000, timeout=TIMEOUT)[1]
    assert process.returncode == 1
    assert message.startswith("charrnn: expected room in ")
    assert "File too large" in message
    assert not list(tmp_path.iterdir())


def test_prepare_says_that_it_waits_for_text_of_a_terminal(tmp_path):
    reader, terminal = open_terminal()
    process = begin("prepare", "-", "--out", "data", cwd=tmp_path, stdin=terminal)
    os.close(terminal)
    assert select.select([process.stderr], [], [], TIMEOUT)[0]
    said = process.stderr.readline()
    os.write(reader, b"a text by hand, long enough\n\x04")
    rest = process.communicate(timeout=TIMEOUT)[1]
    os.close(reader)
    assert said == b"reading text from this terminal; end it with Ctrl-D on a new line\n"
    assert (process.returncode, b"28 characters" in rest) == (0, True)
