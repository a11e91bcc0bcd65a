"""What --help prints: the options in groups, with the usual options first. Also the command `charrnn help`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

# The commands that have many options: each heading, and the options below it.
TRAIN = {
    "Usual options": "out preset minutes epochs steps cell layers hidden batch lr dropout precision stateless resume"
    " init_from force",
    "Model": "embed tied nonlinearity peepholes coupled output_gate reset layer_norm residual input_skips"
    " output_skips zoneout zoneout_cell init init_scale forget_bias",
    "Reading the text": "seq_len bptt random_lengths shuffle reset_every accumulate seed",
    "Learning rate": "input_rate projection_rate output_rate matrix_lr schedule warmup decay decay_every plateau",
    "Optimiser": "optimiser beta1 beta2 epsilon momentum nesterov weight_decay clip_norm clip_value ema",
    "Regularisation": "dropout_input dropout_output dropout_kind weight_drop label_smoothing activation_penalty"
    " temporal_penalty",
    "Watching and keeping": "patience eval_every log_every preview keep name note as_json threads help",
}
SAMPLE = {
    "Usual options": "length prompt temperature seed count interactive",
    "Prompts": "prompt_file prompts escapes unknown",
    "Where a text ends": "lines stop keep_stop",
    "Which characters may come": "top_k top_p min_p typical repetition_penalty repetition_window ban allow words"
    " pattern",
    "Many texts": "best_of beam batch separator as_json",
    "Running": "raw precision threads cell help",
}

EXAMPLES = {
    "sample": (
        'charrnn sample run --length 200 --temperature 0.7 --prompt "Once "',
        'charrnn sample run --count 100 --lines 1 --top-p 0.9 --separator ""',
        'charrnn sample run --stop "." --keep-stop --json',
    ),
    "score": (
        "charrnn score run names.txt --sort",
        "charrnn score run --whole poem.txt novel.txt",
        "charrnn score english lines.txt --compare german --json",
    ),
    "novelty": (
        "charrnn novelty run",
        "charrnn novelty run sampled.txt --passages 20",
        "charrnn sample run --length 5000 | charrnn novelty run - --json",
    ),
    "eval": (
        "charrnn eval run",
        "charrnn eval run novel.txt --unknown skip",
        "charrnn eval run data --split train --chars 100000 --json",
    ),
}


def examples(command: str) -> str | None:
    """The examples at the end of a command's help; None if it has none."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in EXAMPLES[command])]) if command in EXAMPLES else None


class GroupedCommand(TyperCommand):
    """A command whose options are listed in groups."""

    groups: dict[str, str]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then the groups of options."""
        records = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)}
        arguments = [p.name for p in self.get_params(ctx) if p.param_type_name == "argument"]
        sections = {"Arguments": arguments} | {heading: names.split() for heading, names in self.groups.items()}
        for heading, names in sections.items():
            if listed := [record for name in names if (record := records.pop(name, None)) is not None]:
                with formatter.section(heading):
                    formatter.write_dl(listed)
        assert not [name for name, record in records.items() if record is not None]


class TrainCommand(GroupedCommand):
    """The command `train`."""

    groups = TRAIN


class SampleCommand(GroupedCommand):
    """The command `sample`."""

    groups = SAMPLE


def help_of(
    context: typer.Context,
    command: Annotated[str, typer.Argument(metavar="COMMAND", help="Such as train.", show_default=False)] = "",
) -> None:
    """Show what a command does and all its options."""
    parent = context.parent
    assert parent is not None
    if not command:
        print(parent.get_help())
        return
    found = parent.command.get_command(parent, command)  # type: ignore[attr-defined]
    if found is None:
        names = ", ".join(parent.command.list_commands(parent))  # type: ignore[attr-defined]
        context.fail(f"No such command {command!r}; there are {names}.")
    print(type(context)(found, info_name=command, parent=parent).get_help())
