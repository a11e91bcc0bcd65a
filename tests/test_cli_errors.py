"""Whatever is wrong with what a user gives is said in one line, and nothing is left half-done."""

import shutil

import pytest
from helpers_cli import SIZES, charrnn, check_failure, tree
from shop import TEXT

BAD_PREPARE = [
    (["none.txt"], "none.txt: No such file"),
    (["data.txt", "empty.txt"], "the empty file empty.txt"),
    (["files", "--glob", "*.py"], "fit '*.py' in files, got none"),
    (["files", "--glob", "*.txt", "--exclude", "letter.*"], "fit '*.txt' and not 'letter.*' in files, got none"),
    (["short.txt", "--seed", "1"], "try --shuffle-lines"),
    (["data.txt", "--val-file", "one.txt", "--val", "0.2"], "--val or --val-file"),
    (["data.txt", "--val-file", "one.txt"], "got 1 in val"),
    (["data.txt", "--vocab-from", "files"], "the folder files"),
    (["unknown.txt", "--vocab-from", "data"], "'ж' (U+0436)"),
    (["unknown.txt", "--vocab-from", "data-run"], "'ж' (U+0436)"),
    (["unknown.txt", "--vocab-from", "data", "--level", "byte"], "level char"),
    (["data.txt", "--max-vocab", "1"], "--max-vocab"),
    (["data.txt", "--errors", "ignore"], "'ignore'"),
    (["-"], "an empty standard input"),
    ([""], "got an empty text; try one"),
    (["data.txt", "--exclude", "*.py"], "--exclude with a folder, got files only"),
    (["--lowercase", ""], "a path or a value after --lowercase, got an empty text"),
    (["data.txt", "--min-count", "99999"], "at least 99,999 times, got none; try a smaller --min-count"),
    (["data.txt", "--level", "byte", "--encoding", "utf-16"], "got one of them at level byte"),
    (["bad.txt"], "byte 0xFF at offset 3 of bad.txt"),
    (["data.txt", "--level", "word"], "'word'"),
    (["data.txt", "--encoding", "klingon"], "'klingon'"),
    (["data.txt", "--encoding", "undefined"], "'undefined'"),
    (["data.txt", "--val", "1"], "--val"),
    (["data.txt", "--val", "-0.1"], "--val"),
    (["data.txt", "--test", "nan"], "--test"),
    (["one.txt"], "1 in train of a text of 1"),
    (["data.txt", "--val", "0.9999"], "try a longer text, or a smaller --val"),
    (["data.txt", "--out", "loop/new"], "loop/new"),
    (["high.txt", "--errors", "skip"], "got only undecodable bytes: high.txt; try another --encoding"),
    (["upper.txt", "--out", "data"], "data.txt (gone), upper.txt (new); try --force"),
    (["data.txt", "--out", "data", "--lowercase"], "changes: --lowercase; try --force"),
    (["data.txt", "--out", "files", "--force"], "something else"),
    (["data.txt", "--out", "data.txt", "--force"], "a new folder, got data.txt, a file"),
    (["data.txt", "--out", "data.txt/new"], "data.txt/new"),
    (["data.txt", "--out", "data-run", "--force"], "got data-run, a RUN folder"),
    (["data.txt", "--level", "byte", "--min-count", "2"], "--min-count and --max-vocab at --level char, got"),
    (["data.txt", "--vocab-from", "data", "--max-vocab", "9"], "--vocab-from or limits of the vocabulary, got both"),
    (["-", "-"], "- for standard input once, got it more often"),
    (["files", "--skip-undecodable", "--errors", "replace"], "--errors error, got another"),
]


BAD_TRAIN = [
    (["data", "--out", ""], "a path after --out, got an empty text"),
    (["data", "--init-from="], "a path after --init-from, got an empty text"),
    (["data", "--init-from", "--force"], "a path after --init-from, got --force; try ./--force"),
    (["none"], "got none, which does not exist"),
    (["data.txt"], "got data.txt, a file"),
    (["data-run"], "got data-run, a RUN folder"),
    (["short", "--batch", "4"], "got 29; try --batch"),
    (["cut"], "damaged"),
    (["wild"], "wild"),
    (["data", "--out", "data-run"], "--force to replace it"),
    (["data", "--out", "data", "--force"], "got data, a DATA folder"),
    (["data", "--out", "bert", "--force"], "something else"),
    (["data", "--out", "data.txt", "--force"], "a new folder, got data.txt, a file"),
    (["data", "--out", "data.txt/new"], "data.txt/new"),
    (["data", "--hidden", "0"], "hidden of at least 1, got 0"),
    (["data", "--hidden", "1000000000"], "--hidden"),
    (["data", "--layers", "0"], "layers of at least 1, got 0"),
    (["data", "--embed", "-1"], "embed of 0 or more, got -1"),
    (["data", "--batch", "0"], "--batch of at least 1, got 0"),
    (["data", "--batch", "1000000"], "try --batch"),
    (["data", "--seq-len", "-1"], "--seq-len of at least 1, got -1"),
    (["data", "--lr", "0"], "--lr above 0, got 0"),
    (["data", "--lr", "nan"], "--lr above 0, got nan"),
    (["data", "--lr", "inf"], "--lr above 0, got inf"),
    (["data", "--clip-norm", "-1"], "--clip-norm of 0 or more, got -1"),
    (["data", "--momentum", "0.5"], "--momentum with --optimiser sgd or muon, got adam"),
    (["data", "--optimiser", "sgd", "--momentum", "1"], "--momentum from 0 up to below 1, got 1"),
    (["data", "--steps", "-1"], "--steps of 0 or more, got -1"),
    (["data", "--threads", "0"], "--threads from 1 to 1024, got 0"),
    (["data", "--seed", "-1"], "--seed of 0 or more, got -1"),
    (["data", "--seed", str(2**63)], "--seed below 2^63"),
    (["data", "--cell", "foo"], "ugrnn, minlstm, mingru, got 'foo'"),
    (["data", "--cell", "rnn", "--nonlinearity", "foo"], "tanh, relu, sigmoid, got 'foo'"),
    (["data", "--optimiser", "foo"], "adam, adamw, muon, rmsprop, sgd, adagrad, got 'foo'"),
    (["data", "--init", "foo"], "uniform, orthogonal, identity, got 'foo'"),
    (["data", "--forget-bias", "foo"], "a number from -20 to 20 or chrono, got 'foo'"),
    (["data", "--forget-bias", "bar"], "a number from -20 to 20 or chrono, got 'bar'"),
    (["data", "--forget-bias", "nan"], "a number from -20 to 20 or chrono, got 'nan'"),
    (["data", "--init-scale", "0"], "--init-scale above 0, got 0"),
    (["data", "--init-scale", "101"], "--init-scale of at most 100, got 101"),
    (["data", "--reset-every", "-1"], "--reset-every of 0 or more, got -1"),
    (["data", "--optimiser", "muon", "--matrix-lr", "0"], "--matrix-lr above 0, got 0"),
    (["data", "--preset", "foo"], "fast, quality, classic, got 'foo'"),
    (["data", "--minutes", "1e308"], "--minutes below 2^63, got 1e+308"),
    (["data", "--out", "loop"], "loop"),
    (["data", "--warmup", "-1"], "--warmup of 0 or more, got -1"),
    (["data", "--dropout", "1"], "--dropout from 0 up to below 1, got 1"),
    (["data", "--epsilon", "1e-39"], "--epsilon from 1e-30 on, got 1e-39"),
    (["data", "--ema", "1"], "--ema from 0 up to below 1, got 1"),
    (["data", "--accumulate", "0"], "--accumulate of at least 1, got 0"),
    (["data", "--dropout-kind", "foo"], "standard, variational, got 'foo'"),
    (["data", "--batch", "40", "--accumulate", "40"], "try --accumulate 1"),
    (["data", "--init-from", "none"], "got none"),
    (["data", "--init-from", "cut.npz"], "truncated or damaged"),
    (["data", "--init-from", "data-run", "--hidden", "9"], "or without --init-from"),
    (["data", "--init-from", "data-run", "--layer-norm"], "expected no --layer-norm, as data-run has it, got it"),
    (["data", "--init-from", "data-run", "--layers", "3"], "--layers 1 as data-run has it, got 3"),
    (["data", "--init-from", "data-run", "--resume"], "--resume or --init-from"),
    (["data", "--schedule", "foo"], "constant, linear, cosine, step, plateau, got 'foo'"),
    (["data", "--cell", "gru", "--forget-bias", "1"], "--forget-bias with a cell that has a forget gate, got gru"),
    (["data", "--cell", "mingru", "--init", "orthogonal"], "a cell that has recurrent weights, got mingru"),
    (["data", "--layers", "1", "--residual"], "--residual with several layers, got --layers 1"),
    (["data", "--dropout-kind", "variational", "--layers", "1"], "variational with dropout, got none"),
    (["data", "--cell", "mingru", "--layers", "1", "--optimiser", "muon"], "for muon, got one layer of mingru"),
    (["data", "--optimiser", "sgd", "--momentum", "0", "--nesterov"], "--nesterov with a --momentum above 0, got 0"),
    (["data", "--seq-len", "1", "--temporal-penalty", "1"], "several time steps, got --seq-len 1"),
    (["data", "--stateless", "--reset-every", "9"], "carried from line to line, got --stateless"),
    (["data", "--init-from", "data-run", "--init", "orthogonal"], "--init or --init-from, got both"),
    (["data", "--init-from", "data-run", "--forget-bias", "1"], "--forget-bias or --init-from, got both"),
    (["data", "--init-from", "data-run", "--init-scale", "1"], "--init-scale or --init-from, got both"),
    (["data", "--init-from", "data-run", "--reset", "before"], "--reset with --cell gru, got lstm"),
]
BAD_RESUME = [
    (["data", "--out", "new"], "RUN folder to resume, got new"),
    (["data", "--out", "data"], "RUN folder to resume, got data"),
    (["data", "--out", "data-run", "--force"], "--resume or --force, got both"),
    (["data", "--out", "data-run", "--preset", "fast"], "--resume or --preset, got both"),
    (["data", "--out", "data-run", "--hidden", "16"], "--hidden 8 as data-run has it, got 16"),
    (["data", "--out", "data-run", "--lr", "0.1"], "--lr 0.05 as data-run has it, got 0.1"),
    (["data", "--out", "data-run", "--steps", "-1"], "--steps of 0 or more, got -1"),
    (["upper", "--out", "data-run"], "vocabulary"),
    (["turned", "--out", "data-run"], "another text"),
    (["data", "--out", "bert"], "bert"),
    (["data", "--out", "stateless"], "damaged"),
    (["data", "--out", "momentless"], "damaged"),
    (["data", "--out", "lastless"], "got none; try cp lastless/best.npz lastless/last.npz"),
]


BAD_SAMPLE = [
    (["data-run", "--stop", "ж"], "--stop of characters that the model knows, got 'ж'; try another --stop"),
    (["data-run", "--allow", "ж"], "--allow to leave some character, got none"),
    (["data-run", "--length", str(10**20)], "--length of at most 1,099,511,627,775"),
    (["data-run", "--words", "files"], "got files"),
    (["none"], "got none"),
    (["data"], "got data, a DATA folder"),
    (["data.txt"], "data.txt"),
    (["cut.npz"], "cut.npz, truncated or damaged"),
    (["foreign.npz"], "foreign.npz"),
    (["newer.npz"], "try a newer charrnn"),
    (["data-run", "--length", "0"], "--length"),
    (["data-run", "--count", "0"], "--count"),
    (["data-run", "--temperature", "-1"], "--temperature from 0 to 100, got -1"),
    (["data-run", "--temperature", "nan"], "--temperature from 0 to 100, got nan"),
    (["data-run", "--seed", "-1"], "--seed"),
    (["data-run", "--threads", "0"], "--threads"),
    (["data-run", "--prompt", "the жук"], "'ж' (U+0436) at position 4 of the prompt"),
    (["data-run", "--prompt", "the жук", "--unknown", "replace"], "try --unknown skip"),
    (["data-run", "--unknown", "ignore"], "'ignore'"),
    (["data-run", "--allow", ""], "--allow to leave some character, got none"),
    (["data-run", "--keep-stop"], "--keep-stop with --stop, got it alone"),
    (["data-run", "--repetition-window", "9"], "with --repetition-penalty, got it alone"),
    (["data-run", "--beam", "2", "--seed", "1"], "--beam and --seed, got both"),
]
BAD_EVAL = [
    (["none"], "got none"),
    (["no-run"], "got no-run, which does not exist; try the --out of charrnn train"),
    (["cut.npz", "data"], "cut.npz, truncated or damaged"),
    (["newer.npz", "data"], "try a newer charrnn"),
    (["data-run", "upper"], "vocabulary"),
    (["data-run", "unknown.txt"], f"'ж' (U+0436) at position {len(TEXT)} of unknown.txt"),
    (["data-run", "unknown.txt", "--unknown", "replace"], "try --unknown skip"),
    (["data-run", "--dynamic", "--dynamic-lr", "0"], "--dynamic-lr above 0, got 0"),
    (["data-run", "data.txt", "--encoding", "klingon"], "'klingon'"),
    (["data-run", "bad.txt"], "byte 0xFF at offset 3 of bad.txt"),
    (["data-run", "empty.txt"], "the empty file empty.txt"),
    (["data-run", "one.txt"], "at least 2 characters"),
    (["data-run", "none"], "got none, which does not exist; try another path"),
    (["data-run", "data", "--split", "test"], "(train, val), got 'test'"),
    (["data-run", "data.txt", "--split", "val"], "--split with a DATA folder, got data.txt"),
    (["data-run", "--dynamic", "--precision", "int8"], "--dynamic with float32 or bfloat16, got int8"),
    (["data-run", "--dynamic-lr", "0.2"], "--dynamic-lr with --dynamic, got it alone"),
    (["data-run", "--chars", "-1"], "--chars of 0 or more, got -1"),
    (["data-run", "data", "--encoding", "utf-8"], "--encoding with a text file, got data"),
]
BAD_SCORE = [
    (["none.txt"], "got none.txt"),
    (["data.txt", "--compare", "data"], "got data, a DATA folder"),
]
BAD_INFO = [
    (["none"], "got none"),
    (["--vocab", "0"], "--vocab from 1 to"),
    (["data", "--cell", "own.py:OWN"], "--cell with a model, got data, a DATA folder"),
]
BAD_GRADCHECK = [
    (["data-run"], "try charrnn gradcheck RUN --data DATA"),
    (["none", "--data", "data"], "got none"),
]
BAD_BENCH = [
    (["--streams", "0"], "--streams of at least 1, got 0"),
    (["--seconds", "0"], "--seconds above 0 and up to"),
]
FULL = {
    "prepare": ["--out", "new"],
    "train": ["--out", "new", *SIZES, "--steps", "5"],
    "train --resume": ["--steps", "7"],
    "sample": [],
    "eval": [],
    "score": ["data-run"],
    "info": [],
    "gradcheck": [],
    "bench": [],
}
BAD = [BAD_PREPARE, BAD_TRAIN, BAD_RESUME, BAD_SAMPLE, BAD_EVAL, BAD_SCORE, BAD_INFO, BAD_GRADCHECK, BAD_BENCH]
BAD = list(zip(FULL, BAD, strict=True))
BAD = [(name, args, part) for name, cases in BAD for args, part in cases]


@pytest.mark.parametrize("name, args, part", BAD, ids=[f"{name} {' '.join(args)}" for name, args, _ in BAD])
def test_bad_input_is_answered_in_one_line_and_leaves_all_as_it_was(shop, tmp_path, name, args, part):
    copy = tmp_path / "shop"
    shutil.copytree(shop.folder, copy, symlinks=True)
    before = tree(copy)
    # Of an option given twice the last counts: what is wrong comes after what makes the command whole.
    check_failure(charrnn(*name.split(), *FULL[name], *args, "--json", cwd=copy), part)
    assert tree(copy) == before


def test_a_prompt_that_is_no_text_is_answered_in_one_line(shop):
    check_failure(charrnn("sample", "data-run", "--prompt", b"the \xff", cwd=shop.folder), "position 4 of the prompt")


def test_debugging_shows_the_traceback_of_an_error(shop):
    result = charrnn("sample", "cut.npz", cwd=shop.folder, CHARRNN_DEBUG="1")
    assert "Traceback" in result.stderr
    assert result.returncode == 1


@pytest.mark.parametrize("args", [["sample", "data-run"], ["eval", "data-run", "--json"]])
def test_a_full_disk_behind_standard_output_is_said_and_is_no_bug_to_report(shop, args):
    assert charrnn(*args, cwd=shop.folder).returncode == 0  # kernels are compiled now, which prints a line
    with open("/dev/full", "wb") as full:
        result = charrnn(*args, cwd=shop.folder, stdout=full)
    check_failure(result, "No space left on device")
    assert "report it" not in result.stderr
