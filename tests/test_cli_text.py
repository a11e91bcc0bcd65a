"""Text on the command line: reports, unknown characters, forms of text, fine-tuning, and very many symbols."""

import fcntl
import json
import math
import os
import random
import re
import signal
import subprocess
import termios
import time
import unicodedata

import pytest
from helpers_cli import SIZES, TIMEOUT, begin, charrnn, command, environment, send_together, start

TEXT = "the cat sat on a mat and saw that rat where a fine cafe was\n" * 12


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """DATA and RUN of a lower-case text with a limited vocabulary, and of a plain one."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "plain.txt").write_text(TEXT)
    (folder / "rare.txt").write_text(TEXT.title() + "Ж\r\nQ")
    for args in (
        ("prepare", "plain.txt", "--out", "plain"),
        ("prepare", "rare.txt", "--out", "rare", "--lowercase", "--newlines", "lf", "--min-count", "2"),
        ("train", "plain", "--out", "plain-run", *SIZES, "--steps", "3"),
        ("train", "rare", "--out", "rare-run", *SIZES, "--steps", "3"),
    ):
        result = charrnn(*args, cwd=folder)
        assert result.returncode == 0, result.stderr
    return folder


def test_info_prints_the_report_of_prepare(shop):
    again = charrnn("prepare", "plain.txt", "--out", "plain", "--force", cwd=shop).stderr.splitlines()
    shown = charrnn("info", "plain", cwd=shop)
    assert shown.stdout.splitlines() == again[:-1]
    assert re.search(r"to beat +order 0 \d\.\d{3}, order 1 .* bits per character", shown.stdout)
    meta = json.loads(charrnn("info", "plain", "--json", cwd=shop).stdout)
    assert meta == json.loads((shop / "plain" / "meta.json").read_text())


def test_the_same_prepare_again_is_up_to_date(shop):
    result = charrnn("prepare", "plain.txt", "--out", "plain", "--json", cwd=shop)
    assert result.returncode == 0
    assert json.loads(result.stdout)["up_to_date"] is True
    assert "up to date" in result.stderr


def test_a_stranger_in_the_folder_does_not_make_it_another(shop):
    (shop / "plain" / "notes").touch()
    assert "up to date" in charrnn("prepare", "plain.txt", "--out", "plain", cwd=shop).stderr
    (shop / "plain" / "notes").unlink()


def test_a_path_that_begins_with_a_dash_is_a_path_in_what_is_to_try_next(shop):
    done = charrnn("prepare", "plain.txt", "--out", "-d", cwd=shop)
    assert "charrnn train ./-d --out RUN" in done.stderr


def test_files_of_the_held_out_splits_and_a_normal_form(tmp_path):
    texts = {"train": "cafe\u0301 au lait\n" * 9, "val": "the\u0301\n" * 5, "test": "au the\u0301\n" * 7}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    files = ("--val-file", "val", "--test-file", "test")
    done = charrnn("prepare", "train", *files, "--normalize", "nfc", "--out", "data", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    meta = json.loads(done.stdout)
    assert meta["splits"] == {name: len(unicodedata.normalize("NFC", text)) for name, text in texts.items()}
    assert json.loads((tmp_path / "data" / "vocab.json").read_text())["symbols"] == [*"\n acfhiltué"]


def test_another_name_of_the_same_encoding_changes_nothing(shop):
    result = charrnn("prepare", "plain.txt", "--out", "plain", "--encoding", "UTF8", cwd=shop)
    assert result.returncode == 0
    assert "up to date" in result.stderr


def test_what_was_left_out_is_said(shop):
    assert "left out" in charrnn("info", "rare", cwd=shop).stdout


def test_a_prompt_takes_the_form_of_the_training_text(shop):
    asked = charrnn("sample", "rare-run", "--prompt", "The CAT\r\n", "--length", "5", cwd=shop)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("the cat\n")


def test_stops_and_allowed_characters_take_the_form_of_the_training_text(shop):
    args = ("sample", "rare-run", "--length", "50", "--json")
    banned, stopped = charrnn(*args, "--ban", "THEC\r\n", cwd=shop), charrnn(*args, "--stop", "A", cwd=shop)
    allowed = charrnn(*args, "--allow", "AT", cwd=shop)
    assert not set(json.loads(banned.stdout)["text"]) & set("thec\n"), banned.stderr
    assert json.loads(stopped.stdout)["stopped"] == "stop", stopped.stderr
    assert set(json.loads(allowed.stdout)["text"]) == set("at"), allowed.stderr


@pytest.mark.parametrize("policy, begin", [("skip", "the cat"), ("replace", "the \ufffdcat\ufffd")])
def test_unknown_characters_of_a_prompt_are_skipped_or_replaced(shop, policy, begin):
    result = charrnn("sample", "rare-run", "--prompt", "the жcatй", "--unknown", policy, "--length", "5", cwd=shop)
    assert result.stdout.startswith(begin), result.stderr


def test_unknown_characters_of_a_file_are_skipped_or_replaced(shop):
    (shop / "other.txt").write_bytes("The жcat sat\r\n".encode("utf-16"))
    read = {}
    for policy in ("skip", "replace", "error"):
        args = ("eval", "rare-run", "other.txt", "--encoding", "utf-16", "--unknown", policy, "--json")
        read[policy] = charrnn(*args, cwd=shop)
    assert json.loads(read["skip"].stdout)["chars"] == len("the cat sat\n") - 1
    assert json.loads(read["replace"].stdout)["chars"] == len("the жcat sat\n") - 1
    assert "'ж' (U+0436) at position 4 of other.txt" in read["error"].stderr


def test_fine_tuning_says_what_became_of_the_characters(shop):
    result = charrnn("train", "rare", "--out", "tuned", "--init-from", "plain-run", *SIZES, "--steps", "2", cwd=shop)
    assert result.returncode == 0, result.stderr
    plain, rare = ({*json.loads((shop / name / "vocab.json").read_text())["symbols"]} for name in ("plain", "rare"))
    kept = len(plain & rare)
    want = (
        f"{kept} characters keep their rows, {len(rare) - kept} new ones begin afresh, {len(plain) - kept} are dropped"
    )
    assert want in result.stderr
    assert json.loads((shop / "tuned" / "config.json").read_text())["model"]["symbols"] == len(rare)


def test_a_hundred_thousand_symbols_train_and_sample(tmp_path):
    codes = [c for c in range(0x20, 0x30000) if not 0xD800 <= c < 0xE000][:100_000]
    (tmp_path / "many.txt").write_text("".join(map(chr, codes)) + "the end " * 9, encoding="utf-8", newline="")
    assert "100,000 symbols" in charrnn("prepare", "many.txt", "--out", "data", "--val", "0", cwd=tmp_path).stderr
    result = charrnn("train", "data", "--out", "run", *SIZES, "--embed", "4", "--steps", "3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    result = charrnn("sample", "run", "--length", "20", "--prompt", "\U00010400中 ", cwd=tmp_path)
    assert result.stdout.startswith("\U00010400中 "), result.stderr
    assert len(result.stdout.removesuffix("\n")) >= 23


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGHUP, signal.SIGTERM)])
def test_a_signal_ends_prepare_without_a_trace(tmp_path, numbers):
    """Entropies and xz take seconds on this text: the signal comes while the folder is half made."""
    rng = random.Random(0)
    (tmp_path / "big.txt").write_bytes(rng.randbytes(3_000_000).hex().encode())
    process = begin("prepare", "big.txt", "--out", "data", cwd=tmp_path)
    while not list(tmp_path.glob(".data.*")):
        assert process.poll() is None
        time.sleep(0.005)
    send_together(process, *numbers)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + numbers[0]
    assert said == b"charrnn: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["big.txt"]


@pytest.mark.parametrize(
    "command_line", [("eval", "plain-run", "-"), ("score", "plain-run"), ("novelty", "plain-run", "-")]
)
def test_a_signal_ends_a_command_that_waits_for_its_text(shop, command_line):
    process = begin(*command_line, cwd=shop, stdin=subprocess.PIPE)
    process.stdin.write(b"the cat")
    process.stdin.flush()
    unread = bytearray(4)
    while fcntl.ioctl(process.stdin, termios.FIONREAD, unread) or any(unread):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 128 + signal.SIGTERM
    process.stdin.close()


@pytest.mark.parametrize("command_line", [("log", "plain-run"), ("gradcheck", "--layers", "1", "--hidden", "2")])
def test_a_table_for_nobody_is_a_closed_pipe(shop, command_line):
    reader, writer = os.pipe()
    os.close(reader)
    assert start(*command_line, cwd=shop, stdout=writer).returncode == 141
    os.close(writer)


def test_a_terminal_without_unicode_gets_escapes(tmp_path):
    (tmp_path / "t.txt").write_text("жук и лук\n" * 9, encoding="utf-8")
    assert charrnn("prepare", "t.txt", "--out", "data", cwd=tmp_path, PYTHONIOENCODING="ascii").returncode == 0
    shown = charrnn("info", "data", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert shown.returncode == 0, shown.stderr
    assert "\\u0443" in shown.stdout


def test_eval_reads_undecodable_bytes_and_standard_input_as_asked(shop):
    (shop / "bad.txt").write_bytes(b"the cat\xff sat\n")
    args = ("eval", "plain-run", "bad.txt", "--errors", "skip", "--json")
    read = charrnn(*args, cwd=shop)
    assert json.loads(read.stdout)["chars"] == len("the cat sat\n") - 1
    said = "undecodable bytes of bad.txt, treated as --errors says: 1"
    assert said in read.stderr
    for other in (("score", "plain-run", "bad.txt"), ("novelty", "plain-run", "bad.txt")):
        assert said in charrnn(*other, "--errors", "skip", cwd=shop).stderr
    piped = subprocess.run(
        command("eval", "plain-run", "-", "--json"),
        cwd=shop,
        env=environment(),
        input=b"the cat sat\n",
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )
    figures = json.loads(piped.stdout)
    assert figures["chars"] == len("the cat sat\n") - 1
    assert figures["bits_per_byte"] == pytest.approx(figures["bpc"])
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))


def test_bits_per_byte_of_a_text_whose_rare_characters_are_gone_are_not_known(shop):
    evaluated = charrnn("eval", "rare-run", "--json", cwd=shop)
    assert json.loads(evaluated.stdout)["bits_per_byte"] is None
    assert "bits per byte" not in charrnn("eval", "rare-run", cwd=shop).stdout


def test_bits_per_byte_count_the_bytes_of_utf8(tmp_path):
    (tmp_path / "t.txt").write_text("жук жжж\n" * 40, encoding="utf-8")
    charrnn("prepare", "t.txt", "--out", "data", cwd=tmp_path)
    charrnn("train", "data", "--out", "run", *SIZES, "--steps", "2", cwd=tmp_path)
    (tmp_path / "e.txt").write_text("жук жук", encoding="utf-8")
    figures = json.loads(charrnn("eval", "run", "e.txt", "--json", cwd=tmp_path).stdout)
    assert figures["bits_per_byte"] == pytest.approx(figures["bpc"] * 6 / 11)  # "ук жук": 6 characters, 11 bytes


def test_characters_that_are_replaced_count_with_their_own_bytes(shop):
    (shop / "other.txt").write_text("the жcat\n", encoding="utf-8")
    read = charrnn("eval", "rare-run", "other.txt", "--unknown", "replace", "--json", cwd=shop)
    figures = json.loads(read.stdout)
    assert figures["bits_per_byte"] == pytest.approx(figures["bpc"] * 8 / 9)  # "he жcat" and its end: 8, 9 bytes


def test_what_skipping_left_out_is_said(shop):
    result = charrnn("sample", "plain-run", "--prompt", "the жук", "--unknown", "skip", "--length", "5", cwd=shop)
    assert "left out 3 unknown characters of the prompt" in result.stderr
    assert result.stdout.startswith("the ")
