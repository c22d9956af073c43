"""The one way from options to a finished run; the command line and the estimator only call it."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

from deepmix import loading, metrics, runs
from deepmix.configuration import (
    IN_MEMORY,
    ExperimentConfig,
    Parts,
    build_model,
    check_heads,
    check_images,
    choose_device,
    latent_dim,
    load_data,
    model_likelihood,
    n_clusters,
    resolve,
)
from deepmix.contracts import checked_clusters, try_foreign_parts
from deepmix.data import Rows, revealed_labels
from deepmix.data import prepare as arrange
from deepmix.errors import UsageError
from deepmix.heads import make_head
from deepmix.interfaces import Initializer, Model
from deepmix.labels import n_labelled, with_known_labels
from deepmix.report import writing
from deepmix.training import Reporter, Trainer, TrainingOptions, diagnose, evaluate, learns_by_gradient, planned_epochs
from deepmix.types import Array, Inference, Split

BASELINE_NEIGHBOURS = 5
"""Neighbours that vote when the initial labels are carried to the test rows, the baseline of every run."""


Watch = Callable[[Model, str, dict[str, Any]], None]
"""Shown the model, the stage and the epoch's line of metrics.jsonl."""


@dataclass(frozen=True)
class Experiment:
    """A configuration that was found good: its plugins loaded, its data read, K known."""

    config: ExperimentConfig
    parts: Parts
    split: Split
    n_components: int
    device: torch.device
    report: bool = True
    """Whether a run in a folder ends with its report.html."""


def prepare(
    config: ExperimentConfig, x: Any = None, columns: list[str] | None = None, labels: Any = None
) -> Experiment:
    """Check everything that can be checked before a run folder is made; nothing is written.

    Args:
        config: what to do.
        x: rows in memory, (N, D) dense or sparse, in place of the data set the configuration names.
        columns: their names, if they have any.
        labels: their labels, (N,), read only by a model that learns from labels.

    Raises:
        UsageError: the configuration or the data can't be used.
        DeepmixError: a plugin or a file is damaged.

    """
    if x is not None:
        config = dataclasses.replace(config, dataset=IN_MEMORY)
    elif Path(config.dataset).is_file():  # as an absolute path, so that the run can be resumed from anywhere
        config = dataclasses.replace(config, dataset=str(Path(config.dataset).resolve()))
    if config.data_dir is not None:
        config = dataclasses.replace(config, data_dir=str(Path(config.data_dir).resolve()))
    parts = resolve(config)
    device = choose_device(config.device)
    check_heads(config, parts)
    if x is None:
        split = load_data(config, parts)
    else:
        split = arrange(x, labels if n_labelled(parts) else None, parts.options["data"], columns=columns)
    split = with_known_labels(parts, split)
    model_likelihood(parts, split)
    check_images(parts, split)
    n_components = n_clusters(parts, split)
    for head in config.heads:
        if getattr(parts.classes[f"head.{head}"], "fits_anew", False) and len(split.test) <= n_components:
            raise UsageError(
                f"head '{head}' fits {n_components} clusters to the test rows alone, here {len(split.test)}; "
                "use --head gmm, which is fitted to the training rows"
            )
    try_foreign_parts(config, parts, split, n_components)
    return Experiment(config, parts, split, n_components, device)


def run(
    experiment: Experiment,
    folder: runs.RunStore,
    reporter: Reporter,
    *,
    resume: bool = False,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Do a run from beginning, or checkpoint, to end and fill its folder.

    Args:
        experiment: what to do.
        folder: where; new and empty, or with `resume` one that was begun with this configuration.
        reporter: told how it goes.
        resume: take up the folder's checkpoint.
        watch: shown the model after every epoch, which it must leave as it is.

    Returns:
        What metrics.json holds.

    Raises:
        DeepmixError: something can't be done; what was finished stays in the folder.

    """
    config, parts, split = experiment.config, experiment.parts, experiment.split
    n_components, device = experiment.n_components, experiment.device
    model = build_model(parts, split, n_components, config.seed).to(device)
    training: TrainingOptions = parts.options["training"]
    if not resume:
        folder.write_json(runs.CONFIG, describe(experiment, model))
    for text in split.warnings:
        reporter.note(text)
    reporter.note(
        f"{config.dataset}: {len(split.train)} training and {len(split.test)} test rows of {split.x.shape[1]} columns, "
        f"{split.preprocessing}; {model_likelihood(parts, split)} likelihood, {n_components} clusters"
    )

    rows = {"train": Rows(split.x, split.train, device), "test": Rows(split.x, split.test, device)}
    told = reporter if watch is None else _Watched(reporter, model, watch)
    trainer = Trainer(model, rows["train"], training, parts.options["objective"], config.seed, folder, told)
    if resume:
        _refuse_other_data(folder, split)
        trainer.restore()
    initializer: Initializer = parts.classes["initializer"](parts.options["initializer"])
    n_model, supervision = model.n_components, n_labelled(parts)

    def initial_labels(code_NM: Array) -> Array:
        if n_model == 1:
            return np.zeros(len(code_NM), dtype=np.int64)
        if supervision:
            assert split.labels is not None
            return revealed_labels(split.labels[split.train], split.scored(split.train), supervision, config.seed)
        with noted(reporter):
            labels = initializer.initial_labels(split.x[split.train], code_NM, n_model, config.seed)
        return checked_clusters(labels, len(code_NM), n_model, f"initializer {type(initializer).__qualname__}")

    trainer.run(initial_labels)
    assert trainer.labels_N is not None
    folder.write_tensors(runs.MODEL, model.state_dict(), {"model": config.model, "n_components": n_components})

    reporter.start("heads", 0)
    inferences, elbo = {}, {}
    for side, side_rows in rows.items():
        inferences[side], elbo[side] = evaluate(model, side_rows, training.precision, config.seed)
    heads = {name: make_head(name, parts) for name in config.heads}
    with noted(reporter):
        for head in heads.values():
            head.fit(inferences["train"], n_components, config.seed)
        clusters = {
            name: {
                side: checked_clusters(head.predict(found), len(found.log_q_NK), None, f"head '{name}'")
                for side, found in inferences.items()
            }
            for name, head in heads.items()
        }
    weight_K = np.exp(inferences["train"].log_q_NK).mean(axis=0)
    loading.keep(folder, split, model_likelihood(parts, split), heads, weight_K)
    results = _measure(split, clusters, inferences, n_components, config.seed)
    results["elbo"] = {side: values["elbo"] for side, values in elbo.items()}
    results["elbo_parts"] = elbo
    if supervision:
        results["labelled_rows"] = int((trainer.labels_N >= 0).sum())
        reporter.note(f"{results['labelled_rows']} training rows' labels were learned from; judge by the test rows")
    elif n_model > 1:
        results["initial_labels"] = _baseline(split, trainer.labels_N.cpu().numpy())
    if split.labels is not None:
        results["knn_error"] = _neighbour_errors(split, inferences)
    results["warnings"] = [*split.warnings, *diagnose(inferences["train"], learned_latents=learns_by_gradient(model))]
    results["n_parameters"] = count_parameters(model)
    results["seconds"] = trainer.seconds
    _write_assignments(folder, split, clusters, inferences)
    folder.write_json(runs.METRICS, results)
    if experiment.report and isinstance(folder, runs.RunFolder):
        reporter.start("report", 0)
        with writing.forgiven(reporter.note, folder.path):
            writing.write(folder, split, model, inferences, clusters[config.heads[0]])
    return results


class _Watched:
    """A reporter that also shows the model to someone."""

    def __init__(self, reporter: Reporter, model: Model, watch: Watch) -> None:
        self._reporter, self._model, self._watch = reporter, model, watch

    def start(self, stage: str, n_epochs: int) -> None:
        """Pass it on."""
        self._reporter.start(stage, n_epochs)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._reporter.note(text)

    def epoch(self, stage: str, row: dict[str, Any]) -> None:
        """Pass it on and show the model."""
        self._reporter.epoch(stage, row)
        self._watch(self._model, stage, row)


@contextmanager
def noted(reporter: Reporter) -> Iterator[None]:
    """Pass what libraries warn of on to the user, as notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        reporter.note(f"note: {text}")


def _refuse_other_data(folder: runs.RunStore, split: Split) -> None:
    """Raise a UsageError if the data are not those the run was begun with."""
    known = folder.read_json(runs.CONFIG).get("resolved", {}).get("data", {}).get("fingerprint")
    if known != fingerprint(split):
        raise UsageError(f"the data are not those '{folder.path}' was begun with; train anew with --overwrite")


def fingerprint(split: Split) -> str:
    """Return a hash of the scaled rows and of which are for training."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(split.train).data)
    for part in (split.x.data, split.x.indices) if sparse.issparse(split.x) else (split.x,):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def count_parameters(model: torch.nn.Module) -> int:
    """Return how many numbers are learned (supplement's Table 2)."""
    return sum(parameter.numel() for parameter in model.parameters())


def _measure(
    split: Split,
    clusters: Mapping[str, Mapping[str, Array]],
    inferences: Mapping[str, Inference],
    n_components: int,
    seed: int,
) -> dict[str, Any]:
    """Return {'heads': {head: {side: metrics}}}."""
    heads: dict[str, Any] = {}
    for name, sides in clusters.items():
        heads[name] = {}
        for side, found in sides.items():
            labels, scored = None, split.scored(getattr(split, side))
            if split.labels is not None and scored.any():
                labels = split.labels[getattr(split, side)]
            measured = metrics.measure(inferences[side].latent_NM, found, labels, n_components, seed, scored)
            heads[name][side] = measured
    return {"heads": heads}


def _neighbour_errors(split: Split, inferences: Mapping[str, Inference]) -> dict[str, float]:
    """Return the error of kNN from the training latents to the test ones, by k; none without labels on both."""
    assert split.labels is not None
    train, test = split.scored(split.train), split.scored(split.test)
    if not (train.any() and test.any()):
        return {}
    return metrics.neighbour_errors(
        inferences["train"].latent_NM[train],
        split.labels[split.train][train],
        inferences["test"].latent_NM[test],
        split.labels[split.test][test],
    )


def _baseline(split: Split, initial: Array) -> dict[str, Any]:
    """Return how good the initial clustering is by itself, and carried to the test rows by neighbours."""
    if split.labels is None:
        return {"sizes": np.bincount(initial).tolist()}
    neighbours = KNeighborsClassifier(min(BASELINE_NEIGHBOURS, len(initial))).fit(split.x[split.train], initial)
    carried = neighbours.predict(split.x[split.test])
    return {
        "train": metrics.against_labels(split.labels[split.train], initial),
        "test": metrics.against_labels(split.labels[split.test], carried),
    }


def _write_assignments(
    folder: runs.RunStore,
    split: Split,
    clusters: Mapping[str, Mapping[str, Array]],
    inferences: Mapping[str, Inference],
) -> None:
    """Write each row's cluster by every head, its probability under the model and its label, in the data's order."""
    order = np.argsort(np.concatenate([split.train, split.test]))
    sides = np.repeat(["train", "test"], [len(split.train), len(split.test)])[order]
    probability = np.exp(np.concatenate([inferences[side].log_q_NK.max(axis=1) for side in ("train", "test")]))[order]
    columns = [np.concatenate([found["train"], found["test"]])[order] for found in clusters.values()]
    header = ["row", "split", *clusters, "probability"]
    columns += [np.round(probability, 6)]
    if split.labels is not None:
        header.append("label")
        columns.append(split.labels)
    numbers = range(1, len(sides) + 1)
    folder.write_table(runs.ASSIGNMENTS, header, zip(numbers, sides, *columns, strict=True))


def resolved_options(experiment: Experiment, model: Model) -> dict[str, Any]:
    """Return every option in force, and what the data decided."""
    parts, split = experiment.parts, experiment.split
    resolved: dict[str, Any] = {part: dataclasses.asdict(options) for part, options in parts.options.items()}
    resolved["size"] |= {"components": experiment.n_components, "latent_dim": latent_dim(parts, split.x.shape[1])}
    training: TrainingOptions = parts.options["training"]
    resolved["training"]["epochs"] = planned_epochs(model, training, "train", len(split.train))
    resolved["training"]["pretrain_epochs"] = planned_epochs(model, training, "pretrain", len(split.train))
    if "likelihood" in resolved["model"]:
        resolved["model"]["likelihood"] = model_likelihood(parts, split)
    resolved["data"] |= {
        "rows": {"train": len(split.train), "test": len(split.test)},
        "columns": int(split.x.shape[1]),
        "image_shape": None if split.image_shape is None else list(split.image_shape),
        "preprocessing": split.preprocessing,
        "labels": split.labels is not None,
        "fingerprint": fingerprint(split),
    }
    resolved["parts"] = {part: f"{loaded.__module__}:{loaded.__qualname__}" for part, loaded in parts.classes.items()}
    resolved["n_parameters"] = count_parameters(model)
    return resolved


def describe(experiment: Experiment, model: Model) -> dict[str, Any]:
    """Return what config.json holds: the configuration, every option resolved, and where it ran."""
    resolved = resolved_options(experiment, model)
    environment = {
        "deepmix": metadata.version("deepmix"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": metadata.version("scikit-learn"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(experiment.device),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
    }
    return {**dataclasses.asdict(experiment.config), "resolved": resolved, "environment": environment}


def _git_commit() -> str | None:
    """Return the commit of the folder this runs in, where it is a git checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def summarize(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return summary.json of several seeds: mean, std, best and values of each metric of each head, test rows.

    Args:
        results: metrics.json's contents by seed.

    """
    seeds = sorted(results)
    first = results[seeds[0]]
    heads: dict[str, Any] = {}
    for head, sides in first["heads"].items():
        names = [name for name, value in sides["test"].items() if name != "sizes" and value is not None]
        heads[head] = {name: spread([results[seed]["heads"][head]["test"][name] for seed in seeds]) for name in names}
    summary: dict[str, Any] = {"seeds": seeds, "split": "test", "heads": heads}
    summary["elbo"] = spread([results[seed]["elbo"]["test"] for seed in seeds])
    summary["seconds"] = spread([results[seed]["seconds"] for seed in seeds], best=min)
    if "test" in first.get("initial_labels", {}):
        summary["initial_labels"] = {"acc": spread([results[seed]["initial_labels"]["test"]["acc"] for seed in seeds])}
    return summary


def spread(values: list[Any], best: Any = max) -> dict[str, Any]:
    """Return mean, standard deviation (of the sample; None of fewer than two), best and the values themselves."""
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "std": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "best": best(known) if known else None,
        "values": values,
    }
