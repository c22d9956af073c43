"""The one way from options to a finished run; the command line and the estimator both call it."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier

from deepmix import metrics, plugins, runs
from deepmix.data import SUFFIXES, Rows, SplitOptions, load_file, load_prepared
from deepmix.errors import UsageError, unknown_choice
from deepmix.interfaces import ClusteringHead, Initializer, Model
from deepmix.likelihoods import Likelihood
from deepmix.mixture_vae import MixtureVAE, Recipe
from deepmix.objective import ObjectiveOptions
from deepmix.options import build_options
from deepmix.training import Reporter, Trainer, TrainingOptions, diagnose, evaluate
from deepmix.types import Array, Dims, Inference, Split

BASELINE_NEIGHBOURS = 5
"""Neighbours that vote when the initial labels are carried to the test rows, the baseline of every run."""


@dataclass(frozen=True)
class SizeOptions:
    """Sizes of the model."""

    components: int | None = field(
        default=None, metadata={"help": "K, the number of clusters; auto: the number of classes where labels exist"}
    )
    latent_dim: int = field(default=10, metadata={"help": "M, the number of latent dimensions"})

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 2:
            raise UsageError(f"components must be at least 2, got {self.components}: one cluster would hold every row")
        if self.latent_dim < 1:
            raise UsageError(f"latent_dim must be at least 1, got {self.latent_dim}")


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a run. `None` takes the model's own part."""

    model: str = "mvae-emv2"
    prior: str | None = None
    posterior: str | None = None
    encoder: str | None = None
    decoder: str | None = None
    init: str = "graph"
    heads: tuple[str, ...] = ("posterior",)
    dataset: str = "digits"
    """A data set's name, or a file."""
    label_column: str | None = None
    data_dir: str | None = None
    seed: int = 0
    device: str = "auto"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Options of the parts by `key` or `part.key`; what `--set` gives."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed must be at least 0, got {self.seed}")
        if not self.heads:
            raise UsageError("at least one head is needed; give one with --head")


CONFIG_KEYS = tuple(f.name for f in dataclasses.fields(ExperimentConfig))


def config_from_mapping(values: Mapping[str, Any], source: str) -> ExperimentConfig:
    """Read a configuration, such as a run's config.json; the keys a run adds to it are passed over.

    Raises:
        UsageError: a key is unknown or a value is of the wrong type.

    """
    unknown = set(values) - set(CONFIG_KEYS) - {"resolved", "environment"}
    if unknown:
        raise unknown_choice(f"key in {source}", sorted(unknown)[0], CONFIG_KEYS)
    known = {key: values[key] for key in CONFIG_KEYS if key in values}
    for key, value in known.items():
        expected: Any = {"heads": (list, tuple), "settings": dict, "seed": int}.get(key, (str, type(None)))
        if not isinstance(value, expected):
            raise UsageError(f"{source}: '{key}' has a value of the wrong kind: {value!r}")
    if "heads" in known:
        known["heads"] = tuple(map(str, known["heads"]))
    if "settings" in known:
        known["settings"] = {str(key): str(value) for key, value in known["settings"].items()}
    return ExperimentConfig(**known)


@dataclass(frozen=True)
class Parts:
    """The plugins a configuration names, loaded, and every option resolved."""

    model: Any
    """A Recipe, or a Model class."""
    classes: Mapping[str, Any]
    """Classes of encoder, decoder, prior, posterior, initializer, data and each head (head.NAME), by part name."""
    options: Mapping[str, Any]
    """An options instance by part name; also size, model, objective and training."""


def resolve(config: ExperimentConfig) -> Parts:
    """Load the plugins a configuration names and check every setting; nothing is read or written.

    Raises:
        UsageError: a name or a setting is unknown or does not fit.
        DeepmixError: a plugin can't be loaded.

    """
    model = plugins.load("models", config.model)
    classes: dict[str, Any] = {}
    if isinstance(model, Recipe):
        for part, kind in (
            ("encoder", "encoders"),
            ("decoder", "decoders"),
            ("prior", "priors"),
            ("posterior", "posteriors"),
        ):
            classes[part] = plugins.load(kind, getattr(config, part) or getattr(model, part))
    else:
        for part in ("encoder", "decoder", "prior", "posterior"):
            if getattr(config, part) is not None:
                raise UsageError(f"model '{config.model}' has its own {part}; leave out --{part}")
    classes["initializer"] = plugins.load("initializers", config.init)
    classes["data"] = _dataset_class(config)
    for head in config.heads:
        classes[f"head.{head}"] = plugins.load("heads", head)

    defaults: dict[str, Any] = {"size": SizeOptions(), "training": TrainingOptions()}
    defaults["objective"] = model.objective if isinstance(model, Recipe) else ObjectiveOptions()
    defaults["model"] = model.options if isinstance(model, Recipe) else model.Options()
    defaults |= {part: _options_class(loaded)() for part, loaded in classes.items()}
    return Parts(model, classes, build_options(defaults, config.settings))


def _options_class(loaded: Any) -> type:
    """Return a plugin's options; a scikit-learn clusterer has none of ours."""
    return getattr(loaded, "Options", _NoOptions)


@dataclass(frozen=True)
class _NoOptions:
    pass


def _dataset_class(config: ExperimentConfig) -> Any:
    """Return the data set's plugin class, or SplitOptions' holder where it is a file or a prepared archive."""
    if config.dataset.rpartition(":")[2] in plugins.names("datasets"):
        return plugins.load("datasets", config.dataset)
    return _FromFile


class _FromFile:
    """Stands for a data set that is no plugin."""

    Options = SplitOptions


def load_data(config: ExperimentConfig, parts: Parts) -> Split:
    """Read the data set: a plugin's, a file, or NAME.npz in the data folder.

    Raises:
        UsageError: it is not there or can't be used.
        DeepmixError: it is damaged.

    """
    data_dir = Path(config.data_dir) if config.data_dir else None
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"the data folder '{data_dir}' does not exist; choose another with --data-dir")
    if parts.classes["data"] is not _FromFile:
        if config.label_column is not None:
            raise UsageError(f"--label-column is for files; data set '{config.dataset}' brings its own labels")
        split: Split = parts.classes["data"](parts.options["data"]).load(data_dir)
        return split
    path = Path(config.dataset)
    if path.name.lower().endswith(SUFFIXES) or path.exists() or len(path.parts) > 1:
        return load_file(path, config.label_column, parts.options["data"])
    if data_dir is not None and (data_dir / (config.dataset.replace("-", "_") + ".npz")).is_file():
        return load_prepared(config.dataset, data_dir, parts.options["data"])
    raise unknown_choice(
        "data set or file", config.dataset, [*plugins.names("datasets"), f"a file ({' '.join(SUFFIXES)})"]
    )


def n_clusters(parts: Parts, split: Split) -> int:
    """Return K: what was asked for, else the number of classes.

    Raises:
        UsageError: neither is known, or there are fewer training rows than clusters.

    """
    asked: int | None = parts.options["size"].components
    if asked is None and split.labels is None:
        raise UsageError("how many clusters? there are no labels to count classes of; give --components K")
    number = asked if asked is not None else len(np.unique(np.asarray(split.labels)))
    if number < 2:
        raise UsageError("the labels have one class only; give the number of clusters with --components K")
    if number > len(split.train):
        raise UsageError(
            f"{number} clusters can't be made of {len(split.train)} training rows; give a smaller --components"
        )
    return number


def build_model(parts: Parts, split: Split, n_components: int, seed: int) -> Model:
    """Assemble the model; its initial weights depend on the seed alone."""
    options = parts.options["model"]
    name = getattr(options, "likelihood", "auto")
    n_features = int(split.x.shape[1])
    likelihood = Likelihood(split.likelihood if name == "auto" else name, n_features)
    n_components = 1 if _single(parts) else n_components
    one_head = isinstance(parts.model, Recipe) and parts.model.heads == "one"
    dims = Dims(
        n_features,
        likelihood.n_outputs,
        n_components,
        1 if one_head else n_components,
        parts.options["size"].latent_dim,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not isinstance(parts.model, Recipe):
            built: Model = parts.model(dims, likelihood, options)
            return built
        made = {
            part: parts.classes[part](dims, parts.options[part])
            for part in ("encoder", "decoder", "prior", "posterior")
        }
        return MixtureVAE(dims, **made, likelihood=likelihood, options=options)


def choose_device(name: str) -> torch.device:
    """Return the device to run on; 'auto' is the GPU where there is one.

    Raises:
        UsageError: there is no such device here.

    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device '{name}' can't be used here; try --device cpu") from error
    return device


@dataclass(frozen=True)
class Experiment:
    """A configuration that was found good: its plugins loaded, its data read, K known."""

    config: ExperimentConfig
    parts: Parts
    split: Split
    n_components: int
    device: torch.device


def prepare(config: ExperimentConfig) -> Experiment:
    """Check everything that can be checked before a run folder is made; nothing is written.

    Raises:
        UsageError: the configuration or the data can't be used.
        DeepmixError: a plugin or a file is damaged.

    """
    parts = resolve(config)
    device = choose_device(config.device)
    if _single(parts):
        for head in config.heads:
            if getattr(parts.classes[f"head.{head}"], "needs_mixture", False):
                raise UsageError(
                    f"head '{head}' reads the clusters off a mixture and model '{config.model}' has one component; "
                    "use --head gmm or --head kmeans with it"
                )
    split = load_data(config, parts)
    return Experiment(config, parts, split, n_clusters(parts, split), device)


def _single(parts: Parts) -> bool:
    """Whether the model has one component whatever the number of clusters."""
    return isinstance(parts.model, Recipe) and parts.model.single_component


def run(experiment: Experiment, folder: runs.RunFolder, reporter: Reporter, *, resume: bool = False) -> dict[str, Any]:
    """Do a run from beginning, or checkpoint, to end and fill its folder.

    Args:
        experiment: what to do.
        folder: where; new and empty, or with `resume` one that was begun with this configuration.
        reporter: told how it goes.
        resume: take up the folder's checkpoint.

    Returns:
        What metrics.json holds.

    Raises:
        DeepmixError: something can't be done; what was finished stays in the folder.

    """
    started = time.perf_counter()
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
    trainer = Trainer(model, rows["train"], training, parts.options["objective"], config.seed, folder, reporter)
    if resume:
        trainer.restore()
    initializer: Initializer = parts.classes["initializer"](parts.options["initializer"])
    n_model = model.n_components

    def initial_labels(code_NM: Array) -> Array:
        if n_model == 1:
            return np.zeros(len(code_NM), dtype=np.int64)
        with noted(reporter):
            return initializer.initial_labels(split.x[split.train], code_NM, n_model, config.seed)

    trainer.run(initial_labels)
    assert trainer.labels_N is not None
    folder.write_tensors(runs.MODEL, model.state_dict(), {"model": config.model, "n_components": n_components})

    reporter.start("heads", 0)
    inferences, elbo = {}, {}
    for side, side_rows in rows.items():
        inferences[side], elbo[side] = evaluate(model, side_rows, training.precision, config.seed)
    with noted(reporter):
        clusters = {name: _head_clusters(name, parts, inferences, n_components, config.seed) for name in config.heads}
    results = _measure(split, clusters, inferences, n_components, config.seed)
    results["elbo"] = {side: values["elbo"] for side, values in elbo.items()}
    results["elbo_parts"] = elbo
    if n_model > 1:
        results["initial_labels"] = _baseline(split, trainer.labels_N.cpu().numpy())
    results["warnings"] = [*split.warnings, *diagnose(inferences["train"])]
    results["n_parameters"] = count_parameters(model)
    results["seconds"] = time.perf_counter() - started
    _write_assignments(folder, split, clusters, inferences)
    folder.write_json(runs.METRICS, results)
    return results


@contextmanager
def noted(reporter: Reporter) -> Iterator[None]:
    """Pass what libraries warn of on to the user, as notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        reporter.note(f"note: {text}")


def count_parameters(model: torch.nn.Module) -> int:
    """Return how many numbers are learned (supplement's Table 2)."""
    return sum(parameter.numel() for parameter in model.parameters())


def model_likelihood(parts: Parts, split: Split) -> str:
    """Return the name of the observation model in use."""
    asked = str(getattr(parts.options["model"], "likelihood", "auto"))
    return split.likelihood if asked == "auto" else asked


def _head_clusters(
    name: str, parts: Parts, inferences: Mapping[str, Inference], n_components: int, seed: int
) -> dict[str, Array]:
    """Fit one head on the training rows and return its clusters of each side."""
    head = parts.classes[f"head.{name}"]
    if isinstance(head, type) and issubclass(head, ClusteringHead):
        make: Any = head
        fitted: ClusteringHead = make(parts.options[f"head.{name}"])
        fitted.fit(inferences["train"], n_components, seed)
        return {side: fitted.predict(inference) for side, inference in inferences.items()}
    estimator = head()
    known = estimator.get_params()
    wanted = {"n_clusters": n_components, "n_components": n_components, "random_state": seed}
    estimator.set_params(**{key: value for key, value in wanted.items() if key in known})
    estimator.fit(inferences["train"].latent_NM)
    return {side: np.asarray(estimator.predict(inference.latent_NM)) for side, inference in inferences.items()}


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
            heads[name][side] = metrics.without_labels(inferences[side].latent_NM, found, n_components, seed)
            if split.labels is not None:
                heads[name][side] |= metrics.against_labels(split.labels[getattr(split, side)], found)
    return {"heads": heads}


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
    folder: runs.RunFolder,
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


def describe(experiment: Experiment, model: Model) -> dict[str, Any]:
    """Return what config.json holds: the configuration, every option resolved, and where it ran."""
    parts, split = experiment.parts, experiment.split
    resolved: dict[str, Any] = {part: dataclasses.asdict(options) for part, options in parts.options.items()}
    resolved["size"]["components"] = experiment.n_components
    training: TrainingOptions = parts.options["training"]
    resolved["training"]["epochs"] = training.n_epochs("train", len(split.train))
    resolved["training"]["pretrain_epochs"] = training.n_epochs("pretrain", len(split.train))
    if "likelihood" in resolved["model"]:
        resolved["model"]["likelihood"] = model_likelihood(parts, split)
    resolved["data"] |= {
        "rows": {"train": len(split.train), "test": len(split.test)},
        "columns": int(split.x.shape[1]),
        "preprocessing": split.preprocessing,
        "labels": split.labels is not None,
    }
    resolved["parts"] = {part: f"{loaded.__module__}:{loaded.__qualname__}" for part, loaded in parts.classes.items()}
    resolved["n_parameters"] = count_parameters(model)
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
    """Return mean, standard deviation (of the sample), best and the values themselves."""
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "std": float(np.std(known, ddof=1)) if len(known) > 1 else 0.0,
        "best": best(known) if known else None,
        "values": values,
    }
