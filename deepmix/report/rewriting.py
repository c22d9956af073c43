"""Reports of earlier runs, made from their folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepmix import runs
from deepmix.data import sample_rows
from deepmix.inference import LoadedRun
from deepmix.report import seeds, writing


def rewrite(path: Path, *, with_umap: bool = False, dataset: str | None = None, data_dir: str | None = None) -> Path:
    """Write the report of a finished run again, or the reports of several seeds and of each of their runs.

    Args:
        path: the run folder.
        with_umap: also draw the latent maps by UMAP, which takes half a minute or more.
        dataset: where the data of the training are now; None: where they were.
        data_dir: where the folder of prepared data sets is now; None: where it was.

    Returns:
        The path of the report.

    Raises:
        UsageError: the path is not a run folder, the run is not finished, or its data are gone or have changed.
        DeepmixError: a file is damaged, or a plugin that the run needs is missing.

    """
    if (path / runs.SUMMARY).is_file():
        with runs.RunFolder(path).locked():
            for folder in seeds.seed_folders(path).values():
                _rewrite_run(folder, with_umap, dataset, data_dir)
            seeds.write_seeds(path)
    else:
        _rewrite_run(runs.RunFolder.open(path), with_umap, dataset, data_dir)
    return path / runs.REPORT


def _rewrite_run(folder: runs.RunFolder, with_umap: bool, dataset: str | None, data_dir: str | None) -> None:
    with folder.locked():
        loaded = LoadedRun(folder)
        split = loaded.training_data(dataset, data_dir)
        is_stored = split.is_stored
        if is_stored:
            split, _ = sample_rows(split, loaded.config.seed)
        sides = {"train": split.train, "test": split.test}
        inferences = {side: loaded.infer(split.take(rows)) for side, rows in sides.items()}
        if is_stored:  # assignments.csv may have more rows than memory holds
            clusters = {side: loaded.head().predict(inference) for side, inference in inferences.items()}
        else:
            cluster_N = loaded.assignments()[loaded.config.heads[0]]
            clusters = {side: np.asarray(cluster_N[rows]) for side, rows in sides.items()}
        writing.write_report(folder, split, loaded.model, inferences, clusters, with_umap=with_umap)
