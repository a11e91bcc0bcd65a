"""What the tests of text share: tricky texts, short ways to prepare one, and the form of every message."""

import re

import numpy as np

from charrnn.text.data import open_data
from charrnn.text.job import Inputs, PrepareOptions
from charrnn.text.patterns import Patterns
from charrnn.text.prepare import prepare as prepare_inputs
from charrnn.text.reading import Reading, TextForm

TRICKY = "a\0b\r\nc\rd\n\n\te\u0301\u00e9 \U0001f469\u200d\U0001f4bb\ufeff \u2028\x85 \u05d0\u202e \U0010ffff\ud800"
ENGLISH = "It was the best of times, it was the worst of times.\n" * 4


def check_message(error, *parts):
    """One line: what was expected, what came, what to try; and the parts that make it helpful."""
    message = str(error.value)
    assert "\n" not in message
    assert re.search(", got[ :]", message)
    for part in ("expected ", "try ", *parts):
        assert part in message
    assert message.index("expected ") == 0


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def options(level="char", encoding="utf-8", errors="error", val=0.1, test=0.0, **others):
    """PrepareOptions with everything in one row."""
    form = {name: others.pop(name) for name in ("normalize", "newlines", "lowercase") if name in others}
    return PrepareOptions(Reading(level, encoding, errors, TextForm(**form)), val, test, **others)


def prepare(inputs, out, chosen=None, force=False, glob=("*",), exclude=(), **others):
    """What meta.json holds after preparing these paths."""
    texts = Inputs(inputs, patterns=Patterns(glob, exclude), **others)
    return prepare_inputs(texts, out, chosen or options(), force)[0]


def whole(data):
    """The text of all splits, in order."""
    return b"".join(
        data.vocabulary.decode(np.asarray(data.splits[name]))
        for name in ("train", "val", "test")
        if name in data.splits
    )


def round_trip(content, out, **chosen):
    """Prepare a file of this content beside `out`, and decode what was made of it."""
    prepare([write(out.with_name("source.txt"), content)], out, options(**chosen), force=True)
    return whole(open_data(out))


class Touch:
    """Something whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")
