"""Cells as run folders: what a cell's configuration is, doing or reusing its runs, reading its figures off them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmix import metrics, runs
from deepmix.contracts import registry
from deepmix.errors import DeepmixError
from deepmix.experiment import (
    Experiment,
    ExperimentConfig,
    build_model,
    prepare_experiment,
    resolved_options,
    run_experiment,
)
from deepmix.report import forgiven, write_report
from deepmix.reproduce.published import Protocol, Spec
from deepmix.reproduce.trace import trace_path, tracer

QUICK_EPOCHS = 2
"""Epochs of each stage with --quick: enough to see that a table runs, and no more."""


CLUSTER_MEASURES = ("acc", "nmi", "ari", "homogeneity", "completeness", "v_measure")


PERCENT = 100.0


OWN_SETTINGS = ("data.download",)
"""Settings of ours that change no result."""


LOWER_IS_BETTER = ("knn_3", "knn_5", "knn_10", "ten_epochs", "n_parameters")


@dataclass(frozen=True)
class Job:
    """A run with all its seeds, which one or more cells read their figures off."""

    config: ExperimentConfig
    protocol: Protocol
    trace: bool

    @property
    def key(self) -> str:
        """The name of its folder: readable, and another for every configuration."""
        decisive = dataclasses.asdict(self.config)
        for key in ("seed", "data_dir", "device"):
            del decisive[key]
        decisive["settings"] = {key: v for key, v in decisive["settings"].items() if key not in OWN_SETTINGS}
        digest = hashlib.sha256(json.dumps([decisive, self.trace], sort_keys=True).encode()).hexdigest()[:8]
        return f"{Path(self.config.dataset).name.split('.')[0]}-{self.config.model}-{self.protocol.name}-{digest}"


@dataclass
class Outcome:
    """What came of a job."""

    folder: Path
    options: dict[str, Any]
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    """metrics.json by seed."""
    failures: dict[int, str] = field(default_factory=dict)
    gap: str = ""
    """Why there is nothing: a part that is not installed, data that are not there."""

    def seed_folder(self, seed: int) -> Path:
        """Return where a seed's run is."""
        return self.folder / f"seed-{seed}"


def find_gap(spec: Spec, protocol: Protocol) -> str:
    """Return why a cell can't be run at all, or nothing."""
    if spec.missing:
        return spec.missing
    wanted = [
        ("models", spec.model),
        ("initializers", spec.init or protocol.init),
        ("heads", protocol.heads.get(spec.head, spec.head)),
    ]
    for kind, name in wanted:
        if name is not None and name not in registry.names(kind):
            return f"{registry.singular(kind)} '{name}' is not installed"
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
    """Return the job a cell belongs to.

    Args:
        spec: the cell's run.
        protocol: the paper's, or ours.
        heads: heads of all cells that share the run.
        quick: shorten it.
        download: whether the data set may be fetched.
        data_dir: the user's data folder.
        device: where to run.

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
    )
    return Job(config, protocol, spec.trace)


def _can_download(dataset: str) -> bool:
    """Whether a data set has an option `download`."""
    if dataset not in registry.names("datasets"):
        return False
    options = getattr(registry.load_plugin("datasets", dataset), "Options", None)
    return options is not None and any(f.name == "download" for f in dataclasses.fields(options))


def run_job(
    job: Job, seeds: Sequence[int], cells: Path, reporter: Callable[[], Any], say: Callable[[str], None]
) -> Outcome:
    """Do what is missing of a job: finished seeds are reused, a begun one is resumed, a failed one says why.

    Raises:
        OSError: nothing can be written, so that going on makes no sense; what was finished stays.

    """
    outcome = Outcome(cells / job.key, dataclasses.asdict(job.config))
    try:
        prepared = prepare_experiment(job.config)
    except DeepmixError as error:
        outcome.gap = str(error)
        return outcome
    model = build_model(prepared.parts, prepared.split, prepared.n_components, prepared.config.seed)
    resolved = _comparable(resolved_options(prepared, model))
    for seed in seeds:
        one = dataclasses.replace(prepared, config=dataclasses.replace(prepared.config, seed=seed))
        folder = outcome.seed_folder(seed)
        finished = _finished(folder, resolved, trace=job.trace)
        if finished is not None:
            outcome.results[seed] = finished
            continue
        say(f"{job.key}, seed {seed}")
        try:
            outcome.results[seed] = _run(one, folder, resolved, reporter(), trace=job.trace)
        except OSError:
            raise
        except Exception as error:  # whatever stops one cell must not stop the table
            text = str(error) if isinstance(error, DeepmixError) else f"{type(error).__name__}: {error}"
            outcome.failures[seed] = text
            say(f"failed: {text}")
    return outcome


def _finished(path: Path, resolved: Any, *, trace: bool) -> dict[str, Any] | None:
    """Return metrics.json of a run that is finished and was made of these data with these options."""
    folder = runs.RunFolder(path)
    if not _is_same(folder, resolved) or (trace and not trace_path(path).is_file()):
        return None
    try:
        results: dict[str, Any] = folder.read_json(runs.METRICS)
    except DeepmixError:  # missing, or damaged: it is done again
        return None
    return results


def _comparable(resolved: Any) -> Any:
    """Return a run's resolved options as config.json has them, without those that change no result."""
    read = json.loads(json.dumps(resolved))
    for key in OWN_SETTINGS:
        part, name = key.split(".")
        read[part].pop(name, None)
    return read


def _is_same(folder: runs.RunFolder, resolved: Any) -> bool:
    """Whether the run is of these data and options, defaults included: they differ between versions of deepmix."""
    try:
        return bool(_comparable(folder.read_json(runs.CONFIG)["resolved"]) == resolved)
    except (DeepmixError, AttributeError, KeyError, TypeError):
        return False


def _can_resume(folder: runs.RunFolder) -> bool:
    """Whether a run was begun and its checkpoint can be read."""
    try:
        folder.read_tensors(runs.CHECKPOINT)
    except DeepmixError:
        return False
    return not folder.has(runs.METRICS)


def _run(prepared: Experiment, path: Path, resolved: Any, reporter: Any, *, trace: bool) -> dict[str, Any]:
    folder = runs.RunFolder(path)
    resume = _is_same(folder, resolved) and _can_resume(folder)
    if not resume:
        folder = runs.RunFolder.create(path, overwrite=True)
        trace_path(path).unlink(missing_ok=True)
    try:
        watch = tracer(prepared, path) if trace else None
        results = run_experiment(prepared, folder, reporter, resume=resume, watch=watch)
        with forgiven(reporter.note, folder.path):
            first = results.clusters[prepared.config.heads[0]]
            write_report(folder, prepared.split, results.model, results.inferences, first)
        runs.delete_checkpoint(path)  # three times the model's size, and of no further use
        return results.metrics
    finally:
        reporter.close()


def measure(name: str, head: str, side: str, path: Path, results: Mapping[str, Any]) -> float:
    """Return one figure of a finished run, in the papers' unit.

    Raises:
        KeyError: the run does not have it.

    """
    if name == "n_parameters":
        return float(results["n_parameters"])
    if name == "ten_epochs":
        lines = [json.loads(line) for line in (path / runs.EPOCHS).read_text("utf-8").splitlines()]
        return 10.0 * float(np.mean([line["seconds"] for line in lines if line["stage"] == "train"]))
    if name.startswith("knn_"):
        return PERCENT * float(results["knn_error"][name.removeprefix("knn_")])
    if side == "all":
        table = runs.RunFolder(path).read_table(runs.ASSIGNMENTS)
        return PERCENT * metrics.against_labels(np.array(table["label"]), np.array(table[head]))[name]
    return PERCENT * float(results["heads"][head][side][name])


def initial(name: str, side: str, results: Mapping[str, Any]) -> float | None:
    """Return how good the initial clustering alone is, by the same measure, in the papers' unit."""
    if name not in CLUSTER_MEASURES:
        return None
    value = results.get("initial_labels", {}).get(side, {}).get(name)
    return None if value is None else PERCENT * float(value)
