"""`charrnn sample` as a user runs it."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers_cli import (
    SIZES,
    TIMEOUT,
    begin,
    charrnn,
    check_failure,
    environment,
    examples_of,
    interrupt_when,
    prepare_and_train,
)
from shop import BYTES, TEXT, rewrite
from texts import check_message

from charrnn.cli import sample
from charrnn.cli.prompts import unescaped
from charrnn.cli.sample import USUAL_LINE, _usual_length
from charrnn.errors import ConfigError
from charrnn.model.config import ModelConfig
from charrnn.sampling.texts import Ending
from charrnn.text.reading import TextForm
from charrnn.text.vocabulary import Vocabulary


def sample_json(folder, *args, run="data-run"):
    result = charrnn("sample", run, "--json", *args, cwd=folder)
    assert result.returncode == 0, result.stderr
    found = sorted(map(json.loads, result.stdout.splitlines()), key=lambda line: line["index"])
    return [line["text"] for line in found]


def test_length_counts_the_characters_after_the_prompt(shop):
    prompt = "the café"
    (text,) = sample_json(shop.folder, "--length", "70", "--prompt", prompt)
    assert text.startswith(prompt)
    assert len(text) == len(prompt) + 70
    assert set(text) <= set(TEXT)
    shown = charrnn("sample", "data-run", "--length", "70", "--prompt", prompt, cwd=shop.folder)
    assert shown.stdout == text.removesuffix("\n") + "\n"
    assert shown.stderr == ""


def test_the_same_seed_gives_the_same_text_with_any_threads_and_count(shop):
    three = sample_json(shop.folder, "--length", "50", "--seed", "5", "--count", "3", "--threads", "1")
    assert [len(text) for text in three] == [50] * 3
    assert len(set(three)) == 3
    assert sample_json(shop.folder, "--length", "50", "--seed", "5", "--count", "3", "--threads", "2") == three
    assert sample_json(shop.folder, "--length", "50", "--seed", "5") == three[:1]
    assert sample_json(shop.folder, "--length", "50", "--seed", "6") != three[:1]


def test_a_shorter_sample_is_the_beginning_of_a_longer_one(shop):
    (short,), (long,) = (sample_json(shop.folder, "--length", length) for length in ("33", "90"))
    assert long.startswith(short)


def test_temperature_zero_does_not_depend_on_the_seed(shop):
    texts = [sample_json(shop.folder, "--length", "50", "--temperature", "0", "--seed", seed) for seed in "12"]
    assert texts[0] == texts[1]


def test_several_texts_come_one_after_the_other_below_headings(shop):
    texts = sample_json(shop.folder, "--length", "20", "--count", "2")
    result = charrnn("sample", "data-run", "-n", "20", "--count", "2", cwd=shop.folder)
    shown = [text.removesuffix("\n") + "\n" for text in texts]
    assert result.stdout == f"--- 1 of 2 ---\n{shown[0]}--- 2 of 2 ---\n{shown[1]}"
    assert result.stderr == ""


def test_a_byte_level_model_takes_and_gives_any_bytes(bytes_shop):
    assert json.loads(bytes_shop.prepared.stdout)["characters"] == len(BYTES)
    args = ("sample", "data-run", "--length", "300", "--prompt", b"\xff\xfe\x80a")
    charrnn(*args, cwd=bytes_shop.folder, text=False)  # compiles the kernels, which prints a line
    result = charrnn(*args, cwd=bytes_shop.folder, text=False)
    assert (result.stderr, result.returncode) == (b"", 0)
    assert result.stdout.startswith(b"\xff\xfe\x80a")
    assert len(result.stdout) == 4 + 300 + (result.stdout[303:304] != b"\n")
    assert max(result.stdout[4:]) > 0x7F


def test_a_reader_that_goes_away_ends_sampling_without_a_word(shop):
    sampled(shop, "--length", "1")  # compiles the kernels, which prints a line
    process = begin("sample", "data-run", "--length", "100000000", cwd=shop.folder, stdout=subprocess.PIPE)
    assert len(process.stdout.read(10)) == 10
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(TIMEOUT) == 141


def test_ctrl_c_ends_sampling_with_130(shop, tmp_path):
    shown = tmp_path / "shown"
    with shown.open("wb") as file:
        process = begin("sample", "data-run", "--length", "100000000", cwd=shop.folder, stdout=file, text=True)
    message, status = interrupt_when(process, lambda: shown.stat().st_size > 0)
    assert status == 130
    assert "Traceback" not in message


def sampled(shop, *args, run="data-run"):
    result = charrnn("sample", run, *args, cwd=shop.folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_each_json_line_says_all_of_its_text(shop):
    result = charrnn("sample", "data-run", "--json", "-n", "30", "--count", "5", "--batch", "2", cwd=shop.folder)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(line["index"] for line in lines) == list(range(5))
    for line in lines:
        assert set(line) == {"text", "log_probability", "bpc", "stopped", "seed", "index"}
        assert line["bpc"] == pytest.approx(-line["log_probability"] / math.log(2) / 30)
        assert line["stopped"] == "length"


def test_texts_end_at_stops_and_lines(shop):
    text = sampled(shop, "-n", "2000", "--stop", "at", "--stop", "\n")
    assert "at" not in text
    assert text.count("\n") == 1
    assert sampled(shop, "-n", "2000", "--stop", "at", "--keep-stop").endswith("at\n")
    assert sampled(shop, "--lines", "3").count("\n") == 3
    assert sampled(shop, "--stop", r"\n", "--escapes", "--keep-stop").count("\n") == 1


def test_words_that_the_model_cannot_write_are_left_out_if_asked(shop, tmp_path):
    (tmp_path / "words").write_text("cat\nжук\nthe\n")
    args = ("sample", "data-run", "-n", "60", "--words", str(tmp_path / "words"))
    check_failure(charrnn(*args, cwd=shop.folder), "'ж' (U+0436)", "line 2")
    done = charrnn(*args, "--unknown", "skip", cwd=shop.folder)
    assert "left out 1 words" in done.stderr
    words = re.split("[^cathe]+", done.stdout)[:-1]
    assert {"cat", "the"} <= set(words) <= {"cat", "the", ""}, done.stdout


def test_empty_texts_have_their_lines_too(shop):
    assert sampled(shop, "--count", "3", "--pattern", "", "--escapes", "--separator", r"\n") == "\n\n\n"


def test_lines_of_the_usual_length_are_expected():
    """A text that may be longer is refused for lack of memory only if this length is too much."""
    ending = Ending(5_000_000, lines=5000)
    assert _usual_length(None, ending) == 5000 * USUAL_LINE
    assert _usual_length(5_000_000, ending) == _usual_length(None, Ending(5_000_000)) == 5_000_000


@pytest.mark.parametrize(
    ("stateless", "length", "lines", "stops", "want"),
    [
        (False, None, None, [], (1000, 0)),
        (True, None, None, [], (20_000, 20)),
        (True, None, None, ["a"], (1000, 0)),
        (True, 7, None, [], (7, 0)),
        (False, None, 3, [], (3000, 3)),
        (False, 70, 3, [], (70, 3)),
    ],
)
def test_where_a_text_ends_if_nothing_else_is_said(stateless, length, lines, stops, want):
    vocabulary = Vocabulary("char", [ord(character) for character in "\t\na"])
    checkpoint = SimpleNamespace(vocabulary=vocabulary, model=SimpleNamespace(stateless=stateless), form=TextForm())
    ending = sample._ending(checkpoint, length, lines, stops, False)
    assert (ending.length, ending.lines) == want


def test_words_come_from_a_pipe_too(shop):
    """As <(command) of a shell gives it."""
    reader, writer = os.pipe()
    os.write(writer, b"cat\nsaw\nthe\n")
    os.close(writer)
    drawn = subprocess.run(
        [sys.executable, "-m", "charrnn", "sample", "data-run", "-n", "60", "--words", f"/dev/fd/{reader}"],
        cwd=shop.folder,
        env=environment(),
        pass_fds=[reader],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    os.close(reader)
    assert drawn.returncode == 0, drawn.stderr
    assert set(re.findall("[cathesw]+", drawn.stdout)[:-1]) <= {"cat", "saw", "the"}


def test_a_byte_order_mark_and_halves_of_characters_are_no_text(shop, tmp_path):
    (tmp_path / "prompts").write_bytes(b"\xef\xbb\xbfthe cat\n")
    assert sampled(shop, "--prompts", str(tmp_path / "prompts"), "-n", "5").startswith("the cat")
    joined = sampled(shop, "--count", "2", "-n", "3", "--raw", "--escapes", "--separator", r"\ud83d\ude00")
    assert joined.count("\N{GRINNING FACE}") == 1
    half = charrnn("sample", "data-run", "--escapes", "--prompt", r"\ud83d", cwd=shop.folder)
    check_failure(half, "--escapes of whole characters")
    assert unescaped("\udcff" + r"\n\udc80") == "\udcff\n\udc80"  # undecodable bytes


def test_a_ban_may_name_what_the_model_does_not_know(shop):
    assert sampled(shop, "-n", "50", "--ban", "жe") == sampled(shop, "-n", "50", "--ban", "e")


def test_prompts_come_from_files_and_standard_input(shop, tmp_path):
    (tmp_path / "prompts").write_text("the cat\nrat\n\nnoir café\n")
    lines = sampled(shop, "--prompts", str(tmp_path / "prompts"), "-n", "5", "--separator", "|", "--ban", "\n")
    assert re.fullmatch("the cat.{5}\\|rat.{5}\\|.{5}\\|noir café.{5}\n", lines)
    (tmp_path / "one").write_text("the cat\nsat")
    assert sampled(shop, "--prompt-file", str(tmp_path / "one"), "-n", "5").startswith("the cat\nsat")
    command = [sys.executable, "-m", "charrnn", "sample", "data-run", "--prompt-file", "-", "-n", "5"]
    piped = subprocess.run(command, cwd=shop.folder, input="a rat", capture_output=True, text=True, check=True)
    assert piped.stdout.startswith("a rat")
    assert sampled(shop, "--prompt", r"a\u0074\n", "--escapes", "-n", "5").startswith("at\n")


def test_bytes_that_a_model_knows_come_from_files_too(tmp_path):
    (tmp_path / "text").write_bytes(b"noir caf\xe9\n" * 90)
    assert charrnn("prepare", "text", "--out", "data", "--errors", "surrogateescape", cwd=tmp_path).returncode == 0
    assert charrnn("train", "data", "--out", "run", *SIZES, "--steps", "2", cwd=tmp_path).returncode == 0
    (tmp_path / "prompt").write_bytes(b"caf\xe9")
    for option in ("--prompt-file", "--prompts"):
        sampled = charrnn("sample", "run", option, "prompt", "-n", "5", cwd=tmp_path, text=False)
        assert sampled.returncode == 0, sampled.stderr
        assert sampled.stdout.startswith(b"caf\xe9")


def test_constraints_of_the_command_line(shop, tmp_path):
    assert not set("aeé") & set(sampled(shop, "-n", "300", "--ban", "aeé"))
    assert set(sampled(shop, "-n", "300", "--allow", "cat ")) <= set("cat \n")
    (tmp_path / "words").write_text("cat\nsaw\nthe\n")
    text = sampled(shop, "-n", "300", "--words", str(tmp_path / "words"))
    assert set(re.findall("[cathesw]+", text)[:-1]) == {"cat", "saw", "the"}
    banned = (*("--words", str(tmp_path / "words")), "--ban", "we")
    assert set(re.findall("[cathesw]+", sampled(shop, "-n", "300", *banned))[:-1]) == {"cat"}
    check_failure(charrnn("sample", "data-run", *banned[:2], "--ban", "ae", cwd=shop.folder), "without banned", "none")


def test_texts_whose_recent_characters_need_too_much_memory_are_refused(monkeypatch):
    monkeypatch.setattr(sample.runtime, "available_memory", lambda: 2**30)
    texts = ModelConfig(20, hidden=8, layers=1), 2000, 5, "float32"
    sample._refuse_too_large(*texts, window=0)
    with pytest.raises(ConfigError) as error:
        sample._refuse_too_large(*texts, window=1_000_000)
    check_message(error, "free memory", "7.6 GB", "--repetition-window")


def test_the_window_of_the_penalty_changes_the_text(shop):
    penalty = ("-n", "300", "--repetition-penalty", "2")
    assert sampled(shop, *penalty, "--repetition-window", "64") == sampled(shop, *penalty)
    assert sampled(shop, *penalty, "--repetition-window", "1") != sampled(shop, *penalty)


def test_rules_change_the_text_and_the_likeliest_is_taken(shop):
    plain = sampled(shop, "-n", "200")
    for option in (("--top-k", "2"), ("--top-p", "0.3"), ("--min-p", "0.4"), ("--typical", "0.2"),
                   ("--repetition-penalty", "3"), ("--temperature", "0.3")):  # fmt: skip
        assert sampled(shop, "-n", "200", *option) != plain
    every, best = (sampled(shop, "-n", "20", "--json", *more) for more in (("--count", "9"), ("--best-of", "9")))
    likeliest = max((json.loads(line) for line in every.splitlines()), key=lambda line: line["log_probability"])
    assert json.loads(best)["text"] == likeliest["text"]


def test_the_examples_of_the_help_work(tmp_path):
    prepare_and_train(tmp_path, "Once there was a cat.\nIt sat.\n" * 60, "data")
    (tmp_path / "data-run").rename(tmp_path / "run")
    for example in examples_of("sample", tmp_path):
        done = charrnn(*shlex.split(example)[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--top-k", "-1"], ["--top-k from 0 to 2,147,483,647, got -1"]),
        (["--top-p", "0"], ["--top-p above 0 and up to 1, got 0"]),
        (["--min-p", "1.5"], ["--min-p from 0 to 1, got 1.5"]),
        (["--typical", "nan"], ["--typical above 0 and up to 1, got nan"]),
        (["--repetition-penalty", "0"], ["--repetition-penalty above 0", "got 0"]),
        (["--repetition-window", "1000001"], ["--repetition-window of at most 1,000,000, got 1,000,001"]),
        (["--batch", "0"], ["--batch of at least 1, got 0"]),
        (["--best-of", "-2"], ["--best-of of at least 1, got -2"]),
        (["--lines", "0"], ["--lines of at least 1, got 0"]),
        (["--stop", ""], ["--stop TEXT of one character or more"]),
        (["--stop", "ж"], ["--stop of characters that the model knows, got 'ж'"]),
        (["--allow", "ж"], ["--allow to leave some character, got none"]),
        (["--ban", "".join(sorted(set(TEXT)))], ["--ban to leave some character"]),
        (["--ban", "a", "--allow", "b"], ["one of --ban and --allow, got both"]),
        (["--prompt", "a", "--prompts", "-"], ["one of --prompt and --prompts, got both"]),
        (["--words", "none"], ["a file with text, got none"]),
        (["--words", "empty.txt"], ["words in empty.txt", "got none"]),
        (["--prompts", "empty.txt"], ["prompts in empty.txt", "got none"]),
        (["--prompt-file", "bad.txt"], ["text in UTF-8, got byte 0xFF at byte 3 of the prompt in bad.txt"]),
        (["--prompts", "unknown.txt"], ["'ж' (U+0436) at position 0 of line 81 of unknown.txt"]),
        (["--escapes", "--prompt", r"\q"], [r"--escapes such as \n", r"got '\\q'"]),
        (["--beam", "3", "--top-k", "2"], ["one of --beam and --top-k, got both"]),
        (["--beam", "-3"], ["--beam of at least 1, got -3"]),
        (["--count", "0"], ["--count of at least 1, got 0"]),
    ],
)
def test_what_makes_no_sense_is_answered_in_one_line(shop, args, parts):
    check_failure(charrnn("sample", "data-run", *args, cwd=shop.folder), *parts)


def test_a_beam_finds_a_likelier_text_than_the_greedy_one(shop, tmp_path):
    """With a model of large weights: one of small weights writes its most frequent character again and again."""
    last = shop.run / "last.npz"
    with np.load(last) as file:
        large = {f"parameters/{name}": 10 * file[f"parameters/{name}"] for name in ("layer0.W_x", "layer0.W_h", "W_y")}
    rewrite(last, tmp_path / "large.npz", **large)

    def text(*options):
        return charrnn("sample", "large.npz", "-n", "40", *options, cwd=tmp_path).stdout

    one, many = (json.loads(text("--json", "--beam", width)) for width in ("1", "12"))
    assert one["text"] == text("--temperature", "0").removesuffix("\n")
    assert many["log_probability"] > one["log_probability"]
