"""Prints the table of all settings that stands at the end of docs/reference.md."""

from dataclasses import fields

from charrnn.cli.train import CHOSEN
from charrnn.model.config import ModelConfig
from charrnn.settings import flag, settings_in
from charrnn.training.config import TrainConfig


def rows(config):
    """A row for each setting of a configuration."""
    known = settings_in(config)
    for field in [field for field in fields(config) if field.name in known]:
        what = known[field.name]
        option = (what.flags or (flag(field.name),))[0].removeprefix(" /").replace("/", "`, `")
        default = what.usual or ("" if isinstance(field.default, bool) else f"{field.default}")
        default = "chosen for the run" if field.name in CHOSEN else default
        only = f" With `{flag(what.only[0])}` {', '.join(what.only[1])}." if what.only else ""
        yield f"| `{option}` | {default} | {what.help}{only} |"


def table():
    """The table as it stands in the page."""
    return "\n".join(["| setting | unless given | |", "|---|---|---|", *rows(ModelConfig), *rows(TrainConfig)])


if __name__ == "__main__":
    print(table())
