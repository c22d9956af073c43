"""A run in a folder on disk."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import safetensors.torch
from torch import Tensor

from deepmix.data import PART, naming_file, write_atomically, writing_beside
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.runs import ownership
from deepmix.runs.checksums import CHECKSUM, RowSum, TableChecksum, checksum, with_checksum, without_checksum
from deepmix.runs.folder_lock import FolderLock
from deepmix.runs.json_files import UNREADABLE, read_json
from deepmix.runs.names import CHECKPOINT, CONFIG, EPOCHS, PREVIOUS, SUMMARY
from deepmix.runs.store import RunStore
from deepmix.runs.table_block import TableBlock


@final
class RunFolder(RunStore):
    """The files of one run. Every file but `metrics.jsonl` is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FolderLock()
        self._old: Path | None = None
        """The real folder of the run that this one replaces, until this one's first file is written."""

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> RunFolder:
        """Make a new run folder.

        A run that is overwritten stays as it is until the new one's first file has been written.

        Raises:
            UsageError: the path exists and `overwrite` is false; or what is there can't be replaced, or holds a
                file that deepmix did not write.

        """
        folder = cls(path)
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return folder
        if not path.exists():
            raise UsageError(
                f"'{path}' is a link to a folder that is missing; remove it, or choose another {option('out')}"
            )
        if not overwrite:
            cls.check_free(path)
        old = ownership.check_replaceable(path)
        with folder._lock.held(old, path):
            pass  # nobody is writing there
        if ownership.holds_a_run(old):
            folder._old = old
        else:
            ownership.delete_leftovers(old)
        return folder

    @staticmethod
    def check_free(path: Path) -> None:
        """Check that nothing has the name of a new run folder.

        Raises:
            UsageError: something has.

        """
        if path.exists():
            raise UsageError(
                f"'{path}' exists; choose another {option('out')}, or add {option('overwrite')} or {option('resume')}"
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            UsageError: there is none at the path.

        """
        if (path / CONFIG).is_file():
            return cls(path)
        if any((path / (record + PART)).is_file() for record in (CONFIG, SUMMARY)):
            cure = f"repeat the command that started it, with {option('overwrite')}"
            raise UsageError(f"'{path}' holds a run that was stopped before its {CONFIG} was written; {cure}")
        aside = ownership.moved_aside(path)
        if aside is not None:
            raise UsageError(
                f"'{path}' was being replaced when its process was killed; what it replaced is whole, "
                f"move it back with: mv '{aside}' '{path}'"
            )
        raise UsageError(f"'{path}' is not a run folder: it has no {CONFIG}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[Self]:
        """Keep other processes from writing in the folder, and delete what killed ones were writing there.

        Raises:
            UsageError: another process is writing in the folder.

        """
        if self._lock:
            yield self
            return
        with self._lock.held(self._old or self.path, self.path):
            if self._old is None:
                ownership.delete_parts(self.path)
            yield self

    @property
    def has_begun(self) -> bool:
        """Whether the run's first file has been written, so that it can be resumed."""
        return self._old is None and self.has(CONFIG)

    @contextlib.contextmanager
    def _writing(self, name: str | Path) -> Iterator[Path]:
        """Yield the path at which to write a file; the first one puts the run in the place of the one it replaces."""
        if self._old is None:
            yield self.path / name
            return
        with ownership.replacing(self.path, self._old) as folder:
            yield folder / name
            if self._lock:
                self._lock.add(folder, self.path)
        self._old = None

    def has(self, name: str | Path) -> bool:
        """Return whether the file exists."""
        return (self.path / name).is_file()

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file; an object's checksum is its last entry."""
        if isinstance(value, Mapping):
            value = with_checksum(value)
        text = json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"
        with self._writing(name) as path:
            write_atomically(path, text.encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file.

        Raises:
            DeepmixError: it is missing or damaged, or its values are not those that were written.

        """
        path = self.path / name
        try:
            return without_checksum(read_json(path))
        except ValueError as error:
            raise DeepmixError(
                f"'{path}' has changed since it was written ({error}); restore it, or delete its entry '{CHECKSUM}' if "
                "you made the change"
            ) from error

    def append_line(self, row: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl, with its checksum."""
        with self._writing(EPOCHS) as path, naming_file(path), path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(with_checksum(row)) + "\n")

    def keep_epochs(self, n_lines: int) -> None:
        """Cut metrics.jsonl after its first `n_lines` whole lines, those that a checkpoint knows.

        Raises:
            DeepmixError: it has fewer, or one of them is damaged.

        """
        with self._writing(EPOCHS) as path:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            self._parsed(lines[:n_lines])
            if len(lines) < n_lines:
                raise DeepmixError(
                    f"'{path}' has {len(lines)} lines, and the checkpoint was written after {n_lines}; restore the "
                    f"file, or train again with {option('overwrite')}"
                )
            write_atomically(path, b"".join(lines[:n_lines]))

    def read_lines(self) -> list[Any]:
        """Read metrics.jsonl.

        Raises:
            DeepmixError: it is missing or damaged.

        """
        path = self.path / EPOCHS
        try:
            return self._parsed(path.read_bytes().splitlines())
        except OSError as error:
            raise DeepmixError(f"'{path}' can't be read ({error}); restore the file, or train again") from error

    def _parsed(self, lines: Sequence[bytes]) -> list[Any]:
        """Return the values of lines of metrics.jsonl."""
        values = []
        for number, line in enumerate(lines, start=1):
            try:
                values.append(without_checksum(json.loads(line)))
            except UNREADABLE as error:
                raise DeepmixError(
                    f"'{self.path / EPOCHS}' is damaged in line {number} ({error}); restore the file, or train again "
                    f"with {option('overwrite')}"
                ) from error
        return values

    def write_tensors(self, name: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write a safetensors file with a JSON header and a checksum."""
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        header = {"deepmix": json.dumps({**meta, CHECKSUM: checksum(meta, contiguous)})}
        with self._writing(name) as path:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, safetensors.torch.save(contiguous, header))

    def read_tensors(self, name: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read a safetensors file and its JSON header.

        Raises:
            DeepmixError: it is missing or damaged.

        """
        path = self.path / name
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                meta = json.loads((file.metadata() or {})["deepmix"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            expected = meta.pop(CHECKSUM, None)  # earlier versions wrote none
            if expected is not None and expected != checksum(meta, tensors):
                raise ValueError("its checksum is wrong")
            return tensors, meta
        except FileNotFoundError as error:
            raise DeepmixError(f"'{path}' is missing; train again with {option('overwrite')}") from error
        except (OSError, KeyError, TypeError, AttributeError, *UNREADABLE, safetensors.SafetensorError) as error:
            raise DeepmixError(f"'{path}' is damaged ({error}); train again with {option('overwrite')}") from error

    def keep_checkpoint(self) -> None:
        """Move the checkpoint, if there is one, to the place of the one before it."""
        if self._old is None and self.has(CHECKPOINT):
            os.replace(self.path / CHECKPOINT, self.path / PREVIOUS)

    def write_blocks(self, name: str, header: Sequence[str], blocks: Iterable[TableBlock]) -> TableChecksum:
        """Write a CSV file from blocks of its rows and return the checksum of its values."""
        summed = RowSum(header)
        with (
            self._writing(name) as path,
            writing_beside(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            csv.writer(file).writerow(header)
            for block in blocks:
                file.write(block.text)
                summed.total += block.hash_sum
        return summed.checksum

    def read_table(self, name: str) -> dict[str, list[str]]:
        """Read a CSV file's columns.

        Raises:
            DeepmixError: it is missing or damaged.

        """
        path = self.path / name
        try:
            with path.open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file)
            return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        except (OSError, ValueError, csv.Error) as error:
            raise DeepmixError(f"'{path}' can't be read ({error}); train again with {option('overwrite')}") from error
