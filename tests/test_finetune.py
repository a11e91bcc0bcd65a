"""Fine-tuning: a model taken to another vocabulary keeps what it knows, character by character."""

import numpy as np
import pytest
from texts import check_message, options, prepare, write

from charrnn.errors import CheckpointError
from charrnn.model.config import ModelConfig
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled
from charrnn.text.data import open_data
from charrnn.training.config import TrainConfig
from charrnn.training.finetune import model_for
from charrnn.training.state import TrainingState

OLD, NEW = "mzaxbkéq\n", "\nñqyakcm0"  # share a, k, m, q and the line feed, at other numbers


def data_of(folder, letters, **chosen):
    text = "".join(letters[(k * k + k // 3) % len(letters)] for k in range(400)) + letters * 2
    folder.mkdir()
    prepare([write(folder / "t", text)], folder / "data", options(**chosen))
    return open_data(folder / "data")


def begun(data, source=None, embed=0, cell="gru", seed=1, tied=False):
    training = TrainConfig(batch=2, seq_len=4, seed=seed, steps=1)
    model = (
        ModelConfig(len(data.vocabulary), cell, 2, 6, embed, tied=tied)
        if source is None
        else model_for(source, data.vocabulary)
    )
    state, carried = TrainingState.begin(model, training, data, source)
    return state.snapshot(), carried


def logits_after(checkpoint, text):
    """Logits by character after reading a text."""
    vocabulary = checkpoint.vocabulary
    network: Network = checkpoint.network(np.float64)
    unrolled = Unrolled(network, 1, len(text))
    unrolled.forward(vocabulary.encode(vocabulary.codes_of(text), "the text").astype(np.int32)[:, None])
    logits = unrolled.logits.transpose(1, 0, 2).reshape(len(text), -1)[:, : len(vocabulary)]
    return {chr(code): logits[:, k] for k, code in enumerate(vocabulary.codes)}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(("embed", "tied"), [(0, False), (5, False), (6, True)])
def test_known_characters_keep_their_logits_and_new_ones_begin_afresh(tmp_path, cell, embed, tied):
    old, _ = begun(data_of(tmp_path / "old", OLD), embed=embed, cell=cell, tied=tied)
    data = data_of(tmp_path / "new", NEW)
    new, carried = begun(data, source=old, seed=2)
    fresh, _ = begun(data, embed=embed, cell=cell, seed=2, tied=tied)
    shared = set(OLD) & set(NEW)
    assert (carried.kept, carried.new, carried.dropped) == (5, len(NEW) - 5, len(OLD) - 5)
    text = "kamaqa\nkmmq"
    before, after = logits_after(old, text), logits_after(new, text)
    for character in shared:
        assert np.array_equal(before[character], after[character])
    for character in set(NEW) - shared:
        k = data.vocabulary.numbers[ord(character)]
        if not tied:
            assert np.array_equal(new.parameters["W_y"][:, k], fresh.parameters["W_y"][:, k])
        name = "embed" if embed else "layer0.W_x"
        assert np.array_equal(new.parameters[name][k], fresh.parameters[name][k])


def test_the_averaged_parameters_are_taken_over(tmp_path):
    old, _ = begun(data_of(tmp_path / "old", OLD))
    plain = logits_after(old, "kamaqa")["a"]
    old.average = {name: 2 * values for name, values in old.parameters.items()}
    new, _ = begun(data_of(tmp_path / "new", NEW), source=old)
    assert np.array_equal(logits_after(new, "kamaqa")["a"], logits_after(old, "kamaqa")["a"])
    assert not np.array_equal(logits_after(new, "kamaqa")["a"], plain)


def test_a_model_of_bytes_is_not_taken_to_characters(tmp_path):
    old, _ = begun(data_of(tmp_path / "old", "abc\n", level="byte"))
    with pytest.raises(CheckpointError) as error:
        begun(data_of(tmp_path / "new", NEW), source=old)
    check_message(error, "level byte", "--level byte")
