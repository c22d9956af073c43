"""A run in a folder on disk."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import safetensors.torch
from torch import Tensor

from deepmix.errors import DeepmixError, UsageError
from deepmix.runs.atomic import read_json, write_atomically
from deepmix.runs.names import CONFIG, EPOCHS, OWN_NAMES, SUMMARY
from deepmix.runs.store import RunStore


@final
class RunFolder(RunStore):
    """One run's files. Every file but `metrics.jsonl` is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> RunFolder:
        """Make a new run folder.

        Raises:
            UsageError: the path exists and `overwrite` is false, or it holds what deepmix did not write.

        """
        if path.exists():
            if not overwrite:
                raise UsageError(f"'{path}' exists; choose another --out, or add --overwrite or --resume")
            strangers = foreign_files(path)
            if strangers:
                raise UsageError(
                    f"'{path}' is not overwritten: it is no run folder, or holds files of yours "
                    f"('{strangers[0]}'); choose another --out"
                )
            shutil.rmtree(path)
        path.mkdir(parents=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            UsageError: there is none at the path.

        """
        if not (path / CONFIG).is_file():
            raise UsageError(f"'{path}' is no run folder: it has no {CONFIG}")
        return cls(path)

    def has(self, name: str | Path) -> bool:
        """Whether the file is there."""
        return (self.path / name).is_file()

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file."""
        text = json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"
        write_atomically(self.path / name, text.encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file.

        Raises:
            DeepmixError: it is missing or damaged.

        """
        return read_json(self.path / name)

    def append_line(self, row: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        with (self.path / EPOCHS).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    def keep_epochs(self, n_lines: int) -> None:
        """Cut metrics.jsonl after its first `n_lines` whole lines (those a checkpoint knows of)."""
        path = self.path / EPOCHS
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        write_atomically(path, "".join(lines[:n_lines]).encode())

    def read_lines(self) -> list[Any]:
        """Read metrics.jsonl.

        Raises:
            DeepmixError: it is missing or damaged.

        """
        path = self.path / EPOCHS
        try:
            return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise DeepmixError(f"'{path}' can't be read ({error})") from error

    def write_tensors(self, name: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write a safetensors file with a JSON header."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        header = {"deepmix": json.dumps(meta)}
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
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
                return {key: file.get_tensor(key) for key in file.keys()}, meta  # noqa: SIM118
        except FileNotFoundError as error:
            raise DeepmixError(f"'{path}' is missing; train again with --overwrite") from error
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise DeepmixError(f"'{path}' is damaged ({error}); train again with --overwrite") from error

    def write_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a CSV file."""
        path = self.path / name
        temporary = path.with_name(path.name + ".part")
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                writer.writerows(rows)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

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
            raise DeepmixError(f"'{path}' can't be read ({error}); train again with --overwrite") from error


def foreign_files(path: Path) -> list[str]:
    """Return what a run folder, or a folder of runs, holds that deepmix did not write."""
    if not path.is_dir():
        return [path.name]
    if not any(path.iterdir()):
        return []
    seeds = [entry for entry in path.iterdir() if entry.is_dir() and entry.name.startswith("seed-")]
    foreign = [entry.name for entry in path.iterdir() if entry.name not in OWN_NAMES and entry not in seeds]
    foreign += [name for entry in seeds for name in foreign_files(entry)]
    if not foreign and not seeds and not _is_ours(path / CONFIG) and not (path / SUMMARY).is_file():
        foreign.append(next(path.iterdir()).name)
    return foreign


def _is_ours(config: Path) -> bool:
    """Whether a config.json is one that deepmix wrote."""
    try:
        return "deepmix" in read_json(config)["environment"]
    except (DeepmixError, KeyError, TypeError):
        return False


def fresh_path(parent: Path, stem: str) -> Path:
    """Return parent/stem-N with the first N from 1 that is free."""
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"
