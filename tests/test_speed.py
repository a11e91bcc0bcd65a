"""How long training is foretold to take for each character, from the speed of products."""

import pytest

from charrnn.model.config import ModelConfig
from charrnn.model.size import multiply_adds_per_char
from charrnn.training.speed import seconds_per_char


def test_however_fast_products_are_the_rest_of_training_takes_time():
    one, two = (seconds_per_char(ModelConfig(65, layers=2, hidden=hidden), 1e30) for hidden in (256, 512))
    assert 1.9 * one < two < 2.0 * one


def test_a_small_batch_takes_more_time_for_each_character_but_less_for_each_chunk():
    """A time step reads the weights, and the threads wait for each other, however few streams there are."""
    model, batches = ModelConfig(65), (1, 2, 4, 8, 16, 32, 64)
    of_a_character = [seconds_per_char(model, 1e11, batch) for batch in batches]
    of_a_chunk = [batch * seconds for batch, seconds in zip(batches, of_a_character, strict=True)]
    assert of_a_character == sorted(of_a_character, reverse=True)
    assert of_a_chunk == sorted(of_a_chunk)


def test_slow_products_take_nearly_all_the_time():
    model = ModelConfig(65)
    assert seconds_per_char(model, 1e6) == pytest.approx(6 * multiply_adds_per_char(model) / 1e6, rel=0.01)
