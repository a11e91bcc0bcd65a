"""Prompts and continuations in turn: what the model says depends on all of the text so far."""

import os
import signal
import subprocess

import numpy as np
import pytest
from helpers_cli import (
    SIZES,
    TIMEOUT,
    charrnn,
    check_failure,
    command,
    environment,
    open_terminal,
    read_some,
    read_to_end,
)
from networks import make
from test_texts import texts_of

from charrnn.sampling.conversation import Conversation
from charrnn.sampling.rule import Rule
from charrnn.sampling.sampler import Sampler
from charrnn.sampling.texts import Ending

PROMPTS = [np.array([3, 4, 5]), np.array([], np.int64), np.array([2] * 300), np.array([7])]
ENDINGS = [Ending(70), Ending(5), Ending(90, (np.array([1]),)), Ending(30, lines=1, line_break=0)]
BEGINNING = np.array([1])


@pytest.fixture(scope="module")
def m():
    """A network whose likeliest text changes with what was before."""
    made = make("lstm", np.float32, hidden=20, symbols=9)
    for _, values in made.network.parameters.items():
        values[:] = values * (10 if values.ndim == 2 else 1)
    made.network.pack()
    return made


@pytest.mark.parametrize("rule", [Rule(0.0), Rule(0.0, repetition_penalty=1.3)])
def test_each_turn_follows_from_the_whole_text_before_it(m, rule):
    conversation = Conversation(m.network, Sampler(m.network, 1, rule, window=7), BEGINNING)
    text = BEGINNING
    for prompt, ending in zip(PROMPTS, ENDINGS, strict=True):
        pieces = []
        found = conversation.turn(prompt, ending, pieces.append)
        text = np.concatenate([text, prompt])
        (wanted,) = texts_of(m, 1, ending, 1, prompts=(tuple(text),), rule=rule, window=7)
        said = np.concatenate(pieces)
        np.testing.assert_array_equal(said, wanted.drawn)
        assert found.stopped == wanted.stopped
        text = np.concatenate([text, said])
    assert len(set(text.tolist())) > 4


def test_turns_draw_other_numbers_and_a_seed_and_a_reset_begin_anew(m):
    conversation = Conversation(m.network, Sampler(m.network, 1, seed=5), BEGINNING)
    answers = []
    for seed in (None, None, 5, 6):
        if seed is not None:
            conversation.set_seed(seed)
        conversation.reset()
        pieces = []
        conversation.turn(PROMPTS[0], Ending(40), pieces.append)
        answers.append(np.concatenate(pieces).tolist())
    (first,) = texts_of(m, 1, Ending(40), 1, prompts=((1, 3, 4, 5),), seed=5)
    assert answers[0] == first.drawn.tolist()
    assert answers[2] == answers[0]
    assert len(set(map(tuple, answers))) == 3


def test_a_turn_that_is_interrupted_ends_with_what_was_shown(m):
    conversation = Conversation(m.network, Sampler(m.network, 1, Rule(0.0)), BEGINNING)
    shown = []

    def show(piece):
        shown.append(piece)
        if len(shown) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        conversation.turn(PROMPTS[0], Ending(1000), show)
    text = np.concatenate([BEGINNING, PROMPTS[0], *shown])
    (wanted,) = texts_of(m, 1, Ending(20), 1, prompts=(tuple(text),), rule=Rule(0.0))
    pieces = []
    conversation.turn(PROMPTS[1], Ending(20), pieces.append)
    np.testing.assert_array_equal(np.concatenate(pieces), wanted.drawn)


def test_a_session_from_a_pipe(shop):
    """Answers on standard output, all else on standard error; what is wrong is said, and the session goes on."""
    lines = ["the cat", "/temperature 0", "/nothing", "/length many", "the \u0416", "", "/reset", "the cat", "/help"]
    words = command("sample", "data-run", "--interactive", "--length", "9", "--seed", "3")
    text = "\n".join(lines) + "\n"
    whole = subprocess.run(words, cwd=shop.folder, input=text, capture_output=True, text=True, check=False)
    assert whole.returncode == 1, whole.stderr  # since some lines were refused
    drawn, greedy = (
        charrnn("sample", "data-run", "--length", "9", *rule, "--prompt", "the cat", cwd=shop.folder)
        for rule in (("--seed", "3"), ("-t", "0"))
    )
    assert len(set(drawn.stdout.removeprefix("the cat"))) > 3
    assert whole.stdout.startswith(drawn.stdout.removeprefix("the cat"))
    assert whole.stdout.endswith(greedy.stdout.removeprefix("the cat"))
    assert len(whole.stdout) == 3 * (9 + len("\n")) and len(whole.stdout.split("\n")) >= 4
    for word in ("got /nothing", "got 'many'", "\u0416", "/quit"):
        assert word in whole.stderr


def test_a_seed_repeats_a_text_and_quit_ends_the_session(shop):
    text = "/seed 5\nthe cat\nthe cat\n/reset\n/seed 5\nthe cat\n/quit\n/nothing\n"
    words = command("sample", "data-run", "--interactive", "--length", "30")
    whole = subprocess.run(words, cwd=shop.folder, input=text, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    first, second, third = (whole.stdout[k : k + 31] for k in (0, 31, 62))
    assert first == third != second


def test_a_prompt_that_begins_with_a_slash_is_typed_with_two(tmp_path):
    """And a conversation begins as after a line break."""
    (tmp_path / "text").write_text("/usr/bin and /bin\n" * 40)
    assert charrnn("prepare", "text", "--out", "data", cwd=tmp_path).returncode == 0
    assert charrnn("train", "data", "--out", "run", *SIZES, "--steps", "20", cwd=tmp_path).returncode == 0
    words = command("sample", "run", "--interactive", "--length", "20")
    whole = subprocess.run(words, cwd=tmp_path, input="//bin\n", capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    sampled = charrnn("sample", "run", "--length", "20", "--prompt", r"\n/bin", "--escapes", cwd=tmp_path)
    assert whole.stdout == sampled.stdout.removeprefix("\n/bin")


def test_a_constraint_that_leaves_no_character_is_told(shop, tmp_path):
    (tmp_path / "words").write_text("cat\nsaw\n")
    words = command("sample", "data-run", "--interactive", "--words", str(tmp_path / "words"), "--allow", "cat")
    whole = subprocess.run(words, cwd=shop.folder, input="the \n", capture_output=True, text=True, check=False)
    assert whole.stdout == "cat\n"
    assert "the constraint left no character" in whole.stderr


def test_options_that_go_with_many_texts_are_refused(shop):
    for words in (("--count", "2"), ("--json",), ("--prompt", "a")):
        result = charrnn("sample", "data-run", "--interactive", *words, cwd=shop.folder)
        check_failure(result, "--interactive", words[0])


def test_ctrl_c_ends_a_continuation_and_not_the_session_on_a_terminal(shop):
    """What is typed after it is answered; Ctrl-D ends with status 0."""
    reader, terminal = open_terminal()
    words = command("sample", "data-run", "--interactive", "--length", "1000000")
    process = subprocess.Popen(
        words,
        cwd=shop.folder,
        env=environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = wait_for(reader, b"> ")
    os.write(reader, b"the cat\n")
    shown += wait_for(reader, b"\n", more=200)
    process.send_signal(signal.SIGINT)
    shown += wait_for(reader, b"> ")
    os.write(reader, b"/length 5\nthe\n\x04")
    assert process.wait(TIMEOUT) == 0
    rest = read_to_end(reader)
    assert b"interrupted" not in shown + rest
    assert len(rest) < 500


def wait_for(reader, sign, more=0):
    """All that is shown up to a sign, and at least so many bytes."""
    shown = b""
    while sign not in shown or len(shown) < more:
        shown += read_some(reader)
    return shown
