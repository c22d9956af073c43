"""The run folder of a torchrun job, with which the job goes on when torchrun restarts it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from deepmix import experiment, runs
from deepmix.cli import torchrun
from deepmix.errors import DeepmixError
from deepmix.experiment import ExperimentConfig


def open_folder(
    out: Path | None, fresh: str, config: ExperimentConfig, *, overwrite: bool
) -> tuple[runs.RunFolder, bool]:
    """Return the folder of a run, and whether the run goes on because its torchrun job was restarted.

    Args:
        out: the folder; None: a new one below runs/.
        fresh: how a new folder is called.
        config: the configuration.
        overwrite: whether the folder may be replaced.

    Raises:
        UsageError: the folder can't be created.

    """
    begun = _begun_run(out, fresh, config)
    if begun is not None:
        return runs.RunFolder(begun), True
    out = out or runs.fresh_path(Path("runs"), fresh)
    is_empty = not any((out / record).exists() for record in (runs.CONFIG, runs.SUMMARY))
    return runs.RunFolder.create(out, overwrite=overwrite or (torchrun.was_restarted() and is_empty)), False


def _begun_run(out: Path | None, fresh: str, config: ExperimentConfig) -> Path | None:
    """Return the folder of the unfinished run that this job began with this configuration; None: there is none."""
    from deepmix.training import job_name  # torch takes seconds to import, and help does not need it

    job = job_name()
    if job is None:
        return None
    for path in sorted(Path("runs").glob(f"{fresh}*")) if out is None else [out]:
        with contextlib.suppress(DeepmixError):
            folder = runs.RunFolder.open(path)
            record = folder.read(runs.RunConfig)
            is_same = record.environment.job == job and record.requested == experiment.requested_of(config)
            if is_same and not folder.has(runs.METRICS):
                return path
    return None
