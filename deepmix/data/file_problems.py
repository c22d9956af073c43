"""What is wrong with a file: all of it in one sentence, and whatever libraries raise at a damaged one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepmix.errors import DeepmixError, UsageError

MOST_SHOWN = 5
"""How many problems a message lists."""


MOST_REASON = 300
"""Most characters of a library's own words; some quote the bytes that they could not read."""


class FileProblems:
    """The problems of one file, gathered while it is read."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._texts: list[str] = []
        self._cures: list[str] = []
        self._number = 0

    def __bool__(self) -> bool:
        return self._number > 0

    def add(self, text: str, cure: str) -> None:
        """Add a problem and what the user can do about it; problems of one kind have the same cure."""
        self._number += 1
        if self._number <= MOST_SHOWN:
            self._texts.append(text)
        if cure not in self._cures:
            self._cures.append(cure)

    def has(self, text: str) -> bool:
        """Whether a problem is listed already."""
        return text in self._texts

    def raise_if_any(self) -> None:
        """Raise the UsageError that lists the problems, if there are any."""
        if not self:
            return
        more = f"; and {self._number - MOST_SHOWN} more" if self._number > MOST_SHOWN else ""
        raise UsageError(f"in '{self._name}', {'; '.join(self._texts)}{more}; {', and '.join(self._cures)}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever the libraries raise at a damaged file into one sentence.

    A damaged file makes NumPy, SciPy, pandas, zipfile, gzip and others raise anything from OSError to SyntaxError.

    Raises:
        DeepmixError: the file can't be read, or does not fit into memory.

    """
    try:
        yield
    except DeepmixError:
        raise
    except MemoryError as error:
        raise DeepmixError(
            f"'{path}' does not fit into memory; give it fewer rows, or check that the file is whole"
        ) from error
    except Exception as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:MOST_REASON]
        cure = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check that the file is whole"
        raise DeepmixError(f"'{path}' can't be read ({reason}); {cure}") from error
