"""Cells as run folders: making a cell's configuration, doing or reusing its runs, reading its figures from them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmix import metrics, runs
from deepmix.contracts import Dataset, registry
from deepmix.errors import DeepmixError
from deepmix.experiment import (
    Experiment,
    ExperimentConfig,
    build_model,
    describe,
    is_same_run,
    prepare_experiment,
    run_experiment,
)
from deepmix.report import forgiven, write_report
from deepmix.reproduce.generated import recognise_samples
from deepmix.reproduce.published import Protocol, Spec
from deepmix.reproduce.trace import trace_path, tracer

QUICK_EPOCHS = 2
"""Epochs of each stage with --quick: enough to see that a table runs."""


PERCENT = 100.0


OWN_SETTINGS = ("data.download",)
"""Settings of ours that do not change the results."""


@dataclass(frozen=True)
class RunFigure:
    """A figure of a whole run that a table may have; figures of a head's clusters are in `deepmix.metrics`."""

    read: Callable[[Path, runs.Metrics], float | None]
    """Function that returns the figure in the papers' unit, given the run's folder and its metrics."""
    is_count: bool = False
    best: Callable[[list[float]], float] = min


def _ten_epochs(path: Path, results: runs.Metrics) -> float:
    """Return the seconds that ten epochs of training take."""
    rows = runs.RunFolder(path).read_epochs()
    return 10.0 * float(np.mean([row.seconds for row in rows if row.stage == "train"]))


def _generated(name: str) -> Callable[[Path, runs.Metrics], float | None]:
    def read(path: Path, results: runs.Metrics) -> float | None:
        return getattr(recognise_samples(path), name)

    return read


def _knn_error(k: int) -> Callable[[Path, runs.Metrics], float | None]:
    def read(path: Path, results: runs.Metrics) -> float | None:
        error = (results.knn_error or {}).get(str(k))
        return None if error is None else PERCENT * error

    return read


RUN_FIGURES: dict[str, RunFigure] = {
    "n_parameters": RunFigure(lambda path, results: float(results.n_parameters), is_count=True),
    "ten_epochs": RunFigure(_ten_epochs),
    **{f"knn_{k}": RunFigure(_knn_error(k)) for k in metrics.NEIGHBOUR_COUNTS},
    "generated_purity": RunFigure(_generated("purity"), best=max),
    "generated_classes": RunFigure(_generated("n_classes"), is_count=True, best=max),
}
"""The figures by the names that the papers' tables use."""


@dataclass(frozen=True)
class Job:
    """A run with all its seeds, from which one or more cells read their figures."""

    config: ExperimentConfig
    protocol: Protocol
    trace: bool

    @property
    def key(self) -> str:
        """The name of its folder: readable, and different for every configuration."""
        decisive = dataclasses.asdict(self.config)
        for key in ("seed", "data_dir", "device"):
            del decisive[key]
        decisive["settings"] = {key: v for key, v in decisive["settings"].items() if key not in OWN_SETTINGS}
        digest = hashlib.sha256(json.dumps([decisive, self.trace], sort_keys=True).encode()).hexdigest()[:8]
        return f"{Path(self.config.dataset).name.split('.')[0]}-{self.config.model}-{self.protocol.name}-{digest}"


@dataclass
class Outcome:
    """The outcome of a job."""

    folder: Path
    options: dict[str, Any]
    results: dict[int, runs.Metrics] = field(default_factory=dict)
    """Metrics by seed."""
    failures: dict[int, str] = field(default_factory=dict)
    """Error messages by seed."""
    gap: str = ""
    """Why the job has no results: a part that is not installed, or data that are missing."""

    def seed_folder(self, seed: int) -> Path:
        """Return the folder of a seed's run."""
        return self.folder / f"seed-{seed}"


def find_gap(spec: Spec, protocol: Protocol) -> str:
    """Return why a cell can't be run at all, or an empty string if it can."""
    if spec.missing:
        return spec.missing
    needs = [
        ("models", spec.model),
        ("initializers", spec.init or protocol.init),
        ("heads", protocol.heads.get(spec.head, spec.head)),
    ]
    for kind, name in needs:
        if name is not None and name not in registry.names(kind):
            cure = f"; pip install {spec.distribution}" if spec.distribution else ""
            return f"{registry.singular(kind)} '{name}' is not installed{cure}"
    return ""


def job_of(
    spec: Spec,
    protocol: Protocol,
    heads: Sequence[str],
    *,
    quick: bool,
    download: bool,
    data_dir: str | None,
    device: str,
) -> Job:
    """Return the job that a cell belongs to.

    Args:
        spec: the cell's run.
        protocol: the paper's protocol, or ours.
        heads: heads of all cells that share the run.
        quick: whether to shorten the run.
        download: whether the data set may be downloaded.
        data_dir: the user's data folder.
        device: device to run on.

    """
    settings = {**protocol.settings, **spec.settings}
    if quick:
        for stage in ("epochs", "pretrain_epochs"):
            settings[stage] = str(min(QUICK_EPOCHS, int(settings.get(stage, QUICK_EPOCHS))))
        settings |= spec.quick
    if not download and _can_download(spec.dataset):
        settings["data.download"] = "false"
    config = ExperimentConfig(
        model=spec.model,
        init=spec.init or protocol.init,
        dataset=spec.dataset,
        heads=tuple(heads),
        data_dir=data_dir,
        device=device,
        settings=settings,
        baselines=False,
    )
    return Job(config, protocol, spec.trace)


def _can_download(dataset: str) -> bool:
    """Return whether a data set can fetch its files."""
    if dataset not in registry.names("datasets"):
        return False
    plugin: type[Dataset] = registry.load_plugin("datasets", dataset)
    return plugin.downloads


def run_job(
    job: Job, seeds: Sequence[int], cells: Path, reporter: Callable[[], Any], say: Callable[[str], None]
) -> Outcome:
    """Do the missing runs of a job: finished runs are reused, interrupted ones resumed, and failures recorded.

    Raises:
        OSError: nothing can be written, so the table must stop; finished runs stay.

    """
    outcome = Outcome(cells / job.key, dataclasses.asdict(job.config))
    try:
        prepared = prepare_experiment(job.config)
    except DeepmixError as error:
        outcome.gap = str(error)
        return outcome
    model = build_model(prepared.parts, prepared.split, prepared.n_components, prepared.config.seed)
    description = describe(prepared, model)
    for seed in seeds:
        one = dataclasses.replace(prepared, config=dataclasses.replace(prepared.config, seed=seed))
        folder = outcome.seed_folder(seed)
        finished = _finished(folder, description, trace=job.trace)
        if finished is not None:
            outcome.results[seed] = finished
            continue
        say(f"{job.key}, seed {seed}")
        try:
            outcome.results[seed] = _run(one, folder, description, reporter(), trace=job.trace)
        except OSError:
            raise
        except Exception as error:  # a failure of one cell must not stop the table
            text = str(error) if isinstance(error, DeepmixError) else f"{type(error).__name__}: {error}"
            outcome.failures[seed] = text
            say(f"failed: {text}")
    return outcome


def _finished(path: Path, wanted: runs.RunConfig, *, trace: bool) -> runs.Metrics | None:
    """Return the metrics of a finished run with the same data, parts and options, or None if there is none."""
    folder = runs.RunFolder(path)
    if not _is_same(folder, wanted) or (trace and not trace_path(path).is_file()):
        return None
    try:
        return folder.read(runs.Metrics)
    except DeepmixError:  # the file is missing or damaged, so the run is done again
        return None


def _is_same(folder: runs.RunFolder, wanted: runs.RunConfig) -> bool:
    """Return whether a folder holds the wanted run, including defaults, which differ between versions of deepmix."""
    try:
        return is_same_run(folder.read(runs.RunConfig), wanted, OWN_SETTINGS)
    except DeepmixError:
        return False


def _can_resume(folder: runs.RunFolder) -> bool:
    """Return whether a run was interrupted and one of its checkpoints can be read."""
    for name in (runs.CHECKPOINT, runs.PREVIOUS):
        with contextlib.suppress(DeepmixError):
            folder.read_weights(runs.CheckpointMeta, name)
            return not folder.has(runs.METRICS)
    return False


def _run(prepared: Experiment, path: Path, wanted: runs.RunConfig, reporter: Any, *, trace: bool) -> runs.Metrics:
    folder = runs.RunFolder(path)
    resume = _is_same(folder, wanted) and _can_resume(folder)
    if not resume:
        folder = runs.RunFolder.create(path, overwrite=True)
        trace_path(path).unlink(missing_ok=True)
    try:
        with folder.locked():
            watch = tracer(prepared, path) if trace else None
            results = run_experiment(prepared, folder, reporter, resume=resume, watch=watch)
            with forgiven(reporter.note, folder.path):
                first = results.clusters[prepared.config.heads[0]]
                write_report(folder, results.split, results.model, results.inferences, first)
            runs.delete_checkpoint(path)  # six times the model's size, and no longer needed
            return results.metrics
    finally:
        reporter.close()


def measure(name: str, head: str, side: str, path: Path, results: runs.Metrics) -> float:
    """Return one figure of a finished run, in the papers' unit.

    Raises:
        KeyError: the run does not have it.

    """
    if name in RUN_FIGURES:
        figure = RUN_FIGURES[name].read(path, results)
        if figure is None:
            raise KeyError(name)
        return figure
    if side == "all":
        table = runs.RunFolder(path).read_table(runs.ASSIGNMENTS)
        labels = np.array(table["label"])
        weights = np.array(table["weight"], dtype=np.float64) if "weight" in table else None
        clustering = metrics.Clustering(np.array(table[head], dtype=np.int64), labels, weight_N=weights)
        scores = metrics.measure(clustering, scored_N=labels != "")
    else:
        scores = dict(results.heads[head][side].scores)
    value = scores[name]
    if value is None:
        raise KeyError(name)
    return PERCENT * value


def initial(name: str, side: str, results: runs.Metrics) -> float | None:
    """Return the same measure of the initial clustering, in the papers' unit, or None if it has none."""
    scores = {} if results.initial_labels is None else results.initial_labels.side(side)
    value = scores.get(name)
    return None if value is None else PERCENT * value


def best_of(name: str) -> Callable[[list[float]], float]:
    """Return the function that picks the best value of a figure."""
    if name in RUN_FIGURES:
        return RUN_FIGURES[name].best
    return metrics.METRICS[name].best if name in metrics.METRICS else max
