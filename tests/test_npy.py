"""The .npy format: what NumPy writes is read as NumPy reads it, and nothing else is."""

import gc
import io
import warnings

import numpy as np
import pytest

from charrnn.npy import read_header, read_numbers
from charrnn.text.stored import StoredSymbols, first


def written(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5, dtype=np.uint8),
        np.arange(6, dtype=np.uint32).reshape(2, 3),
        np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)),
        np.array(7),
        np.array(True),
        np.array("a text"),
        np.zeros((0, 3), np.float64),
        np.arange(4, dtype=">u2"),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_what_numpy_writes_comes_back(array):
    file = io.BytesIO(written(array))
    header = read_header(file)
    assert (header.dtype, header.shape, header.nbytes) == (array.dtype, array.shape, array.nbytes)
    assert header.size == file.tell()
    back = read_numbers(file, header)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_a_file_that_ends_early_is_an_error():
    file = io.BytesIO(written(np.arange(5, dtype=np.uint8))[:-1])
    with pytest.raises(ValueError, match="cut off"):
        read_numbers(file, read_header(file))


def test_every_flipped_bit_of_a_header_is_an_error_without_a_warning_or_another_valid_header():
    """NumPy's reader gives TokenError, IndentationError, SyntaxWarning and more."""
    content, errors = written(np.arange(190, dtype=np.uint8)), 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bit in range(8 * 128):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                read_header(io.BytesIO(changed))
            except ValueError:
                errors += 1
    assert errors > 900


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000000000,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|u7', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,), }",
        "(" * 900,
    ],
)
def test_other_headers_are_errors(text):
    header = text.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(100)
    with pytest.raises(ValueError, match="array"):
        read_header(io.BytesIO(content))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_slices_of_stored_symbols_are_those_of_the_array(tmp_path, dtype):
    whole = np.random.default_rng(0).integers(0, 200, 1000).astype(dtype)
    np.save(tmp_path / "symbols.npy", whole)
    stored = StoredSymbols(tmp_path / "symbols.npy")
    for part in (slice(0, 9), slice(200, 777), slice(-5, None), slice(130, 400, 7), slice(999, 2000), slice(5, 5)):
        np.testing.assert_array_equal(stored[part], whole[part])


def test_the_first_stored_symbols_stay_in_the_file(tmp_path):
    whole = np.random.default_rng(0).integers(0, 200, 1000).astype(np.uint16)
    np.save(tmp_path / "symbols.npy", whole)
    stored = StoredSymbols(tmp_path / "symbols.npy")
    part = first(stored, 300)
    assert len(first(stored, 2000)) == len(stored) == 1000
    del stored
    gc.collect()
    assert isinstance(part, StoredSymbols)
    assert len(part) == 300
    np.testing.assert_array_equal(part[290:400], whole[290:300])
    np.testing.assert_array_equal(first(whole, 300), whole[:300])
