"""Which files of a folder deepmix wrote, and how one run replaces another without losing anything else."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepmix.data import PART
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.runs.json_files import read_json
from deepmix.runs.names import (
    CHECKPOINT,
    CHOICE,
    CONFIG,
    CONSENSUS,
    CONSENSUS_FILES,
    CONSENSUS_FOLDER,
    NEIGHBOURS,
    PREVIOUS,
    RUN_FILES,
    SEED_FOLDER,
    SEEDS_FILES,
    SUMMARY,
)

RECORD_START = b'{\n  "format": '
"""How the record of a run or of a folder of seeds begins since format 2."""


def check_replaceable(path: Path) -> Path:
    """Return the real folder that a path names, if a new run may replace what is there.

    Raises:
        UsageError: it is not a folder, holds a file that deepmix did not write, or can't be moved aside.

    """
    folder = path.resolve()
    if not folder.is_dir():
        raise UsageError(f"'{path}' is not overwritten, because it is not a folder; choose another {option('out')}")
    _refuse_strangers(path, folder)
    if not holds_a_run(folder):
        return folder
    if Path.cwd().is_relative_to(folder):
        cure = f"run the command from another folder, for example after: cd '{folder.parent}'"
        raise UsageError(f"'{path}' is not overwritten, because the current directory is in it; {cure}")
    if os.path.ismount(folder):
        cure = f"choose a new folder in it as {option('out')}, or delete its files first"
        raise UsageError(f"'{path}' is not overwritten, because a mount point can't be moved aside; {cure}")
    for place in (folder.parent, *_own_folders(folder)):
        if not os.access(place, os.W_OK | os.X_OK):
            cure = f"change its permissions, or choose another {option('out')}"
            raise UsageError(f"'{path}' is not overwritten, because '{place}' is write-protected; {cure}")
    return folder


def holds_a_run(folder: Path) -> bool:
    """Whether a folder has the record of a run, or of a folder of seeds, that only deepmix writes."""
    return _is_record(folder / CONFIG, _is_run_record) or _is_record(folder / SUMMARY, _is_seeds_record)


def delete_leftovers(folder: Path) -> None:
    """Delete the files that a killed process was writing in a folder in which no run had begun."""
    for file in _own_files(folder):
        file.unlink()


def delete_parts(folder: Path) -> None:
    """Delete the files that a killed process was writing in a run folder or a folder of seeds."""
    for name in dict.fromkeys((*RUN_FILES, *SEEDS_FILES)):
        part = folder / f"{name}{PART}"
        if part.is_file() and not part.is_symlink() and not part.parent.is_symlink():
            part.unlink()


def delete_checkpoint(folder: Path) -> None:
    """Delete a run's checkpoint, and its folder unless it holds a file that deepmix did not write."""
    for file in _existing(folder, CHECKPOINT, PREVIOUS, NEIGHBOURS, CHOICE):
        file.unlink()
    with contextlib.suppress(OSError):
        (folder / CHECKPOINT.parent).rmdir()


@contextlib.contextmanager
def replacing(path: Path, old: Path) -> Iterator[Path]:
    """Yield a new, empty folder that takes the old one's place in the end, or vanishes with an error.

    Args:
        path: what messages call the folder.
        old: the folder, a run or a folder of seeds. It is moved aside, and of what is in it only what
            deepmix wrote is deleted.

    Raises:
        UsageError: it can't be moved, or meanwhile holds a file that deepmix did not write.

    """
    new, aside = (fresh_path(old.parent, f".{old.name}.{what}") for what in ("new", "old"))
    with _moving(path):
        new.mkdir()
    try:
        yield new
        _refuse_strangers(path, old)
        with _moving(path):
            _exchange(old, new, aside)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    try:
        _delete(aside)
    except OSError as error:
        text = f"the run that '{path}' replaces is still in '{aside}', because it can't be deleted ({error.strerror})"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def moved_aside(path: Path) -> Path | None:
    """Return the folder that a killed process had moved aside to replace it, where nothing took its place."""
    if path.exists():
        return None
    return next(iter(sorted(path.absolute().parent.glob(f".{glob.escape(path.name)}.old-*"))), None)


def _exchange(old: Path, new: Path, aside: Path) -> None:
    """Move the old folder aside and the new one into its place, or leave both where they are."""
    try:
        old.rename(aside)
        new.rename(old)
    except BaseException:
        if aside.exists() and not old.exists():
            aside.rename(old)
        raise


@contextlib.contextmanager
def _moving(path: Path) -> Iterator[None]:
    """Turn the system's refusal to make or move a folder into one sentence."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"'{path}' is not overwritten, because it can't be moved aside ({error.strerror}); "
            f"choose another {option('out')}"
        ) from error


def _delete(folder: Path) -> None:
    """Delete what deepmix wrote in a folder, its record last, and then the folder."""
    folders = _own_folders(folder)
    for file in reversed(list(_own_files(folder))):
        file.unlink()
    for place in reversed(folders):
        place.rmdir()


def _refuse_strangers(path: Path, folder: Path) -> None:
    stranger = next(_strangers(folder), None)
    if stranger is not None:
        raise UsageError(
            f"'{path}' is not overwritten, because deepmix did not write '{stranger.relative_to(folder)}' in it; "
            f"choose another {option('out')}, or move that file elsewhere"
        )


def _strangers(folder: Path) -> Iterator[Path]:
    """Yield the files, links and empty folders that deepmix did not write, in order."""
    own = {*_own_files(folder), *_own_folders(folder)}
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted([*files, *links]):
            if Path(place, name) not in own:
                yield Path(place, name)
        if not files and not folders and Path(place) not in own:
            yield Path(place)


def _raise(error: OSError) -> None:
    raise error


def _own_folders(folder: Path) -> list[Path]:
    """Return a folder and those in it that deepmix makes, each before what it contains."""
    own = [folder]
    if _is_record(folder / CONFIG, _is_run_record):
        own += [folder / CHECKPOINT.parent] if _is_folder(folder / CHECKPOINT.parent) else []
    elif _is_record(folder / SUMMARY, _is_seeds_record):
        for run in (*_seed_folders(folder), *_consensus_folders(folder)):
            own += _own_folders(run)
    return own


def _own_files(folder: Path) -> Iterator[Path]:
    """Yield the files that deepmix wrote in a folder, its record first."""
    if _is_record(folder / CONFIG, _is_run_record):
        yield from _existing(folder, *RUN_FILES)
    elif _is_record(folder / SUMMARY, _is_seeds_record):
        yield from _existing(folder, *SEEDS_FILES)
        for run in _seed_folders(folder):
            yield from _own_files(run)
        for consensus in _consensus_folders(folder):
            yield from _existing(consensus, *CONSENSUS_FILES)
    else:
        for name in (CONFIG, SUMMARY):
            if _is_unfinished_record(folder / (name + PART)):
                yield folder / (name + PART)


def _existing(folder: Path, *names: str | Path) -> Iterator[Path]:
    for name in names:
        for file in (folder / name, folder / f"{name}{PART}"):
            if file.is_file() and not file.is_symlink() and not file.parent.is_symlink():
                yield file


def _seed_folders(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if re.fullmatch(SEED_FOLDER, entry.name) and _is_folder(entry)]


def _consensus_folders(folder: Path) -> list[Path]:
    """Return the consensus in a folder of seeds, if there is one, even if a kill has left it without its record."""
    consensus = folder / CONSENSUS_FOLDER
    if not _is_folder(consensus):
        return []
    unfinished = {entry.name for entry in consensus.iterdir()} <= {CONSENSUS + PART}
    return [consensus] if unfinished or _is_record(consensus / CONSENSUS, _is_consensus_record) else []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_record(path: Path, is_ours: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        content = read_json(path)
    except DeepmixError:
        return False
    return not path.is_symlink() and isinstance(content, dict) and is_ours(content)


def _is_run_record(config: dict[str, Any]) -> bool:
    environment = config.get("environment")
    return isinstance(environment, dict) and "deepmix" in environment


def _is_seeds_record(summary: dict[str, Any]) -> bool:
    config = summary.get("config")
    return isinstance(summary.get("seeds"), list) and isinstance(config, dict) and {"model", "dataset"} <= config.keys()


def _is_consensus_record(consensus: dict[str, Any]) -> bool:
    return isinstance(consensus.get("seeds"), list) and isinstance(consensus.get("clusters"), dict)


def _is_unfinished_record(path: Path) -> bool:
    """Whether a file is what a kill leaves of a run's first write: nothing, or the beginning of a record."""
    if not path.is_file() or path.is_symlink():
        return False
    content = path.read_bytes()
    if content[: len(RECORD_START)] == RECORD_START[: len(content)]:
        return True
    return content.startswith(b"{") and b'"model":' in content and b'"dataset":' in content


def fresh_path(parent: Path, stem: str) -> Path:
    """Return parent/stem-N with the first N from 1 that is free."""
    number = 1
    while os.path.lexists(parent / f"{stem}-{number}"):
        number += 1
    return parent / f"{stem}-{number}"
