"""Settings chosen for the text and for the length of the run: what is given wins, and the rest follows the rule."""

import math
from dataclasses import fields

import pytest

from charrnn.errors import ConfigError
from charrnn.model.config import ModelConfig
from charrnn.model.size import parameter_count
from charrnn.training.choose import (
    FINE_TUNING,
    INPUT_RATE,
    LARGE_CAPACITY,
    LEAST_MEMORY,
    LONG_PIECE,
    MOST_DECAY,
    MOST_DROPOUT,
    MOST_INPUT_RATE,
    MOST_WEIGHT_DROP,
    OUTPUT_RATE,
    PASSES_REMEMBERED,
    PIECE,
    RUN_DECAYS,
    SHORTEST_MEMORY,
    SIZES,
    TIMES_ADAM,
    TRAINING,
    WEIGHT_DROP_PER_DOUBLING,
    Chooser,
    Text,
    short,
)
from charrnn.training.config import TrainConfig
from charrnn.training.presets import PRESETS
from charrnn.training.speed import seconds_per_char

MEGA = 1_000_000


def no_speed(rounded):
    raise AssertionError("the speed of products is measured for --minutes alone")


def choose(characters=MEGA, symbols=None, common=50, speed=no_speed, **given):
    return Chooser(Text(characters, symbols or max(65, common), common), given, speed).choose()


def test_what_is_given_wins():
    given = {"cell": "lstm", "layers": 3, "hidden": 7, "embed": 3, "batch": 5, "seq_len": 9, "lr": 0.5, "steps": 3}
    given |= {"dropout": 0.25, "dropout_output": 0.125, "optimiser": "sgd", "matrix_lr": 0.5}
    chosen = choose(**given)
    assert {name: chosen[name] for name in given} == given


def test_the_same_question_has_the_same_answer():
    assert choose(epochs=3.0) == choose(epochs=3.0)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({}, 256),
        ({"cell": "gru", "hidden": 320}, 320),
        ({"epochs": 1.0}, 256),
        ({"layers": 1}, 0),  # it has fewer than half as many parameters as the text has characters
        ({"characters": 2 * MEGA}, 0),
        ({"characters": MEGA // 20, "hidden": 64}, 64),
        ({"symbols": 400}, 256),
        ({"symbols": 1000}, 0),  # the products of so many embedded symbols cost more than a tenth of an update
        ({"symbols": 1000, "accumulate": 2}, 256),
        ({"characters": MEGA // 20, "batch": 1}, 0),
        ({"tied": True}, 0),  # it has one already
        ({"embed": 0}, 0),
        ({"embed": 7}, 7),
        (PRESETS["classic"], 0),
    ],
)
def test_a_model_of_many_parameters_gets_an_embedding_if_it_costs_little(given, want):
    assert choose(**{"hidden": 256} | given)["embed"] == want


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"epochs": 1.9}, True),
        ({"epochs": 2.0}, False),  # read often
        ({"epochs": 1.0, "layers": 1}, False),
        ({"epochs": 1.0, "residual": True}, False),
        ({"epochs": 1.0, "tied": True, "embed": 128}, False),
        ({"epochs": 1.0, "symbols": 120, "hidden": 128}, True),
        ({"epochs": 1.0, "symbols": 400, "hidden": 128}, False),  # a second product with all symbols costs a quarter
        ({"epochs": 1.0, "symbols": 400, "hidden": 512}, True),
    ],
)
def test_a_text_that_is_read_once_gets_skips_if_they_cost_little(given, want):
    chosen = choose(**given)
    assert (chosen["input_skips"], chosen["output_skips"]) == (want, want)
    assert choose(**given, output_skips=not want and chosen["layers"] > 1)["input_skips"] is want


def test_without_a_length_it_is_ten_passes():
    assert choose() == {name: value for name, value in choose(epochs=10.0).items() if name != "epochs"}


def test_longer_runs_get_larger_models():
    sizes = [choose(characters=100 * MEGA, steps=10**k)["hidden"] for k in range(2, 7)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3
    assert {sizes[0], sizes[-1]} <= set(SIZES)


def test_faster_cpus_get_larger_models():
    sizes = [choose(minutes=3.0, speed=lambda rounded, flops=flops: flops)["hidden"] for flops in (1e9, 1e11, 1e13)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_a_text_read_once_gets_no_dropout_and_one_read_often_much():
    assert choose(characters=1000 * MEGA, steps=1000)["dropout"] == 0
    rates = [choose(characters=MEGA, epochs=passes)["dropout"] for passes in (1.0, 4.0, 16.0, 1000.0)]
    assert rates == sorted(rates)
    assert 0 < rates[1] < rates[2] < rates[3] == MOST_DROPOUT


def test_a_model_too_small_to_learn_the_text_by_heart_gets_little_dropout():
    small, large = (choose(characters=MEGA, epochs=16.0, hidden=hidden)["dropout"] for hidden in (32, 256))
    assert small <= 0.01
    assert 0.2 < large <= 0.3


def test_recurrent_weights_are_dropped_only_if_a_text_is_read_very_often():
    rates = [choose(characters=MEGA / 10, epochs=passes)["weight_drop"] for passes in (2.0, 32.0, 64.0, 1000.0)]
    assert rates == [0, 0, WEIGHT_DROP_PER_DOUBLING, MOST_WEIGHT_DROP]
    small = choose(characters=MEGA / 10, epochs=64.0, hidden=64)
    capacity = parameter_count(ModelConfig(65, hidden=64)) / (LARGE_CAPACITY * MEGA / 10)
    assert small["weight_drop"] == pytest.approx(capacity * WEIGHT_DROP_PER_DOUBLING, abs=0.006)


@pytest.mark.parametrize("cell", ["minlstm", "mingru"])
def test_cells_without_recurrent_weights_get_no_weight_drop(cell):
    assert choose(characters=MEGA / 10, epochs=1000.0, cell=cell)["weight_drop"] == 0
    with pytest.raises(ConfigError, match=f"--weight-drop with a cell that has recurrent weights, got {cell}"):
        choose(cell=cell, weight_drop=0.1)


FREE = {"dropout": 0.0, "weight_drop": 0.0, "weight_decay": 0.0, "hidden": 512}
BY_HEART = {"init_scale": 0.031, "forget_bias": "0"}
USUAL = {"init_scale": 1.0, "forget_bias": "0.5"}


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"epochs": 10.0}, BY_HEART),
        ({"epochs": 100.0}, BY_HEART),
        ({"epochs": 10.0, "cell": "gru"}, {"init_scale": 0.12, "forget_bias": "0"}),
        ({"epochs": 10.0, "layers": 1, "hidden": 1024}, BY_HEART),
        ({"epochs": 4.0}, USUAL),
        ({"epochs": 4.0, "cell": "gru"}, {"init_scale": 0.5, "forget_bias": "0.5"}),
        ({"epochs": 10.0, "accumulate": 5}, USUAL),  # it has too few updates
        ({"epochs": 10.0, "hidden": 128}, USUAL),  # it has fewer parameters than the text has characters
        ({"epochs": 10.0, "dropout": 0.1}, USUAL),
        ({"epochs": 10.0, "dropout_output": 0.1}, USUAL),
        ({"epochs": 10.0, "weight_drop": 0.1}, USUAL),
        ({"epochs": 10.0, "weight_decay": 0.01}, USUAL),
        ({"epochs": 10.0, "weight_decay": None, "optimiser": "adamw"}, USUAL),  # it has a decay of its own
        ({"epochs": 10.0, "init_scale": 2.0}, {"init_scale": 2.0, "forget_bias": "0"}),
        ({"epochs": 10.0, "forget_bias": "chrono"}, {"init_scale": 0.031, "forget_bias": "chrono"}),
    ],
)
def test_only_a_model_that_would_learn_the_text_by_heart_begins_mildly(given, want):
    chosen = choose(**FREE | given)
    assert {name: chosen[name] for name in want} == want


def test_a_trained_model_does_not_begin_again():
    chosen = Chooser(Text(MEGA, 65, 50), FREE | {"epochs": 10.0}, no_speed, trained=True).choose()
    assert {name: chosen[name] for name in USUAL} == USUAL


def test_a_beginning_is_the_milder_the_more_often_the_text_is_read():
    large = FREE | {"hidden": 1024, "characters": 4 * MEGA}  # so that there are enough updates
    scales = [choose(**large, epochs=passes)["init_scale"] for passes in (4.0, 5.0, 6.0, 8.0)]
    assert scales == sorted(scales, reverse=True)
    assert scales[1] == pytest.approx((4 / 5) ** 5, abs=0.01)


def test_a_beginning_is_the_milder_the_more_updates_a_run_has():
    batches = (32, 16, 12, 8)  # of 8 passes
    chosen = [choose(**FREE, epochs=8.0, characters=MEGA / 4, batch=batch)["init_scale"] for batch in batches]
    updates = [8 * MEGA / 4 / (batch * 64) for batch in batches]
    assert chosen == pytest.approx([max(1 / 32, min(1, 15000 / (8 * u)) ** 5) for u in updates], rel=0.04)


def test_a_single_layer_gets_no_dropout_between_layers():
    assert choose(epochs=1000.0, layers=1)["dropout"] == 0
    with pytest.raises(ConfigError, match="--dropout with several layers, got --layers 1"):
        choose(layers=1, dropout=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"projection_rate": 0.5, "characters": 100 * MEGA}, "--projection-rate with --embed"),
        ({"output_rate": 2.0, "tied": True}, "without --tied"),
    ],
)
def test_a_factor_of_the_rate_without_effect_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        choose(**given)
    choose(**given | {"tied": False, "embed": 8})  # here it has an effect
    choose(**given | PRESETS["classic"])  # whose factors of 1 change nothing


def test_a_setting_is_refused_only_if_the_rule_chooses_nothing_that_it_changes():
    often = {"hidden": 256, "characters": MEGA, "epochs": 9.0}  # the rule chooses an embedding and dropout
    assert choose(**often, projection_rate=0.3)["projection_rate"] == 0.3
    assert choose(**often, dropout_kind="variational")["dropout"] > 0
    with pytest.raises(ConfigError, match="--projection-rate with --embed"):
        choose(**often | {"characters": 100 * MEGA}, projection_rate=0.3)
    with pytest.raises(ConfigError, match="--dropout-kind variational with dropout"):
        choose(**often | {"epochs": 0.5}, dropout_kind="variational")


def test_a_tied_model_is_as_wide_as_its_embedding():
    assert choose(tied=True, embed=64)["hidden"] == 64


def test_a_short_text_is_read_in_fewer_streams_also_if_several_batches_make_an_update():
    assert choose(characters=32 * 64 * 16)["batch"] == 32
    assert choose(characters=32 * 64 * 16, accumulate=4)["batch"] == 8
    assert choose(characters=1000, accumulate=4)["batch"] == 1


def test_a_tied_model_is_counted_as_it_is():
    tied = parameter_count(ModelConfig(5000, hidden=256, tied=True))
    assert choose(characters=tied, common=5000, hidden=256, epochs=8.0, tied=True)["dropout"] == 0.2
    assert choose(characters=2 * tied, common=5000, hidden=256, epochs=8.0, tied=True)["dropout"] == 0.1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "mlstm"])
@pytest.mark.parametrize("optimiser", sorted(TIMES_ADAM))
def test_optimisers_that_need_larger_rates_get_them(cell, optimiser):
    usual, other = choose(cell=cell)["lr"], choose(cell=cell, optimiser=optimiser)["lr"]
    assert other == pytest.approx(usual * TIMES_ADAM[optimiser], rel=0.05)


def test_a_trained_model_goes_on_with_a_moderate_rate():
    text = Text(MEGA, 65, 50)
    assert Chooser(text, {}, no_speed, trained=True).choose()["lr"] == FINE_TUNING < choose()["lr"]
    assert Chooser(text, {"lr": 0.25}, no_speed, trained=True).choose()["lr"] == 0.25


def run_decay(chosen, updates):
    """D of a run: a weight without a gradient shrinks by exp(-D)."""
    return -math.log((1 - 0.5 * chosen["lr"] * chosen["weight_decay"]) ** updates)


@pytest.mark.parametrize(
    "given",
    [{"steps": 3000}, {"epochs": 1.0, "lr": 0.004}, {"steps": 3000, "accumulate": 2}, {"steps": 3000, "cell": "rnn"}],
)
def test_weights_decay_by_the_same_factor_in_runs_of_few_passes(given):
    chosen = choose(characters=8 * MEGA, hidden=256, **given)
    updates = given.get("steps") or 8 * MEGA / (chosen["batch"] * chosen["seq_len"])
    assert run_decay(chosen, updates) == pytest.approx(RUN_DECAYS[given.get("cell", "lstm")], rel=0.05)


@pytest.mark.parametrize(("passes", "times"), [(1, 1), (2, 1), (8, 2), (32, 4)])
def test_weights_decay_more_if_a_text_is_read_often(passes, times):
    assert times_more(4 * MEGA, passes) == pytest.approx(times, rel=0.05)


@pytest.mark.parametrize(("per_character", "times"), [(8, 4), (4, 4), (2, 2), (1, 1), (0.25, 1)])
def test_weights_keep_a_memory_of_many_updates_unless_the_model_can_memorise_the_text(per_character, times):
    parameters = parameter_count(ModelConfig(1, "lstm", 2, 256))
    characters = int(parameters / per_character)
    chosen = choose(characters=characters, common=1, hidden=256, embed=0, epochs=32.0, batch=1024)
    assert chosen["lr"] * chosen["weight_decay"] == pytest.approx(times / SHORTEST_MEMORY, rel=0.05)


def times_more(characters, passes):
    """How many times larger the decay of a run of an LSTM of 2 x 1024 is than in a run of few passes."""
    chosen = choose(characters=characters, hidden=1024, epochs=float(passes), lr=0.02)
    updates = passes * characters / (chosen["batch"] * chosen["seq_len"])
    return run_decay(chosen, updates) / RUN_DECAYS["lstm"]


def test_other_optimisers_keep_their_usual_weight_decay():
    assert choose(hidden=256, optimiser="adamw").get("weight_decay") is None
    assert choose(hidden=256, weight_decay=0.0)["weight_decay"] == 0.0


@pytest.mark.parametrize("hidden", [64, 256, 512])
def test_in_a_short_run_weights_keep_a_memory_of_many_updates(hidden):
    chosen = choose(hidden=hidden, steps=100)
    assert chosen["lr"] * chosen["weight_decay"] == pytest.approx(1 / SHORTEST_MEMORY, rel=0.05)


def test_with_a_low_rate_weights_hardly_decay():
    """Otherwise they would shrink by much more than such a rate can learn again."""
    assert choose(lr=1e-5, steps=1000)["weight_decay"] == MOST_DECAY
    assert choose(common=5000, lr=1e-5, steps=500)["weight_decay"] == MOST_DECAY


def test_minutes_are_turned_into_characters_by_the_speed():
    chooser = Chooser(Text(MEGA, 65, 50), {"minutes": 2.0, "hidden": 256}, lambda rounded: 1e11)
    chooser.choose()
    model = ModelConfig(65, "lstm", 2, 256)
    read = chooser.characters_read(model)
    assert read == pytest.approx(120 * TRAINING / seconds_per_char(model, 1e11))
    assert (
        choose(minutes=2.0, hidden=256, epochs=0.5, speed=lambda rounded: 1e11)["dropout"] == 0
    )  # the nearer limit counts


def test_steps_that_are_computed_again_count_for_the_minutes():
    """With --bptt K1:K2, a chunk moves on K1 time steps, and K2 are computed."""
    read = {}
    for bptt, seq_len in (("", 4), ("4:64", 4)):
        given = {"minutes": 2.0, "hidden": 256, "bptt": bptt, "seq_len": seq_len}
        chooser = Chooser(Text(MEGA, 65, 50), given, lambda rounded: 1e11)
        read[bptt] = chooser.characters_read(ModelConfig(65, "lstm", 2, 256))
    assert read[""] == pytest.approx(16 * read["4:64"])


def test_a_model_of_half_as_many_parameters_as_characters_gets_half_the_dropout():
    parameters = parameter_count(ModelConfig(50, hidden=128))
    given = {"common": 50, "hidden": 128, "embed": 0, "epochs": 8.0}
    halved, whole = (choose(characters=n * parameters, **given)["dropout"] for n in (2, 1))
    assert (halved, whole) == (0.1, 0.2)


def test_rows_of_the_input_and_weights_of_the_output_learn_faster():
    def factors(**given):
        chosen = choose(**given)
        return chosen["input_rate"], chosen["output_rate"]

    assert factors() == factors(optimiser="sgd", cell="gru", hidden=64) == (INPUT_RATE, OUTPUT_RATE)
    assert factors(common=800) == (INPUT_RATE, OUTPUT_RATE)
    assert factors(common=1000) == (2.5, OUTPUT_RATE)
    assert factors(common=20_000) == (MOST_INPUT_RATE, OUTPUT_RATE)
    assert factors(input_rate=0.5, output_rate=7.0) == (0.5, 7.0)
    assert factors(tied=True) == factors(tied=True, common=5000) == factors(**PRESETS["classic"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("given", "want"),
    [({}, 1), ({"embed": 64}, 0.25), ({"embed": 256}, 0.062), ({"embed": 8}, 1), ({"embed": 64, "tied": True}, 1)],
)
def test_weights_that_read_a_wide_embedding_learn_more_slowly(given, want):
    assert choose(hidden=64, **given)["projection_rate"] == want


@pytest.mark.parametrize("passes", [3.0, 20.0])
def test_the_more_symbols_are_common_the_shorter_the_memory_of_weights(passes):
    chosen = choose(characters=MEGA, common=int(PASSES_REMEMBERED), hidden=256, epochs=passes)
    updates_of_a_pass = MEGA / (chosen["batch"] * chosen["seq_len"])
    assert chosen["lr"] * chosen["weight_decay"] == pytest.approx(1 / updates_of_a_pass, rel=0.05)
    shorter = choose(characters=MEGA, common=int(2 * PASSES_REMEMBERED), hidden=256, epochs=passes)
    assert shorter["weight_decay"] == pytest.approx(2 * chosen["weight_decay"], rel=0.05)


def test_the_memory_of_weights_is_some_updates_at_least():
    chosen = choose(characters=20_000, common=int(PASSES_REMEMBERED), epochs=20.0)
    assert chosen["lr"] * chosen["weight_decay"] == pytest.approx(1 / LEAST_MEMORY, rel=0.05)


@pytest.mark.parametrize("passes", [2.0, 4.0, 10.0, 40.0])
def test_symbols_that_are_very_rare_change_nothing(passes):
    few, many = (choose(symbols=symbols, hidden=256, embed=0, epochs=passes) for symbols in (60, 6000))
    assert few == many


@pytest.mark.parametrize(
    ("epochs", "given", "shuffle"),
    [
        *[(0.5, {}, PIECE), (1.9, {}, PIECE), (2.0, {}, LONG_PIECE), (2.0, {"stateless": True}, PIECE)],
        *[(0.5, {"shuffle": 9}, 9), (0.5, {"shuffle": 0}, 0), (2.0, {"shuffle": 0}, 0)],
    ],
)
def test_pieces_are_longer_if_the_text_is_read_often_and_its_lines_depend_on_each_other(epochs, given, shuffle):
    chooser = Chooser(Text(MEGA, 65, 50), {"epochs": epochs} | given, no_speed)
    assert chooser.choose()["shuffle"] == shuffle
    assert (f", pieces of {shuffle:,} in random order, " in chooser.describe()) == bool(shuffle)


@pytest.mark.parametrize(("characters", "batch"), [(2, 1), (2047, 1), (2048, 2), (5_000, 4), (100_000, 32)])
def test_short_texts_are_read_in_few_streams(characters, batch):
    assert choose(characters=characters)["batch"] == batch


def test_the_choice_is_told_in_one_line():
    chooser = Chooser(Text(1_003_854, 65, 50), {"epochs": 8.0, "embed": 64}, no_speed)
    chosen = chooser.choose()
    line = chooser.describe()
    assert "\n" not in line
    for part in ("1 M characters", "65 symbols (50 of them common)", "8 times", f"lstm 2 x {chosen['hidden']}"):
        assert part in line
    for name in ("dropout", "weight_decay", "batch", "lr"):
        assert f"{name.replace('_', ' ')} {chosen[name]:g}" in line
    for name in ("input", "projection", "output"):
        assert f"{name} x {chosen[f'{name}_rate']:g}" in line
    assert ", embedding 64, " in line


@pytest.mark.parametrize(("given", "told"), [({}, False), (FREE, True), ({"cell": "gru"}, False)])
def test_a_mild_beginning_is_told(given, told):
    chooser = Chooser(Text(MEGA, 65, 50), given | {"epochs": 10.0}, no_speed)
    chooser.choose()
    assert (", initial scale 0.031, batch" in chooser.describe()) == told


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.0068, "0.0068"), (1, "1"), (9.96, "10"), (99.6, "100"), (100, "100"), (123.4, "123"), (1000, "1 k"),
     (99_600, "100 k"), (100_000, "100 k"), (900_290, "900 k"), (1_003_854, "1 M"), (2.5e9, "2.5 G")],
)  # fmt: skip
def test_numbers_are_told_to_a_few_digits(number, shown):
    assert short(number) == shown


def test_rates_fall_with_the_size_and_stay_moderate():
    rates = [choose(hidden=hidden)["lr"] for hidden in (8, 128, 256, 512, 1024)]
    assert rates == [0.05, 0.024, 0.012, 0.006, 0.003]
    assert [choose(hidden=256, cell=cell)["lr"] for cell in ("rnn", "gru", "ugrnn")] == [0.004, 0.008, 0.007]


@pytest.mark.parametrize("name", PRESETS)
def test_the_settings_of_presets_are_in_their_ranges(name):
    settings = {n: value for n, value in PRESETS[name].items() if n in {f.name for f in fields(TrainConfig)}}
    assert TrainConfig(**settings)


def test_a_short_text_is_read_less_often_because_its_batch_is_small():
    read = {}
    for batch in (2, 32):
        chooser = Chooser(Text(3000, 65, 50), {"minutes": 2.0, "hidden": 64, "batch": batch}, lambda rounded: 1e11)
        chooser.choose()
        read[batch] = chooser.characters_read(ModelConfig(65, "lstm", 2, 64))
    chosen = Chooser(Text(3000, 65, 50), {"minutes": 2.0, "hidden": 64}, lambda rounded: 1e11)
    assert chosen.choose()["batch"] == 2
    assert chosen.characters_read(ModelConfig(65, "lstm", 2, 64)) == read[2] < 0.5 * read[32]
