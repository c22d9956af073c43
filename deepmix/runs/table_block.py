"""Some rows of a CSV table as text: several processes can make the blocks of a table, and one of them writes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from deepmix.runs.checksums import RowSum

BLOCK_LINES = 4096
"""Lines of a table that are made into text together."""


@dataclass(frozen=True)
class TableBlock:
    """Consecutive rows of a table."""

    text: str
    """The rows as lines of CSV."""
    hash_sum: int
    """The sum of the rows' hashes, which the table's checksum adds up."""

    @classmethod
    def of(cls, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Self:
        """Return the rows of a table with these columns as a block."""
        summed, text = RowSum(header), io.StringIO(newline="")
        csv.writer(text).writerows(summed.passing(rows))
        return cls(text.getvalue(), summed.total)


def blocks_of(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[TableBlock]:
    """Give the rows of a table with these columns in blocks."""
    remaining = iter(rows)
    while some := list(islice(remaining, BLOCK_LINES)):
        yield TableBlock.of(header, some)
