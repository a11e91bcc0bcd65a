"""What is said of a model before it is made, against the arrays that it then has."""

import tracemalloc

import numpy as np
import pytest
from networks import KINDS
from variants import VARIANTS, variant

from charrnn.model.config import ModelConfig
from charrnn.model.network import Network
from charrnn.model.noise import Noise
from charrnn.model.size import memory_needed, parameter_count
from charrnn.model.unrolled import Unrolled
from charrnn.text.data import open_data
from charrnn.training.config import TrainConfig
from charrnn.training.memory import memory_of_run
from charrnn.training.shuffle import ShuffledText
from charrnn.training.state import TrainingState


def arrays_in(thing):
    """All arrays below an object, each once."""
    seen, found, todo = set(), {}, [thing]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            base = item
            while isinstance(base.base, np.ndarray):
                base = base.base
            found[id(base)] = base
        elif isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, (list, tuple)):
            todo += item
        elif type(item).__module__.startswith("charrnn"):
            todo += vars(item).values()
    return found.values()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "hidden", "batch", "steps"), [(1, 64, 4, 30), (3, 100, 8, 8), (2, 256, 1, 4)])
def test_the_memory_foretold_is_that_of_the_arrays(kind, layers, hidden, batch, steps):
    config = ModelConfig(65, layers=layers, hidden=hidden, **KINDS[kind])
    network = Network(config)
    real = sum(array.nbytes for array in arrays_in([network, Unrolled(network, batch, steps)]))
    assert 0.8 < memory_needed(config, batch, steps, vectors=2) / real < 1.35


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("symbols", [65, 2000])
def test_the_memory_of_variants_is_foretold_too(kind, name, symbols):
    config = ModelConfig(symbols, layers=3, hidden=100, **KINDS[kind], **variant(name, KINDS[kind]["cell"]))
    network = Network(config)
    real = sum(array.nbytes for array in arrays_in([network, Unrolled(network, 32, 64)]))
    assert 0.95 < memory_needed(config, 32, 64, vectors=2) / real < 1.25


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "sgd"},
        {"optimiser": "adam"},
        {"optimiser": "adam", "ema": 0.9, "accumulate": 3},
        {"optimiser": "muon"},
        {"dropout": 0.2, "dropout_output": 0.2},
        {"precision": "bfloat16"},
    ],
)
def test_the_memory_of_a_run_is_foretold(folder, settings):
    data, config = open_data(folder), TrainConfig(batch=2, seq_len=20, **settings)
    state, _ = TrainingState.begin(ModelConfig(len(data.vocabulary), hidden=200), config, data)
    parts = [state.network, state.learner.unrolled, state.optimiser, state.average]
    real = sum(array.nbytes for array in arrays_in(parts))
    assert 0.9 < memory_of_run(state.model, config) / real < 1.25


def test_the_memory_of_shuffled_pieces_is_foretold(folder):
    data, config = open_data(folder), TrainConfig(batch=2, seq_len=20, shuffle=1)
    model, text = ModelConfig(len(data.vocabulary)), data.split("train")
    foretold = memory_of_run(model, config, len(text)) - memory_of_run(model, config)
    shuffled = ShuffledText(text, 1, seed=0)
    tracemalloc.start()
    shuffled.turn_to(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.8 < foretold / peak < 1.5


@pytest.mark.parametrize("rounded", [False, True])
def test_the_copies_that_dropout_needs_are_foretold_too(rounded):
    config = ModelConfig(65, "rnn", layers=3, hidden=128)
    network = Network(config, precision="bfloat16" if rounded else "float32")
    sizes = []
    for noise in (None, Noise(0.2, 0.2)):
        sizes.append(sum(array.nbytes for array in arrays_in([network, Unrolled(network, 32, 64, noise)])))
    foretold = [memory_needed(config, 32, 64, vectors=2, rounded=rounded, dropped=dropped) for dropped in (0, 3)]
    assert foretold[1] - foretold[0] == pytest.approx(sizes[1] - sizes[0], rel=0.05)


@pytest.mark.parametrize("name", ["plain", *VARIANTS])
@pytest.mark.parametrize("symbols", [65, 2000])
def test_the_memory_of_bfloat16_is_foretold_too(name, symbols):
    chosen = {} if name == "plain" else variant(name, "lstm")
    config = ModelConfig(symbols, layers=3, hidden=100, **chosen)
    network = Network(config, precision="bfloat16")
    unrolled = Unrolled(network, 32, 64)
    unrolled.output_gradient(64 * 32)  # makes the room that sums over rows need
    for layer in unrolled.layers:
        unrolled.sums.prepared(layer.multiplied_gates, 64 * 32)
    real = sum(array.nbytes for array in arrays_in([network, unrolled]))
    assert 0.9 < memory_needed(config, 32, 64, vectors=2, rounded=True) / real < 1.25


def test_parameters_are_counted():
    config = ModelConfig(65, "lstm", 2, 512)
    assert parameter_count(config) == Network(config).parameters.count
