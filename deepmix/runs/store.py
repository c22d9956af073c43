"""A run is a folder: what is written there, how it stays whole, and how it is read back. No pickle."""

from __future__ import annotations

import abc
import copy
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, final

from torch import Tensor

from deepmix.runs.checksums import RowSum, TableChecksum
from deepmix.runs.names import ASSIGNMENTS, CHECKPOINT, CONFIG, EPOCHS, INFERENCE, METRICS, MODEL
from deepmix.runs.records import EpochRecord, Record
from deepmix.runs.table_block import TableBlock, blocks_of

R = TypeVar("R", bound=Record)


class RunStore(abc.ABC):
    """Where a run's results go and come from: a folder, or memory."""

    path: Path
    """The folder, or what messages call it."""

    @abc.abstractmethod
    def has(self, name: str | Path) -> bool:
        """Whether a file of this name was written."""

    @abc.abstractmethod
    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file."""

    @abc.abstractmethod
    def read_json(self, name: str) -> Any:
        """Read a JSON file; raises DeepmixError where it is missing or damaged."""

    @abc.abstractmethod
    def append_line(self, row: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""

    @abc.abstractmethod
    def keep_epochs(self, n_lines: int) -> None:
        """Cut metrics.jsonl after its first `n_lines` whole lines (those a checkpoint knows of)."""

    @abc.abstractmethod
    def read_lines(self) -> list[Any]:
        """Read metrics.jsonl; raises DeepmixError where it is missing or damaged."""

    @abc.abstractmethod
    def write_tensors(self, name: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write a safetensors file with a JSON header."""

    @abc.abstractmethod
    def read_tensors(self, name: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read a safetensors file and its JSON header; raises DeepmixError where it is missing or damaged."""

    @abc.abstractmethod
    def keep_checkpoint(self) -> None:
        """Move the checkpoint, if there is one, to the place of the one before it."""

    @abc.abstractmethod
    def write_blocks(self, name: str, header: Sequence[str], blocks: Iterable[TableBlock]) -> TableChecksum:
        """Write a CSV file from blocks of its rows and return the checksum of its values."""

    @abc.abstractmethod
    def read_table(self, name: str) -> dict[str, list[str]]:
        """Read a CSV file's columns; raises DeepmixError where it is missing or damaged."""

    def write_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> TableChecksum:
        """Write a CSV file and return the checksum of its values."""
        return self.write_blocks(name, header, blocks_of(header, rows))

    def write(self, record: Record) -> None:
        """Write a record's JSON file."""
        self.write_json(str(record.FILE), record.to_json())

    def read(self, kind: type[R]) -> R:
        """Read a record's JSON file; raises DeepmixError where it is missing, damaged or of a newer format."""
        return kind.from_json(self.read_json(str(kind.FILE)), str(self.path / kind.FILE))

    def write_checkpoint(self, header: Record, tensors: Mapping[str, Tensor]) -> None:
        """Write the checkpoint, and keep the one before it."""
        self.keep_checkpoint()
        self.write_weights(header, tensors)

    def append_epoch(self, record: EpochRecord) -> None:
        """Add an epoch's line to metrics.jsonl."""
        self.append_line(record.to_json())

    def read_epochs(self) -> list[EpochRecord]:
        """Read metrics.jsonl; raises DeepmixError where it is missing or damaged."""
        where = str(self.path / EPOCHS)
        return [EpochRecord.from_json(line, f"{where}, line {i}") for i, line in enumerate(self.read_lines(), start=1)]

    def write_weights(self, header: Record, tensors: Mapping[str, Tensor]) -> None:
        """Write the safetensors file that a record is the header of."""
        self.write_tensors(header.FILE, tensors, header.to_json())

    def read_weights(self, kind: type[R], name: str | Path | None = None) -> tuple[dict[str, Tensor], R]:
        """Read a safetensors file, the kind's own or a copy, and its header.

        Raises:
            DeepmixError: it is missing or damaged.

        """
        name = name or kind.FILE
        tensors, meta = self.read_tensors(name)
        return tensors, kind.from_json(meta, str(self.path / name))


@final
class MemoryRun(RunStore):
    """A run kept in memory until it is saved; it has no checkpoint, so it can't be resumed."""

    def __init__(self) -> None:
        self.path = Path("run in memory")
        self._json: dict[str, Any] = {}
        self._epochs: list[dict[str, Any]] = []
        self._tensors: dict[str | Path, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self._tables: dict[str, tuple[Sequence[str], list[list[str]]]] = {}

    def has(self, name: str | Path) -> bool:
        """Whether it was written."""
        return name in self._json or name in self._tensors or name in self._tables

    def write_json(self, name: str, value: Any) -> None:
        """Store what the JSON file would hold."""
        self._json[name] = json.loads(json.dumps(value, allow_nan=False))

    def read_json(self, name: str) -> Any:
        """Return it."""
        return copy.deepcopy(self._json[name])

    def append_line(self, row: Mapping[str, Any]) -> None:
        """Keep the line."""
        self._epochs.append(dict(row))

    def keep_epochs(self, n_lines: int) -> None:
        """Keep the first lines only."""
        del self._epochs[n_lines:]

    def read_lines(self) -> list[Any]:
        """Return the lines."""
        return copy.deepcopy(self._epochs)

    def write_tensors(self, name: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep a copy; a checkpoint is left out."""
        if name != CHECKPOINT:
            self._tensors[name] = ({key: value.detach().cpu().clone() for key, value in tensors.items()}, dict(meta))

    def read_tensors(self, name: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return them."""
        return self._tensors[name]

    def keep_checkpoint(self) -> None:
        """Do nothing, as there is none."""

    def write_blocks(self, name: str, header: Sequence[str], blocks: Iterable[TableBlock]) -> TableChecksum:
        """Keep its text, and return the checksum of its values."""
        summed = RowSum(header)
        rows: list[list[str]] = []
        for block in blocks:
            rows += csv.reader(io.StringIO(block.text, newline=""))
            summed.total += block.hash_sum
        self._tables[name] = (header, rows)
        return summed.checksum

    def read_table(self, name: str) -> dict[str, list[str]]:
        """Return its columns as text."""
        header, rows = self._tables[name]
        return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def copy_run(source: RunStore, target: RunStore) -> None:
    """Write a finished run to another store, without its checkpoint."""
    target.write_json(CONFIG, source.read_json(CONFIG))
    for row in source.read_lines():
        target.append_line(row)
    for name in (MODEL, INFERENCE):
        target.write_tensors(name, *source.read_tensors(name))
    table = source.read_table(ASSIGNMENTS)
    target.write_table(ASSIGNMENTS, list(table), zip(*table.values(), strict=True))
    target.write_json(METRICS, source.read_json(METRICS))
