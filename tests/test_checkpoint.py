"""Checkpoints: what is saved is loaded bit for bit, and whatever is wrong with a file is said, never executed."""

import io
import json
import pickle
import re
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest
from texts import Touch, check_message

from charrnn.errors import CheckpointError, ConfigError
from charrnn.model.config import ModelConfig
from charrnn.text.reading import TextForm
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.checkpoint import Checkpoint, Progress, find_checkpoint, load_checkpoint
from charrnn.training.config import TrainConfig

SYMBOLS, HIDDEN, BATCH = "\nabé\U0001f600", 3, 2
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def shapes(cell, layers=1, embed=0):
    """Names and shapes of the parameters as the documentation has them."""
    width = GATES[cell] * HIDDEN
    found = {"embed": (len(SYMBOLS), embed)} if embed else {}
    for layer in range(layers):
        below = HIDDEN if layer else embed or len(SYMBOLS)
        found |= {f"layer{layer}.W_x": (below, width), f"layer{layer}.W_h": (HIDDEN, width)}
        found |= {f"layer{layer}.b": (width,)} | ({f"layer{layer}.b_hn": (HIDDEN,)} if cell == "gru" else {})
    return found | {"W_y": (HIDDEN, len(SYMBOLS)), "b_y": (len(SYMBOLS),)}


def make(cell="lstm", layers=1, embed=0, optimiser="adam", **progress):
    """A checkpoint of random numbers, zeros of both signs and denormal numbers among them."""
    random = np.random.default_rng(7)

    def array(shape):
        values = random.standard_normal(shape).astype(np.float32)
        values.flat[0], values.flat[-1] = -0.0, 1e-42
        return values

    state = {name: array((layers, BATCH, HIDDEN)) for name in ("hc" if cell == "lstm" else "h")}
    moments = {"adam": "mv", "rmsprop": "v", "sgd": "m"}[optimiser]
    return Checkpoint(
        ModelConfig(len(SYMBOLS), cell, layers, HIDDEN, embed),
        TrainConfig(batch=BATCH, seq_len=8, lr=0.1 + 0.2, optimiser=optimiser, steps=99),
        Progress(**progress),
        Vocabulary("char", [ord(c) for c in SYMBOLS]),
        "fingerprint",
        {name: array(shape) for name, shape in shapes(cell, layers, embed).items()},
        {m: {name: array(shape) for name, shape in shapes(cell, layers, embed).items()} for m in moments},
        state,
        TextForm("nfc", "lf"),
        {},
    )


def same_bits(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.fixture
def saved(tmp_path):
    make().save(tmp_path / "last.npz")
    return tmp_path / "last.npz"


@pytest.fixture
def change(saved):
    """A function that writes the saved checkpoint anew with some arrays changed, or left out where None."""

    def write(**changes):
        with np.load(saved) as file:
            arrays = dict(file.items())
        assert changes.keys() <= arrays.keys()
        with open(saved, "wb") as file:
            np.savez(file, **{k: v for k, v in (arrays | changes).items() if v is not None})
        return saved

    return write


# -------------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize(
    "cell, layers, embed, optimiser", [("lstm", 1, 0, "adam"), ("gru", 2, 2, "rmsprop"), ("rnn", 2, 0, "sgd")]
)
def test_everything_comes_back_bit_for_bit(tmp_path, cell, layers, embed, optimiser):
    progress = {"step": 10**12, "epoch": 3, "position": 5, "chars": 2**53 + 1, "seconds": 0.1, "elapsed": 1e9 + 0.1}
    before = make(cell, layers, embed, optimiser, **progress, best_loss=1 / 3, best_step=9)
    before.save(tmp_path / "c.npz")
    assert_same(load_checkpoint(tmp_path / "c.npz"), before)


def assert_same(after, before):
    for field in ("model", "training", "progress", "vocabulary", "form", "data"):
        assert getattr(after, field) == getattr(before, field)
    assert list(after.parameters) == list(before.parameters)
    pairs = [(before.parameters, after.parameters), (before.state, after.state)]
    assert after.moments.keys() == before.moments.keys()
    pairs += [(before.moments[name], after.moments[name]) for name in before.moments]
    for old, new in pairs:
        assert old.keys() == new.keys()
        assert all(same_bits(old[name], new[name]) for name in old)


@pytest.mark.parametrize(
    "config, name",
    [
        (config, field.name)
        for config in (ModelConfig, TrainConfig)
        for field in fields(config)
        if field.type in ("int", "int | None")
    ],
)
def test_a_number_that_no_checkpoint_can_hold_is_refused(config, name):
    with pytest.raises(ConfigError, match=re.escape(f"{2**63}")):
        config(**({"symbols": 5} if config is ModelConfig else {}) | {name: 2**63})


def test_a_run_without_validation_has_no_best_loss(saved):
    progress = load_checkpoint(saved).progress
    assert (progress.best_loss, progress.best_step) == (None, None)


@pytest.mark.parametrize(
    "level, codes", [("byte", [0, 10, 128, 254, 255]), ("char", [0, 10, 0xD800, 0xFFFF, 0x10FFFF])]
)
def test_any_symbols_come_back(tmp_path, level, codes):
    checkpoint = make()
    checkpoint.vocabulary = Vocabulary(level, codes)
    checkpoint.save(tmp_path / "c.npz")
    vocabulary = load_checkpoint(tmp_path / "c.npz").vocabulary
    assert (vocabulary.level, vocabulary.codes.tolist()) == (level, codes)


def test_plain_numpy_reads_the_documented_names_without_pickle(saved):
    checkpoint = make()
    with np.load(saved, allow_pickle=False) as file:
        arrays = dict(file.items())
    names = list(shapes("lstm"))
    assert sorted(arrays) == sorted(
        ["format", "format_version", "model", "training", "progress", "level", "vocabulary", "unknown", "form", "data"]
        + [f"{group}/{name}" for group in ("parameters", "optimiser/m", "optimiser/v") for name in names]
        + ["state/h", "state/c"]
    )
    assert (str(arrays["format"]), int(arrays["format_version"])) == ("charrnn-checkpoint", 3)
    assert json.loads(str(arrays["model"]))["hidden"] == HIDDEN
    assert json.loads(str(arrays["training"]))["lr"] == 0.1 + 0.2
    assert json.loads(str(arrays["progress"]))["step"] == 0
    assert "".join(map(chr, arrays["vocabulary"])) == SYMBOLS
    for name, shape in shapes("lstm").items():
        assert arrays[f"parameters/{name}"].shape == shape
        assert same_bits(arrays[f"parameters/{name}"], checkpoint.parameters[name])
    assert arrays["state/c"].shape == (1, BATCH, HIDDEN)


def test_saving_again_replaces_the_file_and_leaves_nothing_beside_it(saved):
    make(step=5).save(saved)
    assert load_checkpoint(saved).progress.step == 5
    assert [path.name for path in saved.parent.iterdir()] == ["last.npz"]


# ------------------------------------------------------------------------------------------ what is refused


def test_a_file_cut_off_anywhere_is_a_checkpoint_error(saved):
    content = saved.read_bytes()
    lengths = [0, 1, 4, 21, 22, 30, 100, *range(200, len(content), len(content) // 30), len(content) - 1]
    for length in lengths:
        saved.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(saved)
        check_message(error, str(saved))


def test_a_single_changed_bit_among_the_numbers_is_a_checkpoint_error(saved):
    content = saved.read_bytes()
    checkpoint = make()
    arrays = [checkpoint.parameters["W_y"], checkpoint.parameters["layer0.W_h"], checkpoint.state["h"]]
    for array in arrays:
        place = content.index(array.tobytes()) + array.nbytes // 2
        for bit in (1, 0x80):
            saved.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            with pytest.raises(CheckpointError) as error:
                load_checkpoint(saved)
            check_message(error, str(saved), "damaged")


def test_a_changed_byte_anywhere_is_a_checkpoint_error_or_changes_nothing(saved):
    content, whole = saved.read_bytes(), make()
    for place in range(3, len(content), 17):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            checkpoint = load_checkpoint(saved)
        except CheckpointError:
            continue
        assert_same(checkpoint, whole)


@pytest.mark.parametrize("field, offset, value", [("flags", 8, 1), ("compression method", 10, 77)])
def test_a_damaged_zip_directory_is_a_checkpoint_error(saved, field, offset, value):
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as file:
        content[file.start_dir + offset] = value
    saved.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(saved)
    check_message(error, str(saved), "damaged")


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Once upon a time there was a model.\n" * 9,
        npz(weights=np.zeros(3)),
        npz(format=np.array("another"), format_version=1),
        npz(format=np.arange(3)),
        npy(np.zeros(3)),
        pickle.dumps({"weights": [1, 2, 3]}),
        b"PK\x05\x06" + bytes(18),
        b"PK\x03\x04" + bytes(60),
    ],
    ids=["empty", "text", "npz", "other format", "array as format", "npy", "pickle", "empty zip", "zip head"],
)
def test_a_foreign_file_is_a_checkpoint_error_that_does_not_advise_to_unpickle_it(tmp_path, content):
    (tmp_path / "c.npz").write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "c.npz")
    check_message(error, str(tmp_path / "c.npz"))
    assert "unsafe" not in str(error.value)
    assert "allow_pickle" not in str(error.value)


@pytest.mark.parametrize("name", ["format", "model", "vocabulary", "parameters/W_y", "state/h"])
def test_a_pickle_in_a_checkpoint_is_refused_and_not_executed(tmp_path, change, name):
    pickle.loads(pickle.dumps(Touch(tmp_path / "shown"))).close()
    assert (tmp_path / "shown").exists()
    path = change(**{name: np.array([Touch(tmp_path / "executed")], object)})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    check_message(error, str(path))
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_format_2_has_none_of_the_settings_that_came_later(change, saved):
    whole = load_checkpoint(saved)
    later = ("peepholes", "coupled", "output_gate", "input_skips", "output_skips", "cell_source", "cell_declaration")
    settings = {name: value for name, value in whole.model.as_dict().items() if name not in later}
    training = whole.training.as_dict() | {"bptt": f"{whole.training.seq_len}:{whole.training.seq_len}"}
    del training["reset_every"]
    path = change(format_version=2, model=json.dumps(settings), training=json.dumps(training))
    older = load_checkpoint(path)
    assert (older.model, older.training) == (whole.model, replace(whole.training, reset_every=0))


def test_a_newer_format_asks_for_a_newer_charrnn(change):
    path = change(format_version=4, model="in a form that is not known yet", training=None)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    check_message(error, "format 3", "got 4", "newer charrnn")


ARRAYS = ["format", "format_version", "model", "training", "progress", "level", "vocabulary", "unknown", "form", "data"]
ARRAYS += [f"{group}/{name}" for group in ("parameters", "optimiser/v") for name in shapes("lstm")]


@pytest.mark.parametrize("name", [*ARRAYS, "state/h", "state/c"])
def test_a_missing_array_is_a_checkpoint_error(change, name):
    path = change(**{name: None})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    check_message(error, str(path))


@pytest.mark.parametrize(
    "codes", [[10, 97, 98, 233], [10, 97, 98, 233, 240, 241], [97, 10, 98, 233, 0x1F600], [10, 97, 97, 98, 99], []]
)
def test_a_vocabulary_that_does_not_fit_the_model_is_a_checkpoint_error(change, codes):
    path = change(vocabulary=np.array(codes, np.uint32))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    check_message(error, str(path))


@pytest.mark.parametrize(
    "name, shape",
    [
        ("parameters/W_y", (len(SYMBOLS), HIDDEN)),
        ("parameters/layer0.W_h", (HIDDEN, HIDDEN)),
        ("parameters/b_y", ()),
        ("parameters/layer0.b", (1,)),
        ("optimiser/m/W_y", (len(SYMBOLS), HIDDEN)),
        ("optimiser/v/b_y", (1,)),
        ("state/h", (1, 1, HIDDEN)),
        ("state/c", (1, BATCH, HIDDEN + 1)),
        ("state/c", (2, BATCH, HIDDEN)),
    ],
)
def test_an_array_of_another_shape_is_a_checkpoint_error(change, name, shape):
    path = change(**{name: np.zeros(shape, np.float32)})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    check_message(error, str(path), name.split("/")[-1])


@pytest.mark.parametrize("name", ["parameters/b_y", "optimiser/m/b_y"])
def test_numbers_that_are_none_are_a_checkpoint_error(change, name):
    path = change(**{name: np.array(["weight"] * len(SYMBOLS))})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    check_message(error, str(path))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "{"},
        {"model": "[]"},
        {"model": "{}"},
        {"model": '{"symbols": 5, "cell": "lstm", "layers": 1, "hidden": 0}'},
        {"model": '{"symbols": 5, "cell": "qrnn", "layers": 1, "hidden": 3}'},
        {"training": '{"batch": 0}'},
        {"training": '{"unknown": 1}'},
        {"progress": '{"unknown": 1}'},
        {"level": "word"},
        {"format_version": "one"},
        {"format_version": np.arange(2)},
        {"vocabulary": np.array([-1, 10, 97, 98, 233])},
    ],
    ids=str,
)
def test_a_damaged_description_is_a_checkpoint_error_that_names_the_file(change, changes):
    path = change(**changes)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    check_message(error, str(path))


@pytest.mark.parametrize("name", ["none.npz", "folder", "none/c.npz", "plain/c.npz"])
def test_a_missing_file_is_a_checkpoint_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / name)
    check_message(error, name, "RUN")


# ---------------------------------------------------------------------------------------- which one is meant


@pytest.mark.parametrize(
    "there, meant", [(("best.npz", "last.npz"), "best.npz"), (("last.npz",), "last.npz"), (("best.npz",), "best.npz")]
)
def test_a_run_stands_for_its_best_checkpoint_else_its_last(tmp_path, there, meant):
    for name in there:
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path) == tmp_path / meant


def test_a_checkpoint_stands_for_itself(tmp_path):
    for name in ("best.npz", "last.npz", "old.npz"):
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path / "last.npz") == tmp_path / "last.npz"
    assert find_checkpoint(tmp_path / "old.npz") == tmp_path / "old.npz"


def test_a_folder_without_checkpoints_is_an_error_that_names_both(tmp_path):
    (tmp_path / "best.npz").mkdir()
    with pytest.raises(CheckpointError) as error:
        find_checkpoint(tmp_path)
    check_message(error, str(tmp_path), "best.npz", "last.npz", "charrnn train")
