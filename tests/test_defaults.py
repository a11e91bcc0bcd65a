"""The numbers of docs/defaults.md, written down a second time."""

import math

import pytest
from test_choose import MEGA, choose


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"optimiser": "sgd"}, "lr", 0.9),
        ({"optimiser": "adagrad"}, "lr", 0.048),
        *(
            ({"cell": cell}, "lr", rate)
            for cell, rate in {"rnn": 0.004, "lstm": 0.012, "gru": 0.008, "mlstm": 0.008, "ugrnn": 0.007}.items()
        ),
        *(({"cell": cell}, "lr", 0.01) for cell in ("minlstm", "mingru")),
        ({"hidden": 512}, "lr", 0.006),
        ({"hidden": 8}, "lr", 0.05),
        ({}, "output_rate", 3.0),
        ({}, "input_rate", 2.0),
        ({"common": 1200}, "input_rate", 3.0),
        ({"common": 20_000}, "input_rate", 8.0),
        ({"embed": 128}, "projection_rate", 0.5),
        ({"epochs": 1.0}, "shuffle", 800),
        ({"epochs": 2.0}, "shuffle", 3200),
        ({"epochs": 2.0, "stateless": True}, "shuffle", 800),
        ({"epochs": 8.0, "hidden": 512}, "dropout", 0.2),
        ({"epochs": 1000.0, "hidden": 512}, "dropout", 0.5),
        ({"epochs": 64.0, "hidden": 1024}, "weight_drop", 0.2),
        ({"epochs": 10_000.0, "hidden": 1024}, "weight_drop", 0.4),
        ({"epochs": 8.0, "hidden": 512, "dropout": 0.0, "weight_decay": 0.0}, "init_scale", 0.031),
        ({"epochs": 8.0, "hidden": 512, "dropout": 0.0, "weight_decay": 0.0}, "forget_bias", "0"),
        ({"epochs": 8.0, "hidden": 512}, "init_scale", 1.0),
        ({"epochs": 8.0, "hidden": 512}, "forget_bias", "0.5"),
        ({"epochs": 8.0, "cell": "gru", "hidden": 512}, "init_scale", 0.5),
        ({"epochs": 8.0, "cell": "gru", "hidden": 512, "dropout": 0.0, "weight_decay": 0.0}, "init_scale", 0.12),
    ],
)
def test_the_numbers_of_the_documentation(given, name, value):
    """As docs/defaults.md has them; with other sizes than 2 x 256 where these are given."""
    assert choose(**{"hidden": 256} | given)[name] == value


def test_a_run_reads_five_characters_for_each_weight_between_hidden_units():
    """Of an LSTM of 2 x 256: W_h of both layers, W_x of the upper one; biases and the like add less than 2 %."""
    steps = 5 * (4 * 3 * 256 * 256) / (32 * 64)
    counts = (math.ceil(1.02 * steps), math.floor(steps))
    assert [choose(characters=1000 * MEGA, steps=count)["hidden"] for count in counts] == [256, 192]
