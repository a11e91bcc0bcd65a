"""Learning rates over a run, against their definitions."""

import math

import pytest

from charrnn.training.config import TrainConfig
from charrnn.training.schedule import learning_rate


def rates(points, step=0, scale=1.0, **settings):
    config = TrainConfig(**({"lr": 2.0, "steps": 100, "warmup": 0.0} | settings))
    return [learning_rate(config, done, step, scale) for done in points]


@pytest.mark.parametrize(
    ("schedule", "want"),
    [
        ("constant", [2, 2, 2, 2, 2]),
        ("linear", [2, 1.5, 1, 0.5, 0]),
        ("cosine", [2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5), 0]),
        ("plateau", [2, 2, 2, 2, 2]),
        ("step", [2, 1, 0.5, 0.25, 0.125]),
    ],
)
def test_each_schedule_has_its_shape(schedule, want):
    assert rates([0, 0.25, 0.5, 0.75, 1], schedule=schedule) == pytest.approx(want)


def test_a_share_of_the_run_warms_up_and_the_rest_falls():
    got = rates([0, 0.1, 0.2, 0.6, 1], schedule="linear", warmup=0.2)
    assert got == pytest.approx([0, 1, 2, 1, 0])


def test_steps_warm_up_from_the_first_update_on():
    got = [
        learning_rate(TrainConfig(lr=2.0, warmup=4, steps=100, schedule="constant"), step / 100, step, 1.0)
        for step in range(6)
    ]
    assert got == pytest.approx([0.5, 1, 1.5, 2, 2, 2])


def test_a_warmup_of_1_is_one_step():
    assert rates([0, 0.5, 1], schedule="linear", warmup=1.0) == pytest.approx([2, 1, 0])


def test_steps_decay():
    config = TrainConfig(lr=2.0, warmup=0, schedule="step", decay=0.1, decay_every=10, steps=100)
    assert [learning_rate(config, 0, step, 1.0) for step in (0, 9, 10, 25)] == pytest.approx([2, 2, 0.2, 0.02])


def test_the_scale_of_plateaus_and_rollbacks_multiplies():
    assert rates([0.5], schedule="cosine", scale=0.25) == pytest.approx([0.25])
