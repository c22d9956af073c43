"""The data that a run was trained on, read again from where they were or are now."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from deepmix.data import Split, fingerprint
from deepmix.errors import UsageError, option
from deepmix.experiment import ExperimentConfig, Parts, load_data, with_moved_data
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
        UsageError: the data are gone, or they are not those of the training.

    """
    config = dataclasses.replace(config, data_dir=data_dir or config.data_dir)
    split = load_data(with_moved_data(config, dataset, run), parts, as_array=record.schema is None)
    if fingerprint(split) != record.fingerprint:
        if dataset is None:
            raise UsageError(
                f"'{config.dataset}' has changed since '{run}' was trained on it; name a copy of the old data with "
                f"{option('dataset')}, or train again"
            )
        raise UsageError(f"'{dataset}' does not hold the rows that '{run}' was trained on; name those rows")
    return split
