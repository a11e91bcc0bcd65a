"""The settings that a user leaves open, chosen for the text and for the length of the run.

docs/defaults.md explains the rule in the same ten points, docs/measurements.md gives the measurements behind them:

1. --steps or --epochs say how many characters a run reads. With --minutes, it is the number that this CPU can read in
   that time.
2. The model is the largest of SIZES that reads CHARS_PER_WEIGHT characters for each weight between its hidden units.
3. After FEW_PASSES passes over the text, each doubling of the passes adds DROPOUT_PER_DOUBLING to the dropout between
   the layers. A model with fewer parameters than the text has characters gets less dropout. After MANY_PASSES passes, a
   share of the recurrent weights is dropped too: WEIGHT_DROP_PER_DOUBLING for each doubling of the passes. A model with
   fewer than LARGE_CAPACITY parameters for each character of the text gets less of it.
4. The learning rate is that of RATES for RATE_HIDDEN hidden units. It is divided by the number of hidden units,
   relative to RATE_HIDDEN. An update of Adam changes each weight by about the rate. So the more units a layer has, the
   more their weighted sum changes (Yang et al. 2021, "Tuning Large Neural Networks via Zero-Shot Hyperparameter
   Transfer"). Optimisers of TIMES_ADAM need a larger rate. The output's weights learn faster by the factor OUTPUT_RATE,
   and the rows that the input looks up by INPUT_RATE, or by the number of common symbols divided by COMMON_SYMBOLS if
   this is more, but at most by MOST_INPUT_RATE. Weights that read an embedding learn more slowly by the factor
   PROJECTION_RATE, times the number of hidden units for each number of the embedding. A tied model has no factors.
5. The weight decay is chosen so that a weight without a gradient would shrink by the factor exp(-D) over the whole run.
   D is that of RUN_DECAYS for the cell. After FEW_PASSES passes, it grows with the square root of the passes. But
   weights keep a memory of at least SHORTEST_MEMORY updates, or of fewer if the text is read often and the model has
   more parameters than the text has characters. A text of many common symbols needs more decay, because each of them
   occurs seldom: there, weights keep a memory of at most PASSES_REMEMBERED passes divided by the number of common
   symbols, or of LEAST_MEMORY updates if that is more (Wang & Aitchison 2024 found that a good memory is a certain
   number of passes). In the end, the decay is at most MOST_DECAY. This limit grows with the square root of the passes.
6. The input is an embedding as wide as the layers if the model has at least EMBED_CAPACITY parameters for each
   character of the text, because it then learns better what is true beyond the text. But if there are so many symbols
   that an update gets dearer by more than EMBED_COST, the input is one-hot.
7. If the text is read less than FEW_PASSES times, the upper layers also read the character, and the softmax sees all
   layers (Graves 2013, "Generating Sequences with Recurrent Neural Networks"). But if there are so many symbols that
   this makes the products dearer by more than SKIPS_COST, the model gets no skips. A residual or tied model gets none
   either.
8. There are fewer streams if the text is too short to give each of them LEAST_CHUNKS chunks.
9. Training begins with the scale of INIT_SCALES for the cell, see model/initialise.py. But if the model is to learn a
   text by heart, it begins with a smaller scale, and with a forget bias of 0. This is so if nothing is dropped, weights
   do not decay, the text is read more than HEART_PASSES times, and the model has more parameters than the text has
   characters. Then each doubling of the passes halves the scale HALVINGS_PER_DOUBLING times, down to the cell's scale
   of LEAST_INIT_SCALES. But such a model learns slowly at first. So passes times updates must be more than
   HEART_PRODUCT, and each doubling of the product allows as many halvings.
10. The text is read in pieces in a random order, see shuffle.py. They have PIECE characters if lines are independent
   (--stateless) or if the text is read less than FEW_PASSES times, otherwise LONG_PIECE characters.

Settings that are given are never changed. The other settings are chosen to fit them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from charrnn.errors import ConfigError
from charrnn.model.cells import cell_of
from charrnn.model.config import USUAL_FORGET_BIAS, ModelConfig
from charrnn.model.network import parameter_shapes
from charrnn.model.size import multiply_adds_per_char, parameter_count
from charrnn.training.config import USUAL_EPOCHS, TrainConfig, parse_bptt
from charrnn.training.speed import seconds_per_char

SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
CHARS_PER_WEIGHT = 5.0
TRAINING = 0.9  # share of a run's minutes in which it trains
FEW_PASSES, DROPOUT_PER_DOUBLING, MOST_DROPOUT = 2.0, 0.1, 0.5
MANY_PASSES, WEIGHT_DROP_PER_DOUBLING, MOST_WEIGHT_DROP = 32.0, 0.2, 0.4
LARGE_CAPACITY = 5.0  # parameters of a model for each character of the text
RUN_DECAYS = {"rnn": 0.2, "lstm": 1.3, "gru": 1.0, "minlstm": 0.2, "mingru": 0.2}
USUAL_RUN_DECAY = 0.8  # of other cells
MOST_DECAY = 0.3  # in a run of few passes; the limit matters if the rate is low
SHORTEST_MEMORY = 700  # updates in which a weight without a gradient shrinks by exp(-1) at the full rate
PASSES_REMEMBERED = 3000.0  # passes over which weights keep a memory, if one symbol is common
LEAST_MEMORY = 80  # updates that a memory of passes has at least
MEAN_RATE = 0.5  # mean rate of a run, as a share of its highest rate
RATES = {"rnn": 0.004, "lstm": 0.012, "gru": 0.008, "mlstm": 0.008, "minlstm": 0.01, "mingru": 0.01}
USUAL_RATE = 0.007  # of other cells
RATE_HIDDEN, MOST_RATE = 256, 0.05  # hidden units to which the rates belong; the highest rate of any size
INPUT_RATE, OUTPUT_RATE = 2.0, 3.0  # factors of the rate for matrices with a row, or a column, for each symbol
COMMON_SYMBOLS, MOST_INPUT_RATE = 400.0, 8.0  # common symbols for which the input's factor is one larger; its limit
PROJECTION_RATE = 0.25  # factor for a matrix that reads an embedding as wide as the layer
TIMES_ADAM = {"sgd": 75.0, "adagrad": 4.0}  # rate of an optimiser; that of Adam is 1
EMBED_CAPACITY, EMBED_COST = 0.5, 0.1  # parameters for each character; share of the multiply-adds of an update
SKIPS_COST = 0.1  # by this share of the multiply-adds, skips may make a model dearer
PIECE, LONG_PIECE = 800, 3200  # characters of the pieces that are read in a random order
FINE_TUNING = 0.003  # rate of Adam with which a trained model begins
LEAST_EPSILON = 1e-30  # a number below the normal range would be 0 in the kernels
INIT_SCALES = {"gru": 0.5}  # scale with which a cell begins; 1 for others
LEAST_INIT_SCALES, USUAL_LEAST_INIT_SCALE = {"gru": 1 / 8}, 1 / 32  # for a model that learns a text by heart
HEART_PASSES, HALVINGS_PER_DOUBLING = 4.0, 5.0
HEART_PRODUCT = 15000.0  # passes times updates from which a model can learn a text by heart
LEAST_CHUNKS = 16  # of an epoch; a short text is read in fewer streams
STEADY: dict[str, Any] = {  # defaults that the choice depends on; of these, it changes only the batch
    **{name: getattr(ModelConfig, name) for name in ("cell", "layers")},
    **{name: getattr(TrainConfig, name) for name in ("batch", "seq_len", "optimiser")},
}


@dataclass(frozen=True)
class Text:
    """What the choice needs to know about a training text.

    Args:
        characters: how many it has.
        symbols: how many different ones it has, V.
        common: how many of them are common; these make up 99 % of it.
    """

    characters: int
    symbols: int
    common: int


class Chooser:
    """Fills in the settings of one run.

    Args:
        text: what is trained on.
        given: settings that are fixed, of model and training.
        product_speed: measures the speed of products, in bfloat16 or not, see speed.py; called only when --minutes is
            given.
        trained: whether the model is trained already, so that a high rate would harm it.
    Raises:
        ConfigError: a given setting is impossible.
    """

    def __init__(
        self, text: Text, given: dict[str, Any], product_speed: Callable[[bool], float], trained: bool = False
    ) -> None:
        self.text, self.trained = text, trained
        if given.get("tied") and given.get("embed"):
            given = {"hidden": given["embed"]} | given
        _check(text, given)
        self.settings = STEADY | given
        if "batch" not in given:
            fitting = text.characters // (LEAST_CHUNKS * self._characters_of_update(1))
            self.settings["batch"] = max(1, min(self.settings["batch"], fitting))
        self.speed = product_speed(given.get("precision") == "bfloat16") if given.get("minutes") else 0.0

    def choose(self) -> dict[str, Any]:
        """The given settings, and values for the others that the rule chooses.

        Raises:
            ConfigError: a given setting has no effect.
        """
        settings = self.settings
        if "hidden" not in settings:
            settings["hidden"] = self._hidden()
        if "embed" not in settings:
            settings["embed"] = settings["hidden"] if self._gains_from_embedding() else 0
        is_read_often = self._passes(self._model(settings["hidden"])) >= FEW_PASSES
        skips = not is_read_often and self._affords_skips()
        settings.setdefault("input_skips", skips)
        settings.setdefault("output_skips", skips)
        settings.setdefault("lr", self._rate())
        for name, factor in self._rate_factors().items():
            settings.setdefault(name, factor)
        settings.setdefault("shuffle", LONG_PIECE if is_read_often and not settings.get("stateless") else PIECE)
        between = self._share(FEW_PASSES, DROPOUT_PER_DOUBLING, MOST_DROPOUT, 1.0)
        settings.setdefault("dropout", between if settings["layers"] > 1 else 0.0)
        of_weights = self._share(MANY_PASSES, WEIGHT_DROP_PER_DOUBLING, MOST_WEIGHT_DROP, LARGE_CAPACITY)
        recurrent = cell_of(self._model(settings["hidden"])).recurrent
        settings.setdefault("weight_drop", of_weights if recurrent else 0.0)
        if settings["optimiser"] == "adam":
            settings.setdefault("weight_decay", self._weight_decay())
        self._choose_beginning()
        _refuse_inert(self.text, settings)
        return settings

    def describe(self) -> str:
        """Why the settings are what they are, in one line."""
        read = self.characters_read(self._model(self.settings["hidden"]))
        also = [("weight_drop", ", weight drop {:g}"), ("weight_decay", ", weight decay {:g}")]
        more = "".join(line.format(rate) for name, line in also if (rate := self.settings.get(name)))
        if self.settings["init_scale"] != self._usual_scale():
            more += f", initial scale {self.settings['init_scale']:g}"
        order = f"pieces of {self.settings['shuffle']:,} in random order, " if self.settings["shuffle"] else ""
        skips = "skips, " if self.settings["input_skips"] and self.settings["output_skips"] else ""
        names = ("input", "projection", "output") if self.settings["embed"] else ("input", "output")
        embedding = f"embedding {self.settings['embed']}, " if self.settings["embed"] else ""
        factors = ", ".join(f"{name} x {self.settings[f'{name}_rate']:g}" for name in names)
        return (
            f"chosen for {short(self.text.characters)} characters, "
            f"{self.text.symbols:,} symbols ({self.text.common:,} of them common), "
            f"each character read about {short(read / self.text.characters)} times: "
            f"{self.settings['cell']} {self.settings['layers']} x {self.settings['hidden']}, {embedding}{skips}{order}"
            f"dropout {self.settings['dropout']:g}{more}, batch {self.settings['batch']}, lr {self.settings['lr']:g} "
            f"({factors})"
        )

    def characters_read(self, model: ModelConfig) -> float:
        """How many characters a run with this model reads."""
        s = self.settings
        limits = []
        if s.get("steps"):
            limits.append(s["steps"] * self._characters_of_update(s["batch"]))
        if s.get("minutes"):
            moved, back = parse_bptt(s["bptt"]) if s.get("bptt") else (1, 1)  # each chunk computes `back` time steps
            seconds = seconds_per_char(model, self.speed, s["batch"]) * back / moved
            limits.append(60 * s["minutes"] * TRAINING / seconds)
        if s.get("epochs") or not limits:
            limits.append((s.get("epochs") or USUAL_EPOCHS) * self.text.characters)
        return float(min(limits))

    def _model(self, hidden: int) -> ModelConfig:
        """The model with this many hidden units. All else is as it was given."""
        shape = _those_of(ModelConfig, self.settings)
        embed = 0 if shape.get("tied") else shape.get("embed", 0)  # a tied embedding is as wide as the layers
        return ModelConfig(**shape | {"symbols": self.text.symbols, "hidden": hidden, "embed": embed})

    def _hidden(self) -> int:
        fitting = [size for size in SIZES if self._is_worth_while(self._model(size))]
        return max(fitting, default=SIZES[0])

    def _is_worth_while(self, model: ModelConfig) -> bool:
        weights = parameter_count(replace(model, symbols=1, embed=0, tied=False))  # nearly all are between hidden units
        return self.characters_read(model) >= CHARS_PER_WEIGHT * weights

    def _gains_from_embedding(self) -> bool:
        """Whether an embedding as wide as the layers is of use to the model, and makes it dearer by little."""
        model = self._model(self.settings["hidden"])
        if model.tied or self._capacity(model) < EMBED_CAPACITY:
            return False
        read = parameter_shapes(replace(model, embed=model.hidden))["layer0.W_x"]  # by all symbols, once an update
        of_update = self._characters_of_update(self.settings["batch"]) * multiply_adds_per_char(model)
        return model.symbols * math.prod(read) <= EMBED_COST * of_update

    def _affords_skips(self) -> bool:
        """Whether skips are of use to the model, and make it dearer by little."""
        model = self._model(self.settings["hidden"])
        if model.layers == 1 or model.residual or model.tied:
            return False
        plain = replace(model, output_skips=False)
        skipping = replace(plain, output_skips=True)
        return multiply_adds_per_char(skipping) <= (1.0 + SKIPS_COST) * multiply_adds_per_char(plain)

    def _rate(self) -> float:
        rate = RATES.get(self.settings["cell"], USUAL_RATE) * RATE_HIDDEN / self.settings["hidden"]
        rate = FINE_TUNING if self.trained else min(MOST_RATE, rate)
        return float(f"{rate * TIMES_ADAM.get(self.settings['optimiser'], 1.0):.2g}")

    def _rate_factors(self) -> dict[str, float]:
        s = self.settings
        if s.get("tied"):
            return {"input_rate": 1.0, "output_rate": 1.0, "projection_rate": 1.0}
        of_projection = min(1.0, PROJECTION_RATE * s["hidden"] / s["embed"]) if s["embed"] else 1.0
        of_input = min(MOST_INPUT_RATE, max(INPUT_RATE, self.text.common / COMMON_SYMBOLS))
        factors = {"input_rate": of_input, "output_rate": OUTPUT_RATE, "projection_rate": of_projection}
        return {name: float(f"{factor:.2g}") for name, factor in factors.items()}

    def _share(self, passes: float, per_doubling: float, most: float, capacity: float) -> float:
        """A share to drop, which grows with each doubling of the passes beyond `passes`.

        It is smaller for a model with fewer than `capacity` parameters for each character.
        """
        model = self._model(self.settings["hidden"])
        share = per_doubling * math.log2(max(1.0, self._passes(model) / passes))
        return round(min(most, share) * min(1.0, self._capacity(model) / capacity), 2)

    def _usual_scale(self) -> float:
        return INIT_SCALES.get(self.settings["cell"], 1.0)

    def _choose_beginning(self) -> None:
        s, model = self.settings, self._model(self.settings["hidden"])
        doublings = 0.0
        if not (self.trained or _is_regularised(TrainConfig(**_those_of(TrainConfig, s)))):
            excess = min(1.0, max(0.0, self._capacity(model) - 1.0))
            passes, updates = self._passes(model), self._updates(model)
            of_passes = excess * math.log2(max(1.0, passes / HEART_PASSES))
            doublings = min(of_passes, math.log2(max(1.0, passes * updates / HEART_PRODUCT)))
        least = LEAST_INIT_SCALES.get(s["cell"], USUAL_LEAST_INIT_SCALE)
        mild = max(least, 0.5 ** (HALVINGS_PER_DOUBLING * doublings))
        s.setdefault("init_scale", float(f"{min(self._usual_scale(), mild):.2g}"))
        s.setdefault("forget_bias", "0" if mild < 1.0 else USUAL_FORGET_BIAS)

    def _weight_decay(self) -> float:
        s, model = self.settings, self._model(self.settings["hidden"])
        of_a_pass = self.text.characters / self._characters_of_update(s["batch"])  # updates
        updates = max(1.0, self._updates(model))
        growth = math.sqrt(max(1.0, self._passes(model) / FEW_PASSES))
        for_run = growth * RUN_DECAYS.get(s["cell"], USUAL_RUN_DECAY) / (MEAN_RATE * updates)
        most = min(growth, max(1.0, self._capacity(model))) / SHORTEST_MEMORY
        least = 1.0 / max(LEAST_MEMORY, PASSES_REMEMBERED / self.text.common * of_a_pass)
        shrinking = max(least, min(most, for_run))  # the share of a weight that an update at the full rate takes away
        return float(f"{min(growth * MOST_DECAY, shrinking / s['lr']):.2g}")

    def _characters_of_update(self, batch: int) -> int:
        return batch * int(self.settings["seq_len"]) * int(self.settings.get("accumulate", 1))

    def _updates(self, model: ModelConfig) -> float:
        return self.characters_read(model) / self._characters_of_update(self.settings["batch"])

    def _passes(self, model: ModelConfig) -> float:
        """How often the text is read."""
        return self.characters_read(model) / self.text.characters

    def _capacity(self, model: ModelConfig) -> float:
        """The model's parameters for each character of the text. Those of rare symbols do not count."""
        return parameter_count(replace(model, symbols=self.text.common)) / self.text.characters


def _check(text: Text, given: dict[str, Any]) -> None:
    """Check the given settings, each by itself and beside the others, before anything is computed from them."""
    ModelConfig(**{"symbols": text.symbols} | _those_of(ModelConfig, given))
    training = TrainConfig(**_those_of(TrainConfig, given))
    if training.epsilon < LEAST_EPSILON:
        raise ConfigError(f"expected --epsilon from {LEAST_EPSILON} on, got {training.epsilon}; try --epsilon 1e-8")


def _refuse_inert(text: Text, settings: dict[str, Any]) -> None:
    """Raise ConfigError for a given setting that has no effect beside those that were chosen."""
    model = ModelConfig(**{"symbols": text.symbols} | _those_of(ModelConfig, settings))
    training = TrainConfig(**_those_of(TrainConfig, settings))
    check_dropout(model, training)
    if training.projection_rate != 1.0 and not model.embed:
        raise ConfigError("expected --projection-rate with --embed, got one-hot input; try --input-rate")
    if training.output_rate != 1.0 and model.tied:
        raise ConfigError("expected --output-rate without --tied, got both; try --input-rate")


def _is_regularised(training: TrainConfig) -> bool:
    """Whether anything is dropped or decays."""
    dropped = training.dropout or training.dropout_input or training.dropout_output or training.weight_drop
    return bool(dropped or training.weight_decay)


def check_dropout(model: ModelConfig, training: TrainConfig) -> None:
    """Raise ConfigError for dropout that would have no effect on the model."""
    cell = cell_of(model)
    if training.weight_drop and not cell.recurrent:
        raise ConfigError(
            f"expected --weight-drop with a cell that has recurrent weights, got {cell.name}; "
            "try it without --weight-drop"
        )
    if training.dropout and model.layers == 1:
        raise ConfigError("expected --dropout with several layers, got --layers 1; try --dropout-output")
    drops = training.dropout or training.dropout_input or training.dropout_output
    if training.dropout_kind != TrainConfig.dropout_kind and not drops:
        raise ConfigError(
            f"expected --dropout-kind {training.dropout_kind} with dropout, got none; try it with --dropout-output 0.2"
        )


def _those_of(config: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that belong to this configuration."""
    return {field.name: settings[field.name] for field in fields(config) if field.name in settings}


def short(number: float) -> str:
    """A number to two digits, from 100 on to three, with thousands as k and millions as M."""
    units = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
    unit, name = next(((unit, name) for unit, name in units if number >= unit), (1.0, ""))
    amount = number / unit
    return f"{float(f'{amount:.2g}') if amount < 100 else round(amount):g}{name}"
