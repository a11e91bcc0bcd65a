"""Which files of a folder are read: those that fit one of the patterns, without those that fit an exclusion."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import DataError
from charrnn.files import reason

INNERMOST = re.compile(r"\{([^{}]*)\}")


def expand_braces(pattern: str, option: str) -> list[str]:
    """The patterns that a pattern with alternatives in braces, such as *.{py,txt}, stands for.

    Raises:
        DataError: a brace has no partner, or there are no alternatives between two braces.
    """
    found = INNERMOST.search(pattern)
    if (found and "," not in found[1]) or (not found and re.search("[{}]", pattern)):
        raise DataError(
            f"expected alternatives between two braces, such as '*.{{py,txt}}', got {pattern!r}; "
            f"try --{option} more often, or ? for a brace in a name"
        )
    if not found:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [p for word in found[1].split(",") for p in expand_braces(f"{before}{word}{after}", option)]


@dataclass(frozen=True)
class Patterns:
    """Patterns like those of the shell; they are compared with the end of a path below the folder.

    Args:
        glob: files that fit one of these patterns are read.
        exclude: files that fit one of these patterns are left out, and so is everything in folders that fit one.
    """

    glob: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()

    def files(self, folder: Path) -> list[Path]:
        """The files below a folder that fit these patterns, without hidden ones, in the order of their paths.

        Links to folders are not followed.

        Raises:
            DataError: a pattern is not valid, or a folder cannot be read.
        """
        excluded = _fitting(folder, self.exclude, "exclude")
        _refuse_unreadable(folder, excluded)
        return [
            path
            for path in sorted(_fitting(folder, self.glob, "glob"))
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and excluded.isdisjoint([path, *path.parents])
            and not _is_behind_link(path, folder)
        ]

    def __str__(self) -> str:
        without = f" and not {' or '.join(map(repr, self.exclude))}" if self.exclude else ""
        return f"{' or '.join(map(repr, self.glob))}{without}"


def _is_behind_link(path: Path, folder: Path) -> bool:
    """Whether the way from the folder to the path leads through a link."""
    below = path.relative_to(folder).parents
    return any((folder / part).is_symlink() for part in below if part != Path("."))


def _refuse_unreadable(folder: Path, excluded: set[Path]) -> None:
    """Raise DataError if a folder below this one cannot be read and is neither hidden nor excluded."""
    errors: list[OSError] = []
    for here, folders, _ in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(here, name) not in excluded]
    for error in errors:
        hint = "another folder" if Path(error.filename) == folder else "--exclude"
        raise DataError(f"expected folders that can be read, got {error.filename}: {reason(error)}; try {hint}")


def _fitting(folder: Path, patterns: Sequence[str], option: str) -> set[Path]:
    """All files and folders below a folder that fit one of the patterns."""
    found: set[Path] = set()
    for pattern in patterns:
        for alternative in expand_braces(pattern, option):
            try:
                found.update(folder.rglob(alternative))
            except (ValueError, NotImplementedError) as error:
                raise DataError(
                    f"expected a pattern of file names, got {pattern!r} ({error}); try --{option} '*.txt'"
                ) from None
    return found
