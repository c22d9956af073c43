"""Checksums of a run's files: in the header of a safetensors file, in JSON, and of a table in metrics.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHECKSUM = "checksum"
"""Key of the checksum in a safetensors file's header and in a JSON object."""

N_BYTES = 16
"""Size of a checksum."""


def checksum(meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of what else a file's header holds and of the names, types, shapes and bits of its tensors."""
    digest = hashlib.blake2b(json.dumps(meta).encode(), digest_size=N_BYTES)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def json_checksum(values: Mapping[str, Any]) -> str:
    """Return a hash of a JSON object's values, whatever the order of its keys and the spaces between them."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=N_BYTES).hexdigest()


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the checksum of its values as its last entry."""
    return {**values, CHECKSUM: json_checksum(json.loads(json.dumps(values)))}


def without_checksum(value: Any) -> Any:
    """Return a JSON value without its checksum, which earlier versions did not write.

    Raises:
        ValueError: the checksum is not that of the values.

    """
    if not isinstance(value, dict) or CHECKSUM not in value:
        return value
    expected = value.pop(CHECKSUM)
    try:
        is_whole = expected == json_checksum(value)
    except (ValueError, RecursionError):  # nested so deeply that it can be read and not written
        is_whole = False
    if not is_whole:
        raise ValueError("its checksum is wrong")
    return value


@dataclass(frozen=True)
class TableChecksum:
    """A hash of a table's values, whatever the order of its rows and columns and the way its numbers are written.

    A program that sorts the table, adds a column or writes 0.50 for 0.5 leaves it as it is.
    """

    columns: tuple[str, ...]
    """The columns that it covers."""
    digest: str
    """The sum of the rows' hashes, modulo 2**128, in hexadecimal digits."""

    def fits(self, table: Mapping[str, Sequence[str]]) -> bool:
        """Whether the columns of a table, as text, hold the values that this was made of."""
        if not all(name in table for name in self.columns):
            return False
        summed = RowSum(self.columns)
        for _ in summed.passing(zip(*(table[name] for name in self.columns), strict=True)):
            pass
        return summed.checksum == self


class RowSum:
    """Adds up the hashes of rows while they are written."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._order = sorted(range(len(columns)), key=lambda i: columns[i])
        self.total = 0
        """The sum of the hashes so far."""

    def passing(self, rows: Iterable[Sequence[Any]]) -> Iterator[list[str]]:
        """Yield each row as text, and add its hash."""
        for row in rows:
            cells = ["" if cell is None else str(cell) for cell in row]
            content = "\x1f".join(_canonical(cells[i]) for i in self._order)
            digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=N_BYTES).digest()
            self.total += int.from_bytes(digest, "big")
            yield cells

    @property
    def checksum(self) -> TableChecksum:
        """The checksum of the rows that have passed."""
        return TableChecksum(self._columns, f"{self.total % 2 ** (8 * N_BYTES):0{2 * N_BYTES}x}")


def _canonical(cell: str) -> str:
    """Return a number in one way of writing, and any other text as it is."""
    try:
        return repr(float(cell))
    except ValueError:
        return cell
