"""The streams that training reads, against slices of the text."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import check_message

from charrnn.errors import DataError
from charrnn.text.data import open_data
from charrnn.text.streams import Streams


@st.composite
def readings(draw):
    """Length of a text, batch and seq_len, such that the text is long enough."""
    batch, seq_len = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    return batch * seq_len + 1 + draw(st.integers(0, 60)), batch, seq_len


@settings(max_examples=150, deadline=None)
@given(readings(), st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_chunks_are_plain_slices_and_predict_each_character_once(reading, dtype):
    length, batch, seq_len = reading
    text = list(range(length))  # every character another, so that equal means the same place
    streams = Streams(np.array(text, dtype), batch, seq_len)
    piece = (length - 1) // batch
    assert streams.steps == piece
    predicted = [[] for _ in range(batch)]
    lengths = []
    for position in range(0, piece, seq_len):
        inputs, targets = streams.chunk(position)
        lengths.append(len(inputs))
        for b in range(batch):
            start = b * piece + position
            end = min(start + seq_len, (b + 1) * piece)
            assert inputs[:, b].tolist() == text[start:end]
            assert targets[:, b].tolist() == text[start + 1 : end + 1]
            predicted[b] += targets[:, b].tolist()
    assert predicted == [text[b * piece + 1 : (b + 1) * piece + 1] for b in range(batch)]
    assert [symbol for stream in predicted for symbol in stream] == text[1 : batch * piece + 1]
    assert len(lengths) == -(-piece // seq_len)
    assert lengths[:-1] == [seq_len] * (len(lengths) - 1)
    assert lengths[-1] == piece - seq_len * (len(lengths) - 1)


def test_streams_read_a_split_in_its_file(folder):
    train = open_data(folder).split("train")
    inputs, targets = Streams(train, 3, 10).chunk(60)
    assert inputs.shape == targets.shape == (3, 3)  # (190 - 1) // 3 = 63 steps
    assert inputs.T.tolist() == [train[start : start + 3].tolist() for start in (60, 123, 186)]
    assert targets.T.tolist() == [train[start : start + 3].tolist() for start in (61, 124, 187)]


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 300), st.integers(1, 100), st.integers(1, 100))
def test_a_text_is_refused_only_if_too_short_and_the_sizes_proposed_then_fit(length, batch, seq_len):
    text = np.zeros(length, np.uint8)
    if length > batch * seq_len:
        assert Streams(text, batch, seq_len).steps >= seq_len
        return
    with pytest.raises(DataError) as error:
        Streams(text, batch, seq_len)
    check_message(error, f"{batch * seq_len} characters", f"got {length};")
    proposed = re.search(r"--batch (\d+) --seq-len (\d+)$", str(error.value))
    fitting = Streams(text, int(proposed[1]), int(proposed[2]))
    assert fitting.batch <= batch
    assert fitting.seq_len <= seq_len
