"""The engine's entry points refuse sizes and symbols that its kernels would follow out of their arrays."""

import numpy as np
import pytest
from networks import make

from charrnn.model.unrolled import Unrolled
from charrnn.sampling.sampler import PIECE, Sampler
from charrnn.text.streams import Streams

STEPS, BATCH, SYMBOLS = 4, 3, 40


@pytest.fixture(scope="module")
def m():
    return make("lstm", np.float32, layers=1, hidden=8, steps=STEPS, batch=BATCH, symbols=SYMBOLS)


@pytest.mark.parametrize(
    "shape, symbol",
    [
        ((STEPS + 1, BATCH), 0),
        ((0, BATCH), 0),
        ((STEPS, BATCH + 1), 0),
        ((STEPS * BATCH,), 0),
        ((STEPS, BATCH), -1),
        ((STEPS, BATCH), SYMBOLS),
    ],
)
def test_a_chunk_refuses_other_shapes_and_what_is_no_symbol(m, shape, symbol):
    given = np.zeros(shape, np.int64)
    given[-1:] = symbol
    with pytest.raises(ValueError, match="expected symbols"):
        m.unrolled.forward(given)
    m.unrolled.forward(m.inputs)
    with pytest.raises(ValueError, match="expected symbols"):
        m.unrolled.loss(given)


def test_targets_are_as_many_as_inputs_and_not_all_past(m):
    m.unrolled.forward(m.inputs)
    for targets, past in ((m.targets[:-1], 0), (m.targets, STEPS), (m.targets, -1)):
        with pytest.raises(ValueError, match="expected targets"):
            m.unrolled.loss(targets, past)


@pytest.mark.parametrize("batch, steps", [(0, 4), (3, 0), (-1, 4)])
def test_a_chunk_of_nothing_is_refused(m, batch, steps):
    with pytest.raises(ValueError, match="at least one stream"):
        Unrolled(m.network, batch, steps)


@pytest.mark.parametrize("length", [0, -1, PIECE + 1])
def test_a_sampler_gives_pieces_of_its_size_only(m, length):
    with pytest.raises(ValueError, match=f"1 to {PIECE} symbols, got {length}"):
        Sampler(m.network).take(length)


@pytest.mark.parametrize("prompt", [[], [SYMBOLS], [1, -1]])
def test_a_sampler_refuses_what_is_no_text(m, prompt):
    with pytest.raises(ValueError, match="expected symbols"):
        Sampler(m.network).feed(np.array(prompt, np.int64))


@pytest.mark.parametrize("position, past", [(-1, 0), (-5, -5), (10, 0), (11, 0), (3, 4), (3, -1)])
def test_streams_refuse_a_position_outside(position, past):
    with pytest.raises(ValueError, match="expected a time step"):
        Streams(np.zeros(21, np.uint8), 2, 5).chunk(position, past=past)
