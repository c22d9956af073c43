"""The data set that a configuration names."""

from __future__ import annotations

from pathlib import Path

from deepmix.contracts import registry
from deepmix.data import SUFFIXES, Split, find_prepared, load_file, load_prepared
from deepmix.errors import UsageError, option, unknown_choice
from deepmix.experiment.config import IN_MEMORY, ExperimentConfig
from deepmix.experiment.parts import FromFile, Parts
from deepmix.experiment.selection import is_registered


def load_data(config: ExperimentConfig, parts: Parts) -> Split:
    """Return the data set: from a plugin, a file, or NAME.npz in the data folder.

    Raises:
        UsageError: the data set does not exist or can't be used.
        DeepmixError: the data set is damaged.

    """
    data_dir = Path(config.data_dir) if config.data_dir else None
    if parts.classes["data"] is not FromFile:
        if config.label_column is not None:
            raise UsageError(f"{option('label_column')} is for files; data set '{config.dataset}' has its own labels")
        split: Split = parts.classes["data"](parts.options["data"]).load(data_dir)
        return split
    if config.dataset == IN_MEMORY:
        raise UsageError(
            f"the run was trained on rows in memory, which are not stored; name the data ({option('dataset')})"
        )
    if names_a_file(config.dataset):
        return load_file(Path(config.dataset), config.label_column, parts.options["data"])
    check_dataset(config.dataset, data_dir)
    assert data_dir is not None
    return load_prepared(config.dataset, data_dir, parts.options["data"], config.label_column)


def check_dataset(name: str, data_dir: Path | None) -> None:
    """Raise a UsageError unless there is a data set, a file or a prepared archive with this name."""
    if is_registered(name):
        return
    if names_a_file(name):
        if not Path(name).exists():
            raise UsageError(f"there is no file '{name}'")
    elif data_dir is None or find_prepared(name, data_dir) is None:
        raise unknown_choice("data set or file", name, [*registry.names("datasets"), f"a file ({' '.join(SUFFIXES)})"])


def names_a_file(name: str) -> bool:
    """Whether a data set's name is the path of a file."""
    path = Path(name)
    return path.name.lower().endswith(SUFFIXES) or path.exists() or len(path.parts) > 1
