"""`charrnn eval` as a user runs it."""

import json
import math
import shutil

import pytest
from helpers_cli import charrnn, check_failure, examples_of, prepare_and_train
from shop import TEXT


def test_eval_of_a_run_finds_the_loss_that_training_found(shop):
    result = charrnn("eval", "data-run", "--json", cwd=shop.folder)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["loss"] == pytest.approx(json.loads(shop.trained.stdout)["best_val_loss"], rel=1e-6)
    assert figures["bpc"] == pytest.approx(figures["loss"] / math.log(2))
    assert figures["chars"] == json.loads(shop.prepared.stdout)["splits"]["val"] - 1


def test_eval_of_a_text_file_counts_every_character_but_the_first(shop):
    result = charrnn("eval", "data-run/last.npz", "data.txt", "--json", cwd=shop.folder)
    assert json.loads(result.stdout)["chars"] == len(TEXT) - 1


def test_eval_of_another_split_reads_that_split(shop):
    sizes = json.loads(shop.prepared.stdout)["splits"]
    for split in ("train", "val"):
        figures = json.loads(charrnn("eval", "data-run", "--split", split, "--json", cwd=shop.folder).stdout)
        assert figures["chars"] == sizes[split] - 1


def test_dynamic_evaluation_learns_while_it_reads(shop):
    plain, dynamic, not_at_all = (
        json.loads(charrnn("eval", "data-run", *more, "--json", cwd=shop.folder).stdout)["loss"]
        for more in ((), ("--dynamic",), ("--dynamic", "--dynamic-lr", "1e-12"))
    )
    assert dynamic < plain * (1 - 1e-4)
    assert not_at_all == pytest.approx(plain, rel=1e-6)


def test_eval_finds_the_data_of_a_run_from_another_working_folder(shop, tmp_path):
    result = charrnn("eval", str(shop.run), "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["chars"] == json.loads(shop.prepared.stdout)["splits"]["val"] - 1


def test_eval_of_a_run_refuses_data_that_was_prepared_anew(shop, tmp_path):
    """With another split, what is held out now was trained on."""
    shutil.copytree(shop.folder, tmp_path / "shop", symlinks=True)
    args = ("prepare", "data.txt", "--out", "data", "--force", "--val", "0.5")
    assert charrnn(*args, cwd=tmp_path / "shop").returncode == 0
    config = tmp_path / "shop" / "data-run" / "config.json"
    config.write_text(config.read_text().replace(str(shop.folder), str(tmp_path / "shop")))
    check_failure(charrnn("eval", "data-run", cwd=tmp_path / "shop"), "prepared anew", "naming the DATA folder")
    assert charrnn("eval", "data-run", "data", cwd=tmp_path / "shop").returncode == 0


@pytest.mark.parametrize("what", ["data", "data.txt"])
def test_chars_limits_what_is_read(shop, what):
    limited = charrnn("eval", "data-run", what, "--chars", "50", "--json", cwd=shop.folder)
    part = json.loads(limited.stdout)
    assert part["chars"] == 50
    assert "left out" not in limited.stderr
    (shop.folder / "part.txt").write_text(TEXT[:51])
    if what == "data.txt":
        same = json.loads(charrnn("eval", "data-run", "part.txt", "--json", cwd=shop.folder).stdout)
        assert same["loss"] == part["loss"]
    (shop.folder / "part.txt").unlink()
    all_of_it = json.loads(charrnn("eval", "data-run", what, "--chars", "10000000", "--json", cwd=shop.folder).stdout)
    assert all_of_it["chars"] > 50


@pytest.mark.parametrize("unknown", ["error", "skip"])
def test_what_comes_after_the_last_character_that_counts_is_not_looked_at(shop, tmp_path, unknown):
    (tmp_path / "text").write_text("the cat sat on the mat\nж")
    read = charrnn(
        "eval", "data-run", str(tmp_path / "text"), "--chars", "9", "--unknown", unknown, "--json", cwd=shop.folder
    )
    assert json.loads(read.stdout)["chars"] == 9
    assert "left out" not in read.stderr


def test_the_examples_of_the_help_work(tmp_path):
    prepare_and_train(tmp_path, "the cat sat on a mat, and so on\n" * 60, "data")
    (tmp_path / "data-run").rename(tmp_path / "run")
    (tmp_path / "novel.txt").write_text("the cat sat, and so on")
    for example in examples_of("eval", tmp_path):
        done = charrnn(*example.split()[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "nats" in done.stdout or "bpc" in json.loads(done.stdout)
