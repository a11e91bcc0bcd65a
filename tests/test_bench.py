"""`charrnn bench`: what it counts, and that measuring changes nothing. No time is asserted."""

import json
import subprocess
import sys

import numpy as np
import pytest
from networks import KINDS, make, pass_through

from charrnn.bench import PHASES, TimedUnrolled
from charrnn.engine import bfloat16
from charrnn.engine.peak import CHAINS, FLOPS, PAIRS_FLOPS, multiply_adds, pair_multiply_adds
from charrnn.engine.simd import VECTOR_BITS
from charrnn.engine.tile import load_tiles
from charrnn.model.config import ModelConfig
from charrnn.model.size import multiply_adds_per_char


@pytest.mark.parametrize("kind", KINDS)
def test_multiply_adds_are_the_sizes_of_the_weights_that_are_multiplied(kind):
    m = make(kind, np.float32, layers=3, hidden=20, embed=5, symbols=11)
    multiplied = {
        n: v.size for n, v in m.network.parameters.items() if v.ndim == 2 and n not in ("embed", "layer0.W_x")
    }
    assert multiply_adds_per_char(m.config) == sum(multiplied.values())


def test_a_timed_chunk_computes_the_same_bits_and_times_every_phase():
    plain, timed = (make("lstm", np.float32) for _ in range(2))
    timed.unrolled = TimedUnrolled(timed.network, 3, 4)
    one, two = pass_through(plain), pass_through(timed)
    assert one[0] == two[0]
    assert all(np.array_equal(one[1][name], two[1][name]) for name in one[1])
    assert set(timed.unrolled.seconds) == set(PHASES[:5])


def test_the_peak_kernel_makes_the_multiply_adds_it_is_counted_with():
    """Each iteration makes s = s x + x of every chain; chain j begins with j x."""
    sums = np.zeros(2, np.float32)
    multiply_adds(3, np.float32(0.5), sums)
    expected = sum(1 + (0.5 * j - 1) * 0.5**3 for j in range(CHAINS))
    np.testing.assert_allclose(sums, expected, rtol=1e-6)
    assert FLOPS == 2 * CHAINS * VECTOR_BITS // 32


def test_the_peak_kernel_of_bfloat16_makes_the_multiply_adds_it_is_counted_with():
    """A register of the factor 0.5 is pairs of 0.5 and 0: s = s + 0.25 each time."""
    load_tiles("bfloat16")
    sums = np.zeros(2, np.float32)
    pair_multiply_adds(3, np.float32(0.5), sums)
    if not bfloat16.on_tiles():
        np.testing.assert_allclose(sums, sum(0.5 * j + 3 * 0.25 for j in range(CHAINS)), rtol=1e-6)
        assert PAIRS_FLOPS == 2 * FLOPS


def test_the_json_has_every_figure_and_they_agree():
    options = ["--hidden", "32", "--layers", "1", "--batch", "4", "--seq-len", "8", "--seconds", "0.1", "--json"]
    command = [sys.executable, "-m", "charrnn", "bench", *options]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    flops = 6 * multiply_adds_per_char(ModelConfig(65, "lstm", 1, 32))
    train = answer["train"]
    assert train["gflops"] == pytest.approx(train["chars_per_second"] * flops / 1e9)
    assert train["ms_per_chunk"] == pytest.approx(1e3 * 32 / train["chars_per_second"])
    assert set(train["phases_ms"]) == set(PHASES)
    assert answer["sample"]["streams"] == 1
    assert train["share_of_peak"] > 0
