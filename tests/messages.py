"""Prints the message of every wrong command that tests/test_cli_errors.py knows; run by scripts/messages."""

import shutil
import tempfile
import textwrap
from pathlib import Path

from helpers_cli import charrnn
from shop import make_shop
from test_cli_errors import BAD, FULL


def main():
    """Run each command on a fresh copy of the same folder."""
    with tempfile.TemporaryDirectory() as place:
        shop = Path(place) / "shop"
        shop.mkdir()
        make_shop(shop)
        for number, (name, args, _) in enumerate(BAD):
            copy = Path(place) / f"copy{number}"
            shutil.copytree(shop, copy, symlinks=True)
            message = charrnn(*name.split(), *FULL[name], *args, cwd=copy).stderr.removeprefix("charrnn: ")
            print(f"{name} {' '.join(args)}")
            print(textwrap.indent(textwrap.fill(message, 110), "    "))
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
