"""The data that a run was trained on, read again from where they were or are now."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from deepmix.data import Split
from deepmix.errors import UsageError, option
from deepmix.experiment import ExperimentConfig, Parts, read_run_data, with_moved_data
from deepmix.runs import DataRecord


def read_own_data(
    config: ExperimentConfig,
    parts: Parts,
    record: DataRecord,
    run: Path,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
) -> Split:
    """Return a run's data, prepared as they were in training.

    Args:
        config: the run's options.
        parts: the run's parts.
        record: what the run recorded of its data.
        run: what messages call the run.
        dataset: where the data are now; None: where they were.
        data_dir: where the folder of prepared data sets is now; None: where it was.

    Raises:
        UsageError: the data are gone, or they are not those of the training; or they would be fetched into a folder
            that the run names and the user does not.

    """
    config = with_moved_data(dataclasses.replace(config, data_dir=data_dir or config.data_dir), dataset, run)
    split = read_run_data(config, parts, run, data_dir, as_array=record.schema is None)
    if not record.is_of(split):
        if dataset is None:
            raise UsageError(
                f"'{config.dataset}' has changed since '{run}' was trained on it; name a copy of the old data with "
                f"{option('dataset')}, or train again"
            )
        raise UsageError(f"'{dataset}' does not hold the rows and labels that '{run}' was trained on; name those")
    return split
