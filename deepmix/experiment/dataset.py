"""The data set that a configuration names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.contracts import registry
from deepmix.data import (
    ONE_READER,
    SUFFIXES,
    Readers,
    Split,
    SplitOptions,
    TableOptions,
    arrange_rows,
    arrange_stored_table,
    arrange_table,
    count_values,
    find_prepared,
    is_table_file,
    load_file,
    load_prepared,
    read_frame,
)
from deepmix.errors import DeepmixError, UsageError, option, unknown_choice
from deepmix.experiment.config import IN_MEMORY, ExperimentConfig
from deepmix.experiment.file_formats import load_format
from deepmix.experiment.parts import FromFile, Parts
from deepmix.experiment.selection import format_of, is_registered
from deepmix.maths import Array


def read_run_data(
    config: ExperimentConfig,
    parts: Parts,
    run: Path,
    data_dir: str | None,
    *,
    as_array: bool,
    readers: Readers = ONE_READER,
) -> Split:
    """Return the data set that a run's config.json names; it is fetched only into a folder that the user names.

    Args:
        config: the run's configuration, which a stranger may have written.
        parts: its parts.
        run: what messages call the run.
        data_dir: the folder that the user names, which takes the place of the run's; None: the user names none.
        as_array: whether a table file is read as an array of numbers, as runs that recorded no schema did.
        readers: the processes that read the data set together.

    Raises:
        UsageError: the data set does not exist or can't be used, or it would be fetched into the run's own folder.
        DeepmixError: the data set is damaged.

    """
    if data_dir is not None:
        return load_data(replace(config, data_dir=data_dir), parts, as_array=as_array, readers=readers)
    try:
        return load_data(config, without_download(parts), as_array=as_array, readers=readers)
    except UsageError as error:
        if not _is_fetched(parts):
            raise
        raise UsageError(
            f"the data set '{config.dataset}' of '{run}' is not in the folder that the run names, and it is fetched "
            f"only into a folder that you name with {option('data_dir')} ({error})"
        ) from error


def without_download(parts: Parts) -> Parts:
    """Return parts whose data set is neither fetched nor prepared in the data folder; a stranger may have named it."""
    if not _is_fetched(parts):
        return parts
    options = replace(parts.options["data"], download=False)
    return replace(parts, options={**parts.options, "data": options})


def _is_fetched(parts: Parts) -> bool:
    """Whether the data set can be fetched into the data folder."""
    return bool(getattr(parts.classes["data"], "downloads", False))


def load_data(
    config: ExperimentConfig, parts: Parts, *, as_array: bool = False, readers: Readers = ONE_READER
) -> Split:
    """Return the data set: from a plugin, a file, or NAME.npz in the data folder.

    Args:
        config: the configuration.
        parts: its parts.
        as_array: whether a table file is read as an array of numbers, as runs that recorded no schema did.
        readers: the processes that read the data set together; they share the passes over rows that stay on disk.

    Raises:
        UsageError: the data set does not exist or can't be used.
        DeepmixError: the data set is damaged.

    """
    data_dir = Path(config.data_dir) if config.data_dir else None
    if parts.classes["data"] is not FromFile:
        if config.label_column is not None:
            raise UsageError(f"{option('label_column')} is for files; data set '{config.dataset}' has its own labels")
        _refuse_table_options(config)
        return _loaded(parts, data_dir)
    if config.dataset == IN_MEMORY:
        raise UsageError(
            f"the run was trained on rows in memory, which are not stored; name the data ({option('dataset')})"
        )
    options: SplitOptions = parts.options["data"]
    if names_a_file(config.dataset):
        path = Path(config.dataset)
        if format_of(config.dataset) is not None:
            format_options = parts.options.get("format")
            return load_format(path, format_options, options, config.label_column, config.table, as_array=as_array)
        if is_table_file(path) and options.takes_tables and not as_array:
            table = config.table or TableOptions()
            if options.stays_on_disk(count_values(path)):
                return arrange_stored_table(path, options, table, config.label_column, readers)
            names = table.names(config.label_column)
            as_text = (*table.drop, *(() if table.id_column is None else (table.id_column,)))
            frame = read_frame(path, table.missing, names=names, text_columns=as_text)
            return arrange_table(frame, options, table, label_column=config.label_column, name=f"'{path.name}'")
        if config.table is not None:
            raise UsageError(
                f"'{path.name}' is read as an array of numbers, whose columns have no kinds; save it as a table "
                f"(.csv, .parquet, .xlsx), or leave out {option('columns')} and the other options for columns"
            )
        return load_file(path, config.label_column, options, readers)
    check_dataset(config.dataset, data_dir)
    _refuse_table_options(config)
    assert data_dir is not None
    return load_prepared(config.dataset, data_dir, parts.options["data"], config.label_column)


def _loaded(parts: Parts, data_dir: Path | None) -> Split:
    """Return the data set of a plugin; an error that is not deepmix's names the plugin."""
    plugin = parts.plugins["data"]
    try:
        split: Split = parts.classes["data"](parts.options["data"]).load(data_dir)
    except (DeepmixError, OSError, MemoryError):
        raise
    except Exception as error:  # code that is not ours may fail in any way
        if plugin.distribution == registry.OURS:
            raise
        raise DeepmixError(
            f"data set '{plugin.name}' of {plugin.distribution} can't be loaded ({type(error).__name__}: {error}); "
            "fix the plugin, which deepmix.testing.check_dataset tests"
        ) from error
    return split


def _refuse_table_options(config: ExperimentConfig) -> None:
    if config.table is not None:
        raise UsageError(
            f"data set '{config.dataset}' is an array, whose columns have no kinds; leave out {option('columns')} and "
            "the other options for columns, or name a table file"
        )


def rows_in_memory(
    x: Any,
    columns: list[str] | None,
    labels: Array | None,
    weights: Any,
    table: TableOptions | None,
    options: SplitOptions,
) -> Split:
    """Return the data set of rows in memory: a data frame's columns get kinds, an array's do not.

    Raises:
        UsageError: the rows or their weights can't be used.

    """
    if weights is not None:
        weights = _checked_weights(weights, int(x.shape[0]))
    if not isinstance(x, np.ndarray) and hasattr(x, "iloc") and options.takes_tables:
        return arrange_table(x, options, table or TableOptions(), labels=labels, weights=weights)
    if table is not None:
        raise UsageError("the columns of an array have no kinds; pass a pandas DataFrame, or leave out columns")
    return replace(arrange_rows(x, labels, options, columns=columns), weights=weights)


def _checked_weights(weights: Any, n_rows: int) -> Array:
    """Return weights as (N,) float64; raise a UsageError unless there is one above 0 for every row."""
    try:
        checked = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the weights must be numbers ({error})") from error
    if checked.shape != (n_rows,) or not (np.isfinite(checked) & (checked > 0.0)).all():
        raise UsageError(f"the weights must be {n_rows} finite numbers above zero, one for each row")
    return checked


def check_dataset(name: str, data_dir: Path | None) -> None:
    """Raise a UsageError unless there is a data set, a file or a prepared archive with this name."""
    if is_registered(name):
        return
    if names_a_file(name):
        if not Path(name).exists():
            raise UsageError(f"there is no file '{name}'")
    elif data_dir is None or find_prepared(name, data_dir) is None:
        suffixes = [*SUFFIXES, *(f".{suffix}" for suffix in registry.names("formats"))]
        raise unknown_choice("data set or file", name, [*registry.names("datasets"), f"a file ({' '.join(suffixes)})"])


def with_moved_data(config: ExperimentConfig, dataset: str | None, run: Path) -> ExperimentConfig:
    """Return a run's configuration with the place where its data are now.

    Args:
        config: the run's options.
        dataset: the file or folder that holds the data now; None: it is where it was.
        run: what messages call the run.

    Raises:
        UsageError: the data are no longer where they were, or they were not a file.

    """
    if dataset is None:
        is_file = not is_registered(config.dataset) and names_a_file(config.dataset)
        if is_file and not Path(config.dataset).exists():
            raise UsageError(
                f"the data of '{run}' are no longer at '{config.dataset}'; say where they are with {option('dataset')}"
            )
        return config
    if is_registered(config.dataset):
        raise UsageError(
            f"'{run}' was trained on the data set '{config.dataset}', which is not a file; leave out "
            f"{option('dataset')}, or say where its folder is with {option('data_dir')}"
        )
    if is_registered(dataset) or not Path(dataset).exists():
        raise UsageError(f"there is no file '{dataset}'; name the file that '{run}' was trained on")
    return replace(config, dataset=str(Path(dataset).resolve()))


def names_a_file(name: str) -> bool:
    """Whether a data set's name is the path of a file."""
    path = Path(name)
    has_suffix = path.name.lower().endswith(SUFFIXES) or format_of(path.name) is not None
    return has_suffix or path.exists() or len(path.parts) > 1
