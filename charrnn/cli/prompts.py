"""Prompts and other texts of the command line, as a model reads them."""

from __future__ import annotations

import re
import sys
from codecs import BOM_UTF8
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.options import say_if_waiting, say_skipped
from charrnn.errors import ConfigError, DataError

if TYPE_CHECKING:
    from charrnn.training.checkpoint import Checkpoint


PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # the two halves of a character
HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # but for those that stand for undecodable bytes


def unescaped(text: str) -> str:
    r"""A text in which \n, \t, \r, \0, \\, \xhh, \uhhhh and \Uhhhhhhhh stand for characters."""
    known = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}

    def character(found: re.Match[str]) -> str:
        if found[1] in known:
            return known[found[1]]
        code = int(found[1][1:], 16) if len(found[1]) > 1 else 0x110000
        if code >= 0x110000:
            raise ConfigError(
                f"expected --escapes such as \\n, \\t, \\u0061, got {found[0]!r}; try \\\\ for a backslash"
            )
        return chr(code)

    whole = re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.|$)", character, text, flags=re.S)
    joined = PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), whole)
    if HALF.search(joined):
        raise ConfigError(
            f"expected --escapes of whole characters, got half of one in {text!r}; try \\U and eight digits"
        )
    return joined


def prompts_of(
    checkpoint: Checkpoint, prompt: str, prompt_file: Path | None, prompts: Path | None, unknown: str
) -> list[tuple[Any, Any]]:
    """For each prompt, its symbols and all symbols that the model reads before it samples: at least one."""
    import numpy as np

    texts: list[str | bytes] = [prompt]
    where = "the prompt"
    if prompt_file is not None:
        texts, where = [read_bytes(prompt_file, checkpoint.vocabulary.level)], f"the prompt in {prompt_file}"
    elif prompts is not None:
        texts = list(read_bytes(prompts, checkpoint.vocabulary.level).splitlines())
        if not texts:
            raise DataError(f"expected prompts in {prompts}, one to a line, got none; try --prompt TEXT")
    vocabulary, found = checkpoint.vocabulary, []
    for number, text in enumerate(texts, start=1):
        place = where if prompts is None else f"line {number} of {prompts}"
        codes = vocabulary.codes_of(formed(checkpoint, text, place))
        symbols = vocabulary.encode(codes, place, unknown)
        say_skipped(len(codes) - len(symbols), place)
        # Independent lines begin after a line break, so a prompt of a stateless model begins after one too.
        begins = checkpoint.model.stateless or not len(symbols)
        found.append((symbols, np.concatenate([vocabulary.beginning if begins else symbols[:0], symbols])))
    return found


def formed(checkpoint: Checkpoint, text: str | bytes, place: str) -> str | bytes:
    """A prompt as the model reads text: characters after `TextForm.apply`, or bytes."""
    if isinstance(text, bytes) and checkpoint.vocabulary.level == "byte":
        return text
    try:
        errors = "surrogateescape" if checkpoint.vocabulary.has_bytes else "strict"
        return checkpoint.form.apply(text.decode("utf-8", errors) if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected text in UTF-8, got byte 0x{error.object[error.start]:02X} at byte {error.start} of {place}; "
            "try iconv -t utf-8"
        ) from None


def read_bytes(path: Path, level: str) -> bytes:
    """The whole content of a file, or of standard input for `-`; at level char without a byte-order mark."""
    from charrnn.files import open_regular, reason
    from charrnn.text.sources import STANDARD_INPUT

    say_if_waiting([path])
    try:
        if path == STANDARD_INPUT:
            content = sys.stdin.buffer.read()
        else:
            with path.open("rb") if path.is_fifo() else open_regular(path) as file:
                content = file.read()
    except OSError as error:
        raise DataError(f"expected a file with text, got {path}: {reason(error)}; try another one") from None
    return content.removeprefix(BOM_UTF8) if level == "char" else content
