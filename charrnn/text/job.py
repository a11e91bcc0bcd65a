"""What to prepare: the texts, and how to read and split them. A job reads the texts one after the other."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from charrnn.errors import DataError, UndecodableError
from charrnn.text.data import SPLITS
from charrnn.text.patterns import Patterns
from charrnn.text.reading import Reading, Repairs, read_blocks
from charrnn.text.sources import Source
from charrnn.text.vocabulary import Codes, Vocabulary

Progress = Callable[[str, int, int], None]  # what is being done, bytes read since the last call, all bytes


@dataclass(frozen=True)
class Inputs:
    """The texts of a DATA folder.

    Args:
        text: files, folders, or `-` for standard input, joined in this order and then split.
        val, test: texts to take for these splits, instead of parts of `text`.
        patterns: which files of folders are read.
        skip_undecodable: whether undecodable files of folders are left out; otherwise they are an error.
    """

    text: list[Path]
    val: list[Path] = field(default_factory=list)
    test: list[Path] = field(default_factory=list)
    patterns: Patterns = field(default_factory=Patterns)
    skip_undecodable: bool = False


@dataclass(frozen=True)
class PrepareOptions:
    """How to read and split a text.

    Args:
        reading: level, encoding and form.
        val: fraction of the text, at its end, that is held out for validation.
        test: fraction after the validation part.
        min_count: characters that occur less often become the unknown symbol; 0 for none.
        max_vocab: the most symbols of the vocabulary, including the unknown symbol; 0 for no limit.
        vocabulary: a vocabulary to use instead of the text's own.
        shuffle_lines: seed of the random order of the lines in the text to be split; None to keep their order.
    """

    reading: Reading = field(default_factory=Reading)
    val: float = 0.1
    test: float = 0.0
    min_count: int = 0
    max_vocab: int = 0
    vocabulary: Vocabulary | None = None
    shuffle_lines: int | None = None

    def __post_init__(self) -> None:
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise DataError(
                f"expected --val and --test from 0 up, together below 1, got {self.val} and {self.test}; try --val 0.1"
            )
        if self.min_count < 0 or self.max_vocab < 0 or self.max_vocab == 1:
            raise DataError(
                f"expected --min-count of 0 or more and --max-vocab of 2 or more, got {self.min_count} and "
                f"{self.max_vocab}; try leaving them out"
            )
        if not 0 <= (self.shuffle_lines or 0) < 2**63:
            raise DataError(f"expected --seed from 0 to 2^63 - 1, got {self.shuffle_lines}; try --seed 0")
        limits = self.min_count or self.max_vocab
        if limits and self.reading.level == "byte":
            raise DataError("expected --min-count and --max-vocab at --level char, got --level byte; try without them")
        if limits and self.vocabulary is not None:
            raise DataError("expected --vocab-from or limits of the vocabulary, got both; try --vocab-from alone")
        if self.vocabulary is not None and self.vocabulary.level != self.reading.level:
            raise DataError(
                f"expected a vocabulary of level {self.reading.level}, got one of level {self.vocabulary.level}; "
                f"try --level {self.vocabulary.level}"
            )

    def as_dict(self) -> dict[str, Any]:
        """The options as JSON values; a frozen vocabulary is named by its fingerprint, and an encoding by its codec."""
        reading = asdict(self.reading) | {"encoding": codecs.lookup(self.reading.encoding).name}
        form: dict[str, Any] = reading.pop("form")
        limits = {"val": self.val, "test": self.test, "min_count": self.min_count, "max_vocab": self.max_vocab}
        frozen = None if self.vocabulary is None else self.vocabulary.fingerprint
        shuffle = {} if self.shuffle_lines is None else {"shuffle_lines": self.shuffle_lines}
        return reading | form | limits | {"vocab_from": frozen} | shuffle


@dataclass
class Job:
    """One preparation.

    Args:
        sources: the sources of each split; the texts to be split are under "train".
        options: how to read and split them.
        progress: called with what is being done, the bytes read since the last call, and all bytes to read.
        skipped: the sources that were left out, for each split.
        repairs: counts what was repaired while reading.
    """

    sources: dict[str, list[Source]]
    options: PrepareOptions
    progress: Progress
    skipped: dict[str, list[Source]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    repairs: Repairs = field(default_factory=Repairs)

    def codes(self, split: str, what: str) -> Iterator[Codes]:
        """The characters of a split's sources, one after the other."""
        advance = self._advance(what)
        for source in self.sources[split]:
            yield from read_blocks(source.blocks(advance), source.name, self.options.reading, self.repairs)

    def skip_undecodable(self) -> None:
        """Leave out the files of folders that cannot be decoded.

        Raises:
            DataError: all texts of a split would be left out.
        """
        advance = self._advance("checking")
        for split, sources in self.sources.items():
            gone = self.skipped[split] = [s for s in sources if s.in_folder and not self._decodes(s, advance)]
            left_out = set(gone)  # each source is itself only
            self.sources[split] = [s for s in sources if s not in left_out]
            if gone and not self.sources[split]:
                raise DataError(
                    f"expected files of {self.options.reading.encoding} text, got {len(gone)} that cannot be decoded, "
                    f"such as {gone[0].name}; try another --encoding"
                )

    def _decodes(self, source: Source, advance: Callable[[int], None]) -> bool:
        try:
            for _ in read_blocks(source.blocks(advance), source.name, self.options.reading, Repairs()):
                pass
        except UndecodableError:
            source.hash(lambda _: None)
            return False
        return True

    def hash(self) -> None:
        """Read all sources, only to compute their hashes."""
        advance = self._advance("comparing")
        for split in SPLITS:
            for source in self.sources[split]:
                source.hash(advance)

    def _advance(self, what: str) -> Callable[[int], None]:
        total = sum(source.size for sources in self.sources.values() for source in sources)

        def advance(count: int) -> None:
            self.progress(what, count, total)

        return advance


def listed(sources: dict[str, list[Source]]) -> list[dict[str, Any]]:
    """What meta.json says about each source."""
    return [
        {"name": source.name, "split": split, "bytes": source.size, "sha256": source.sha256}
        for split in SPLITS
        for source in sources[split]
    ]
