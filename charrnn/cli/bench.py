"""`charrnn bench`: how fast this machine trains and samples, compared with its own peak."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from charrnn.cli.options import (
    Json,
    Precision,
    Threads,
    name_of,
    own_cell,
    precision_here,
    print_json,
    refuse_inert,
    settings_of,
    start_engine,
)
from charrnn.cli.setting_options import setting_options
from charrnn.cli.terminal import print_table
from charrnn.errors import ConfigError
from charrnn.model.config import ModelConfig
from charrnn.training.config import TrainConfig

MOST_SECONDS = 3600


@setting_options(before="symbols", training=("batch", "seq_len"))
def bench(
    context: typer.Context,
    symbols: Annotated[int, typer.Option(help="Size of the vocabulary.")] = 65,
    streams: Annotated[int, typer.Option(help="Streams sampled at once.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 5.0,
    precision: Precision = "float32",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure training and sampling speed on this machine, beside its peak.

    With --precision int8, which is for sampling alone, training is measured in float32.
    """
    start_engine(threads)
    context.params |= own_cell(context.params["cell"])
    refuse_inert(context, context.params)
    if streams < 1:
        raise ConfigError(f"expected --streams of at least 1, got {streams}; try --streams 1")
    if not 0 < seconds <= MOST_SECONDS:
        raise ConfigError(f"expected --seconds above 0 and up to {MOST_SECONDS}, got {seconds:g}; try --seconds 5")
    model = ModelConfig(**settings_of(context, ModelConfig))
    training = TrainConfig(batch=context.params["batch"], seq_len=context.params["seq_len"])
    precision = precision_here(precision, "int8")
    from charrnn.bench import Bench

    result = Bench(model, training, streams, precision).run(seconds)
    trained = "float32" if precision == "int8" else precision
    precisions = {"precision": precision, "training_precision": trained}
    sizes = {"batch": training.batch, "seq_len": training.seq_len} | precisions
    if as_json:
        print_json({"model": model.as_dict(), **sizes} | result)
    else:
        _show(model, sizes, result)


def _show(model: ModelConfig, sizes: dict[str, Any], result: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    print(
        f"{name_of(model)} {model.layers} x {model.hidden}, {model.symbols} symbols, batch {sizes['batch']}, "
        f"{sizes['seq_len']} time steps; {result['threads']} threads, {result['rounds']} rounds"
    )
    table = Table("", "characters a second", "GFLOP/s", "of peak", box=box.SIMPLE)
    table.add_row(f"peak of the machine, {sizes['training_precision']}", "", f"{result['peak_gflops']:.0f}", "")
    train, sample = result["train"], result["sample"]
    sampling = "sampling" if sample["streams"] == 1 else f"sampling {sample['streams']} streams"
    kinds = (sizes["training_precision"], sizes["precision"])
    for name, part in ((f"training, {kinds[0]}", train), (f"{sampling}, {kinds[1]}", sample)):
        table.add_row(
            name, f"{part['chars_per_second']:,.0f}", f"{part['gflops']:.1f}", f"{100 * part['share_of_peak']:.1f} %"
        )
    print_table(table)
    phases = Table("phase of a training step", "ms", box=box.SIMPLE)
    for name, milliseconds in train["phases_ms"].items():
        phases.add_row(name, f"{milliseconds:.2f}")
    phases.add_row("whole step", f"{train['ms_per_chunk']:.2f}")
    print_table(phases)
