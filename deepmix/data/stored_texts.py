"""One text per row, such as its name, in two files of a folder: read when it is needed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from deepmix.data.stored_rows import StoredValues
from deepmix.maths import Array

TEXTS, ENDS = "names.txt", "name_ends.bin"
"""The texts as UTF-8, one after the other; and where each of them ends, in bytes, as 64-bit numbers."""

ENDS_TYPE = np.dtype("<i8")


class StoredTexts:
    """N texts in files. Like an array, it gives texts by their numbers."""

    def __init__(self, folder: Path) -> None:
        self._texts = StoredValues(folder / TEXTS, 0, np.dtype(np.uint8))
        self._ends = StoredValues(folder / ENDS, 0, ENDS_TYPE)
        self._n_texts = (folder / ENDS).stat().st_size // ENDS_TYPE.itemsize

    def __len__(self) -> int:
        return self._n_texts

    def __getitem__(self, numbers: Array) -> Array:
        """Return texts by their numbers, (n,); neighbours are read together.

        Raises:
            DeepmixError: the files have changed since they were opened.

        """
        cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
        runs = np.split(numbers, cuts) if len(numbers) else []
        return np.array([text for run in runs for text in self._run(int(run[0]), int(run[-1]) + 1)], dtype=str)

    def _run(self, first: int, end: int) -> list[str]:
        ends = self._ends.read(max(first - 1, 0), end).tolist()
        ends = ends if first else [0, *ends]
        content = self._texts.read(ends[0], ends[-1]).tobytes()
        cuts = [position - ends[0] for position in ends]
        return [content[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(cuts)]


class TextsWriter:
    """Writes the files of `StoredTexts`, some texts at a time."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._texts, self._ends = (stack.enter_context((folder / name).open("wb")) for name in (TEXTS, ENDS))
        self._n_bytes = 0

    def add(self, texts: Sequence[str]) -> None:
        """Add texts at the end."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = self._n_bytes + np.cumsum([len(text) for text in encoded], dtype=ENDS_TYPE)
        self._texts.write(b"".join(encoded))
        self._ends.write(ends.tobytes())
        self._n_bytes = int(ends[-1]) if len(ends) else self._n_bytes


def has_texts(folder: Path) -> bool:
    """Whether a folder has the files of `StoredTexts`."""
    return (folder / ENDS).is_file()
