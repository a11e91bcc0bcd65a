"""`charrnn gradcheck`: the gradients against finite differences."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.options import (
    Json,
    Threads,
    explicit,
    own_cell,
    print_json,
    refuse_both_lengths,
    refuse_inert,
    say,
    settings_of,
    start_engine,
    trained_model,
)
from charrnn.cli.setting_options import MODEL, setting_options
from charrnn.cli.terminal import print_table
from charrnn.errors import ConfigError
from charrnn.model.config import ModelConfig
from charrnn.training.config import TrainConfig

if TYPE_CHECKING:
    from charrnn.gradcheck import BlockResult, GradientCheck
    from charrnn.training.checkpoint import Checkpoint


CHECKED = (  # settings of training on which gradients depend
    *("batch", "seq_len", "bptt", "clip_norm", "clip_value", "dropout", "dropout_input", "dropout_output"),
    *("dropout_kind", "weight_drop", "label_smoothing", "activation_penalty", "temporal_penalty", "seed"),
)


@setting_options(before="threads", training=CHECKED, hidden=7, batch=3, seq_len=5, clip_norm=0.0)
def gradcheck(
    context: typer.Context,
    source: Annotated[
        Path | None,
        typer.Argument(metavar="CKPT|RUN", help="Check a trained model instead, on --data.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Folder to take the text from.", show_default=False)
    ] = None,
    symbols: Annotated[int, typer.Option(help="Size of the vocabulary.")] = 11,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Compare every gradient with finite differences, in float64; exit with 1 if one is wrong."""
    start_engine(threads)
    from charrnn.training.choose import check_dropout
    from charrnn.training.run import refuse_changes

    context.params |= own_cell(context.params["cell"])
    refuse_both_lengths(context)
    if (source is None) != (data is None):
        raise ConfigError(
            "expected a checkpoint together with --data, got one alone; try charrnn gradcheck RUN --data DATA"
        )
    sizes = TrainConfig(**settings_of(context, TrainConfig))
    if source is None or data is None:
        refuse_inert(context, context.params)
        model = ModelConfig(**settings_of(context, ModelConfig))
        check_dropout(model, sizes)
        check = _synthetic(model, sizes)
    else:
        checkpoint = trained_model(source)
        refuse_inert(context, context.params | checkpoint.model.as_dict())
        refuse_changes(
            checkpoint.model.as_dict(), explicit(context, [*MODEL, "symbols"]), f"{source} has it", f"{source}"
        )
        check_dropout(checkpoint.model, sizes)
        check = _trained(checkpoint, data, sizes)
    results = check.run(lambda block: say(f"checking {block} ...") if sys.stderr.isatty() else None)
    _show(results, as_json)
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def _synthetic(model: ModelConfig, sizes: TrainConfig) -> GradientCheck:
    """A random model on random symbols."""
    import numpy as np

    from charrnn.gradcheck import GradientCheck, random_network, random_state

    network = random_network(model, sizes.seed)
    symbols = np.random.default_rng(sizes.seed).integers(0, model.symbols, (sizes.chunk_steps + 1, sizes.batch))
    state = random_state(network, sizes.batch, sizes.seed)
    return GradientCheck(network, symbols[:-1], symbols[1:], state, sizes, sizes.seed)


def _trained(checkpoint: Checkpoint, data: Path, sizes: TrainConfig) -> GradientCheck:
    """A trained model on the beginning of its data, from a random state."""
    import numpy as np

    from charrnn.gradcheck import GradientCheck, random_state
    from charrnn.text.data import open_data
    from charrnn.text.streams import Streams

    text = open_data(data)
    checkpoint.refuse_other_vocabulary(text.vocabulary, data)
    inputs, targets = Streams(text.split("train"), sizes.batch, sizes.chunk_steps).chunk(0)
    network = checkpoint.network(np.float64)
    state = random_state(network, sizes.batch, sizes.seed)
    return GradientCheck(network, inputs, targets, state, sizes, sizes.seed)


def _show(results: list[BlockResult], as_json: bool) -> None:
    from rich import box
    from rich.table import Table

    from charrnn.gradcheck import BOUND

    passed = all(result.passed for result in results)
    if as_json:
        print_json({"passed": passed, "bound": BOUND, "blocks": [vars(result) for result in results]})
        return
    titles = ("block", "shape", "checked", "worst error", "gradient", "difference", "")
    table = Table(*titles, box=box.SIMPLE, padding=(0, 1, 0, 0))
    for r in results:
        shape, where = " x ".join(map(str, r.shape)), ", ".join(map(str, r.where))
        numbers = (f"{r.error:.1e}", f"{r.analytic:+.4e}", f"{r.numeric:+.4e}")
        table.add_row(r.name, shape, str(r.checked), *numbers, "ok" if r.passed else f"WRONG at {where}")
    print_table(table)
    wrong = sum(not r.passed for r in results)
    say(
        f"all {len(results)} blocks within {BOUND:g}"
        if passed
        else f"{wrong} of {len(results)} blocks exceed {BOUND:g}"
    )
