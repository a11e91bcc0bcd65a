"""`charrnn score`: scores against one forward pass for each text, languages told apart, bad input, the page."""

import json
import math
import os
import random
import shutil
import subprocess
from html.parser import HTMLParser

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
    open_terminal,
    prepare_and_train,
    read_to_end,
)
from networks import make
from thorough import thorough

from charrnn.cli.page import page
from charrnn.cli.score import _hardest_first, _write_page
from charrnn.cli.scored import Score, Unit
from charrnn.errors import OutputError
from charrnn.model.reader import Reader
from charrnn.model.unrolled import Unrolled
from charrnn.text.vocabulary import code_points

LENGTHS = (2, 3, 64, 65, 66, 130, 200, 7)


def alone(network, text):
    """What each symbol but the first needs, in nats, by a forward pass over this text alone."""
    unrolled = Unrolled(network, 1, len(text) - 1)
    unrolled.forward(text[:-1, None])
    unrolled.loss(text[1:, None])
    return unrolled.losses[: len(text) - 1].copy()


@pytest.mark.parametrize("streams", [1, 5, 64])
def test_texts_read_together_are_read_as_if_alone(streams):
    network = make("gru", np.float32, hidden=20, symbols=9).network
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 9, length) for length in LENGTHS * 3]
    found = [read for group in Reader(network, streams).read(texts) for read in group]
    assert [read.number for read in found] == list(range(len(texts)))
    for text, read in zip(texts, found, strict=True):
        assert np.array_equal(read.nats, alone(network, text))


def test_the_reading_of_a_long_text_can_be_ended_within_it():
    looks = iter([None, None])
    reader = Reader(make("gru", np.float32, hidden=8, symbols=9).network, 1, look=lambda: next(looks))
    with pytest.raises(StopIteration):
        reader._read([(0, np.zeros(1000, np.int32))])


@pytest.mark.parametrize("line_break", [-1, 0, 3])
def test_states_after_texts_are_those_of_each_alone(line_break):
    """Also those of a stateless model, whose state a line break clears."""
    network = make("lstm", np.float32, hidden=20, symbols=9, line_break=line_break, stateless=line_break >= 0).network
    texts = [np.random.default_rng(length).integers(0, 9, length) for length in (*LENGTHS, 0)]
    for text, state in zip(texts, Reader(network, len(texts)).states_after(texts), strict=True):
        unrolled = Unrolled(network, 1, max(1, len(text)))
        if len(text):
            unrolled.forward(text[:, None])
        for name, value in unrolled.carried.state().items():
            assert np.array_equal(state[name], value)


def lines_of(shop, *args, run="data-run"):
    result = charrnn("score", run, *args, "--json", cwd=shop.folder)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def text(shop, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat\r\n\nnoir\nt\n" + "that rat saw " * 20)
    return path


def test_each_line_has_its_score(shop, text):
    lines = lines_of(shop, str(text), "--chars")
    assert [line["text"] for line in lines] == ["the cat sat", "", "noir", "t", "that rat saw " * 20]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        assert line["file"] == str(text)
        assert line["chars"] == len(line["surprisal"]) == max(0, len(line["text"]) - 1)
        assert sum(line["surprisal"]) == pytest.approx(line["nats"] / math.log(2), abs=1e-2)
    assert [line["bpc"] is None for line in lines] == [False, True, False, True, False]


def test_a_context_makes_the_first_character_count(shop, text):
    whole = lines_of(shop, str(text), "--context", "the ")
    assert [line["chars"] for line in whole] == [11, 0, 4, 1, 260]
    (text.parent / "joined").write_text("the noir\n")
    (joined,) = lines_of(shop, str(text.parent / "joined"), "--chars")
    with_context = lines_of(shop, str(text), "--chars", "--context", "the ")[2]
    assert with_context["surprisal"] == joined["surprisal"][-4:]


def test_a_whole_file_is_scored_as_eval_reads_it(shop):
    (whole,) = lines_of(shop, "--whole", "data.txt")
    evaluated = json.loads(charrnn("eval", "data-run", "data.txt", "--json", cwd=shop.folder).stdout)
    assert whole["chars"] == evaluated["chars"]
    assert whole["bpc"] == pytest.approx(evaluated["bpc"], rel=1e-6)


def test_the_most_surprising_come_first(shop, text):
    shown = charrnn("score", "data-run", "--sort", str(text), cwd=shop.folder).stdout.splitlines()
    figures = [line.split()[0] for line in shown]
    assert [float(figure) for figure in figures[:3]] == sorted(map(float, figures[:3]), reverse=True)
    assert figures[3:] == ["-", "-"]


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["none.txt"], ["got none.txt"]),
        (["bad.txt"], ["byte 0xFF at offset 3 of bad.txt"]),
        (["empty.txt"], ["got the empty file empty.txt"]),
        (["unknown.txt"], ["'ж' (U+0436) at position 0 of line 81 of unknown.txt", "--unknown skip"]),
        (["data.txt", "--context", "ж"], ["'ж' (U+0436) at position 0 of --context"]),
        (["data.txt", "--compare", "none"], ["got none"]),
        (["data.txt", "--html", "files"], ["files"]),
        (["data.txt", "--html", "page.html", "--json"], ["expected --html alone, got --json too"]),
    ],
)
def test_what_makes_no_sense_is_answered_in_one_line(shop, args, parts):
    result = charrnn("score", "data-run", *args, cwd=shop.folder)
    result.stdout = "" if args[0] == "unknown.txt" else result.stdout
    check_failure(result, *parts)


def test_unknown_characters_are_left_out_and_counted(shop):
    result = charrnn("score", "data-run", "unknown.txt", "--unknown", "skip", cwd=shop.folder)
    assert result.returncode == 0
    assert "left out 1 unknown characters" in result.stderr


WORDS = {
    "english": "the of and to in is that for was on are with they have this from had not but what were when your said",
    "german": "der die und zu in ist dass auf war mit sie haben dies von nicht aber was waren wann dein sagte ein für",
}


def lines_in(words, count, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choice(words) for _ in range(6)) for _ in range(count)]


def test_two_small_models_tell_two_languages_apart(tmp_path):
    letters = " ".join(sorted({*"".join(WORDS.values())}))
    for name, words in WORDS.items():
        text = "\n".join([*lines_in(words.split(), 400, 1), letters])
        assert [done.returncode for done in prepare_and_train(tmp_path, text, name, "--steps", "150")] == [0, 0]
    mixed = [(line, name) for name, words in WORDS.items() for line in lines_in(words.split(), 500, 2)]
    (tmp_path / "lines").write_text("\n".join(line for line, _ in mixed) + "\n")
    result = charrnn("score", "english-run", "lines", "--compare", "german-run", "--json", cwd=tmp_path)
    scores = [json.loads(line) for line in result.stdout.splitlines()]
    right = [(score["advantage"] > 0) == (name == "english") for score, (_, name) in zip(scores, mixed, strict=True)]
    assert len(right) == 1000
    assert sum(right) >= 990


class Seen(HTMLParser):
    """The text of a page's lines, without the figures, and all its tags."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.inside = set(), "", []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if "span" in self.inside and "rt" not in self.inside:
            self.text += data


def test_a_stateless_rival_is_compared_on_what_both_models_predict(tmp_path):
    """Only the stateless one predicts the first character of a line; with a context, it reads a line break before."""
    done = prepare_and_train(tmp_path, "ann\nbob\n" * 60, "data")
    lines = charrnn("train", "data", "--out", "lines-run", "--stateless", *SIZES, "--steps", "3", cwd=tmp_path)
    assert [one.returncode for one in (*done, lines)] == [0, 0, 0]
    (tmp_path / "lines").write_text("bob\n")
    pairs = (("data-run", "lines-run"), ("lines-run", "data-run"))
    scored = [charrnn("score", one, "lines", "--compare", other, "--json", cwd=tmp_path) for one, other in pairs]
    one, other = (json.loads(done.stdout) for done in scored)
    assert one["chars"] == other["chars"] == 2
    assert (one["nats"], one["other_nats"]) == (other["other_nats"], other["nats"])
    (tmp_path / "ends").write_text("ob\n")
    asked = (("lines",), ("ends", "--context", "b"))
    whole, end = (charrnn("score", "lines-run", *more, "--chars", "--json", cwd=tmp_path) for more in asked)
    assert json.loads(end.stdout)["surprisal"] == json.loads(whole.stdout)["surprisal"][1:]


def test_models_of_other_forms_are_compared_with_a_warning(tmp_path):
    for name, option in (("plain", ()), ("lower", ("--lowercase",))):
        (tmp_path / f"{name}.txt").write_text("Ann Went home, went.\n" * 60)
        assert charrnn("prepare", f"{name}.txt", "--out", name, *option, cwd=tmp_path).returncode == 0
        run = ("train", name, "--out", f"{name}-run", *SIZES, "--steps", "2")
        assert charrnn(*run, cwd=tmp_path).returncode == 0
    compared = charrnn("score", "lower-run", "plain.txt", "--compare", "plain-run", "--unknown", "skip", cwd=tmp_path)
    assert compared.returncode == 0
    assert "the text of plain-run was prepared with another --lowercase" in compared.stderr
    compare = ("score", "lower-run", "plain.txt", "--compare", "plain-run", "--unknown", "skip", "--json")
    upper, lower = (charrnn(*compare, "--context", word, cwd=tmp_path).stdout for word in ("Went ", "went "))
    assert upper == lower, "in the form of the first model, both contexts are the same"


def test_models_of_other_levels_are_not_compared(shop, bytes_shop):
    rival = bytes_shop.folder / "data-run"
    result = charrnn("score", "data-run", "data.txt", "--compare", str(rival), cwd=shop.folder)
    check_failure(result, "two models of level char to --compare", "of level byte")


def test_two_models_are_compared_on_what_both_of_them_know(tmp_path):
    """A model that leaves out a line would predict it for nothing."""
    for name, letters in (("few", "ab"), ("many", "abc")):
        done = prepare_and_train(tmp_path, f"{letters} " * 200, name)
        assert [one.returncode for one in done] == [0, 0]
    (tmp_path / "lines").write_text("acab\n")
    (tmp_path / "without").write_text("aab\n")
    scored = [
        charrnn("score", *models, "--unknown", "skip", "--json", cwd=tmp_path)
        for models in (
            ("few-run", "lines", "--compare", "many-run"),
            ("many-run", "lines", "--compare", "few-run"),
            ("few-run", "without", "--compare", "many-run"),
        )
    ]
    one, other, without = (json.loads(done.stdout) for done in scored)
    assert one | {"file": ""} == without | {"file": ""}
    assert other["advantage"] == -one["advantage"]
    assert [done.stderr.count("left out 1 unknown characters") for done in scored] == [1, 1, 0]
    lacking = charrnn("score", "many-run", "lines", "--compare", "few-run", cwd=tmp_path)
    check_failure(lacking, "line 1 of lines for few-run")


@pytest.mark.parametrize(
    ("codes", "nats", "pieces"),
    [
        ("ab", [2.0], [("a", None), ("b", 2.0)]),
        ("aé€".encode(), [1.0, 2.0, 3.0, 4.0, 5.0], [("a", None), ("é", 3.0), ("€", 12.0)]),
        ("éa".encode(), [2.0, 1.0], [("é", 2.0), ("a", 1.0)]),
        (b"a\xc3b\xff\xe2\x82", [1.0] * 5, [("a", None), ("\ufffdb", 2.0), ("\ufffd", 1.0), ("\ufffd", 2.0)]),
        (b"", [], []),
    ],
)
def test_a_character_is_as_surprising_as_all_its_bytes(codes, nats, pieces):
    bytewise = isinstance(codes, bytes)
    read = np.frombuffer(codes, np.uint8) if bytewise else code_points(codes)
    score = Score(Unit("a", 1, read), np.array(nats), bytewise=bytewise)
    assert list(score.pieces()) == pieces
    assert score.text == (codes.decode("utf-8", "surrogateescape") if bytewise else codes)


def test_a_model_of_bytes_shows_characters_of_several_bytes(bytes_shop, tmp_path):
    (tmp_path / "text").write_text("ééé\n")
    html = ("--html", str(tmp_path / "page.html"))
    result = charrnn("score", "data-run", str(tmp_path / "text"), *html, "--unknown", "skip", cwd=bytes_shop.folder)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "page.html").read_text().count("é") == 3


def test_a_page_that_cannot_be_written_is_told_before_the_scoring(tmp_path):
    def scored():
        raise AssertionError("nothing was to be scored")
        yield

    with pytest.raises(OutputError):
        _write_page(tmp_path / "none" / "page.html", _hardest_first(scored()))


def test_what_was_left_out_is_not_shown_either(shop, tmp_path):
    """So each character has its own surprisal, wherever unknown ones stand."""
    (tmp_path / "text").write_text("aжb\nab\n")
    result = charrnn("score", "data-run", str(tmp_path / "text"), "--unknown", "skip", "--json", cwd=shop.folder)
    with_unknown, without = (json.loads(line) for line in result.stdout.splitlines())
    assert with_unknown == without | {"line": 1}


def test_the_page_escapes_whatever_stands_in_a_text():
    text = "<script>alert('x')</script> & \x1b[31m\u202e é"
    nats = np.linspace(0, 9, len(text) - 1)
    seen = Seen()
    seen.feed("".join(page([Score(Unit("a", 1, code_points(text)), nats)])).split("<body>")[1])
    assert "script" not in seen.tags
    assert seen.text == text.replace("\x1b", "\u241b").replace("\u202e", "\ufffd")


BROWSER = shutil.which("chromium")
QUIETLY = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@thorough
@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
def test_a_browser_shows_the_page_and_runs_nothing_of_it(tmp_path):
    """What it has made of the page, after all scripts there might be have run."""
    text = "<script>document.title = 'x'</script><img src=x onerror=\"document.title='y'\"> & é"
    nats = np.linspace(0, 9, len(text) - 1)
    out = tmp_path / "page.html"
    out.write_text("".join(page([Score(Unit("a", 1, code_points(text)), nats)])))
    command = [BROWSER, *QUIETLY, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", out.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    seen = Seen()
    seen.feed(shown.split("<body>")[1])
    assert seen.text == text
    assert not {"script", "img"} & seen.tags
    assert "<title>Surprisal of each character</title>" in shown


def test_the_command_writes_the_page_whole(shop, text):
    out = text.parent / "page.html"
    result = charrnn("score", "data-run", str(text), "--html", str(out), cwd=shop.folder)
    assert (result.returncode, result.stdout) == (0, "")
    content = out.read_text()
    assert content.startswith("<!DOCTYPE html>")
    assert content.endswith("</html>\n")
    assert "http" not in content


def test_a_page_replaces_no_text_and_no_checkpoint(shop, text, tmp_path):
    for name in ("data.txt", "data-run/best.npz"):
        before = (shop.folder / name).read_bytes()
        result = charrnn("score", "data-run", str(text), "--html", name, cwd=shop.folder)
        check_failure(result, f"an older page for --html, got {name}")
        assert (shop.folder / name).read_bytes() == before
    (tmp_path / "page.html").write_text("".join(page([])))
    (tmp_path / "link.html").symlink_to("page.html")
    linked = charrnn("score", "data-run", str(text), "--html", str(tmp_path / "link.html"), cwd=shop.folder)
    assert linked.returncode == 0
    assert (tmp_path / "link.html").is_symlink()
    piped = charrnn("score", "data-run", str(text), "--html", "-", cwd=shop.folder)
    assert piped.stdout == (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}])
def test_colours_are_for_terminals_and_nothing_in_a_text_commands_them(bytes_shop, tmp_path, no_color):
    (tmp_path / "text").write_bytes(b"\x1b[31mred\x07\n")
    reader, terminal = open_terminal()
    args = ("score", "data-run", str(tmp_path / "text"), "--chars")
    process = begin(*args, cwd=bytes_shop.folder, env=environment(**no_color), stdout=terminal)
    os.close(terminal)
    shown = read_to_end(reader)
    assert process.wait(TIMEOUT) == 0
    assert b"\x07" not in shown
    assert b"\x1b[31mred" not in shown
    if no_color:
        assert json.loads(shown)["text"] == "\x1b[31mred\x07"
        assert b"\x1b" not in shown
    else:
        assert b"\\x1b" in shown
        assert b"\x1b[" in shown


def test_the_examples_of_the_help_work(tmp_path):
    for name in ("run", "english", "german"):
        prepare_and_train(tmp_path, "Ann went home.\nBob did not.\n" * 60, "data")
        (tmp_path / "data-run").rename(tmp_path / name)
        for path in tmp_path.glob("data*"):
            path.rename(tmp_path / f"{name}-{path.name}")
    for name in ("names.txt", "poem.txt", "novel.txt", "lines.txt"):
        (tmp_path / name).write_text("Ann went home.\nBob did.\n")
    for example in examples_of("score", tmp_path):
        done = charrnn(*example.split()[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout
