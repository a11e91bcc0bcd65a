"""`charrnn novelty` as a user runs it."""

import json
import shutil

import pytest
from helpers_cli import charrnn, check_failure, examples_of, prepare_and_train
from shop import TEXT


def novelty(shop, *args):
    result = charrnn("novelty", "data-run", *args, "--json", cwd=shop.folder)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_training_text_is_not_new_and_is_found_where_it_stands(shop, tmp_path):
    train = TEXT[: int(0.9 * len(TEXT))]
    (tmp_path / "old").write_text(train[100:160])
    found = novelty(shop, str(tmp_path / "old"))
    assert found["new"] == {"4": 0, "8": 0, "16": 0, "32": 0}
    assert (found["longest"], found["chars"]) == (60, 60)
    (passage,) = found["passages"]
    assert train[passage["train_start"] :].startswith(passage["text"])
    assert passage["text"] == train[100:160]


def test_shares_are_those_of_a_search_in_the_training_text(shop, tmp_path):
    train = TEXT[: int(0.9 * len(TEXT))]
    text = "the cat was a rat that saw noir drunk and the mat where was a cat"
    (tmp_path / "text").write_text(text)
    found = novelty(shop, str(tmp_path / "text"))
    for n in (4, 8, 16, 32):
        grams = [text[k : k + n] for k in range(len(text) - n + 1)]
        assert found["new"][str(n)] == pytest.approx(sum(gram not in train for gram in grams) / len(grams))
    assert found["held_out"]["chars"] == len(text)


def test_a_text_is_drawn_when_none_is_given(shop):
    one, two, other = (novelty(shop, "-n", "300", "--seed", seed) for seed in ("1", "1", "2"))
    assert one == two != other
    assert one["chars"] == 300
    shown = charrnn("novelty", "data-run", "-n", "300", "--passages", "2", cwd=shop.folder)
    assert shown.stdout.count(" characters, there from ") == 2
    assert "drawn, 300 characters" in shown.stdout


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["none.txt"], ["got none.txt"]),
        (["empty.txt"], ["empty file empty.txt"]),
        (["unknown.txt"], ["'ж' (U+0436)", "unknown.txt"]),
        (["--length", "0"], ["--length of at least 1", "got 0"]),
        (["--length", str(10**14)], ["free memory", "got --length 100,000,000,000,000"]),
        (["--seed", "-1"], ["--seed from 0 to 2^63 - 1, got -1"]),
        (["files"], ["got files, which is a folder"]),
        (["data.txt", "--length", "9"], ["--length without a FILE, got data.txt too"]),
        (["--unknown", "skip"], ["--unknown with a FILE, got it without"]),
        (["--passages", "-1"], ["--passages of 0 or more, got -1; try --passages 5"]),
        (["--temperature", "-1"], ["--temperature from 0 to 100, got -1"]),
    ],
)
def test_what_makes_no_sense_is_answered_in_one_line(shop, args, parts):
    check_failure(charrnn("novelty", "data-run", *args, cwd=shop.folder), *parts)


def test_a_checkpoint_without_its_run_or_with_other_data_is_refused(shop, tmp_path):
    shutil.copy(shop.run / "last.npz", tmp_path / "last.npz")
    check_failure(charrnn("novelty", "last.npz", cwd=tmp_path), "a RUN folder, or a checkpoint in it")
    prepare_and_train(tmp_path, TEXT, "data")
    (tmp_path / "data").rename(tmp_path / "moved")
    check_failure(charrnn("novelty", "data-run", cwd=tmp_path), "does not exist; try naming them: --data DATA")
    named = charrnn("novelty", "data-run", "--data", "moved", "--length", "50", cwd=tmp_path)
    assert named.returncode == 0, named.stderr
    (tmp_path / "moved").rename(tmp_path / "data")
    assert charrnn("prepare", "data.txt", "--out", "data", "--val", "0.3", "--force", cwd=tmp_path).returncode == 0
    check_failure(charrnn("novelty", "data-run", cwd=tmp_path), "prepared anew from another text or split")


def test_the_examples_of_the_help_work(tmp_path):
    prepare_and_train(tmp_path, TEXT, "data")
    (tmp_path / "data-run").rename(tmp_path / "run")
    (tmp_path / "sampled.txt").write_text("the cat sat")
    examples = examples_of("novelty", tmp_path)
    for example in examples[:2]:
        done = charrnn(*example.split()[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert examples[2] == "charrnn sample run --length 5000 | charrnn novelty run - --json"  # run by test_docs
