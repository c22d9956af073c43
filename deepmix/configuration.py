"""From options to loaded plugins, checked settings, data and an assembled model; nothing is written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepmix import plugins
from deepmix.data import SplitOptions
from deepmix.errors import DeepmixError, UsageError, unknown_choice
from deepmix.files import SUFFIXES, find_prepared, load_file, load_prepared
from deepmix.interfaces import Decoder, Encoder, Initializer, Model, NoOptions, PosteriorEstimator, Prior
from deepmix.likelihoods import Likelihood
from deepmix.mixture_vae import MixtureVAE, Recipe
from deepmix.objective import ObjectiveOptions
from deepmix.options import build_options
from deepmix.training import TrainingOptions
from deepmix.types import Dims, Split

CONTRACTS = {"encoder": Encoder, "decoder": Decoder, "prior": Prior, "posterior": PosteriorEstimator}
PARTS = tuple(CONTRACTS)
"""The four parts of a recipe."""
SHORTHANDS = ("components", "latent_dim", "assignment", "beta", "epochs", "pretrain_epochs", "batch_size", "lr")
"""Options the command line and the estimator take by themselves; the others are settings."""
IN_MEMORY = "rows in memory"
"""What stands for the data set of a run whose rows were never in a file."""
LATENT_DIM = 10
"""M for data of at least as many columns (VaDE, section 4.2)."""
MAX_SEED = 2**32 - 1
"""The largest seed NumPy and scikit-learn take."""


@dataclass(frozen=True)
class SizeOptions:
    """Sizes of the model."""

    components: int | None = field(
        default=None, metadata={"help": "K, the number of clusters; auto: the number of classes where labels exist"}
    )
    latent_dim: int | None = field(
        default=None,
        metadata={"help": "M, the number of latent dimensions; auto: VaDE's 10, or the data's where they have fewer"},
    )

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 1:
            raise UsageError(f"components must be at least 1, got {self.components}")
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UsageError(f"latent_dim must be at least 1, got {self.latent_dim}")


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a run. `None` takes the model's own part."""

    model: str = "mvae-emv2"
    prior: str | None = None
    posterior: str | None = None
    encoder: str | None = None
    decoder: str | None = None
    init: str | None = None
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
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed must be at least 0 and at most {MAX_SEED}, got {self.seed}")
        if not self.heads:
            raise UsageError("at least one head is needed; give one with --head")


CONFIG_KEYS = tuple(f.name for f in dataclasses.fields(ExperimentConfig))


def config_from_mapping(values: Mapping[str, Any], source: str) -> ExperimentConfig:
    """Read a configuration, such as a run's config.json or one written by hand.

    Keys are those of ExperimentConfig; `head` may stand for `heads`, and any other key with a plain value
    is an option, as `--set` takes it. Tables become dotted keys. What a run adds to its config.json is
    passed over.

    Raises:
        UsageError: a value is of the wrong kind.

    """
    known = {key: value for key, value in values.items() if key in CONFIG_KEYS and key != "settings"}
    if "head" in values:
        known["heads"] = values["head"]
    if isinstance(known.get("heads"), str):
        known["heads"] = [known["heads"]]
    optional = {f.name for f in dataclasses.fields(ExperimentConfig) if f.default is None}
    for key, value in known.items():
        expected: Any = {"heads": (list, tuple), "seed": int}.get(key, str)
        if not isinstance(value, expected) and not (value is None and key in optional):
            raise UsageError(f"{source}: '{key}' has a value of the wrong kind: {value!r}")
    if "heads" in known:
        known["heads"] = tuple(map(str, known["heads"]))
    others = {
        key: value for key, value in values.items() if key not in (*CONFIG_KEYS, "head", "resolved", "environment")
    }
    settings = values.get("settings", {})
    if not isinstance(settings, Mapping):
        raise UsageError(f"{source}: 'settings' must be a table of options, got {settings!r}")
    known["settings"] = {**_flatten(others, source), **_flatten(settings, source)}
    return ExperimentConfig(**known)


def _flatten(table: Mapping[str, Any], source: str, prefix: str = "") -> dict[str, str]:
    """Return a table's values as text by dotted key."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, source, f"{prefix}{key}.")
        elif isinstance(value, str | int | float):
            flat[f"{prefix}{key}"] = str(value)
        else:
            raise UsageError(f"{source}: option '{prefix}{key}' has a value of the wrong kind: {value!r}")
    return flat


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
    if not isinstance(model, Recipe):
        _check_contract(model, Model)
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
        for part in PARTS:
            if getattr(config, part) is not None:
                raise UsageError(f"model '{config.model}' has its own {part}; leave out --{part}")
    classes["initializer"] = plugins.load("initializers", config.init or model.init)
    classes["data"] = _dataset_class(config)
    for head in config.heads:
        classes[f"head.{head}"] = plugins.load("heads", head)

    defaults: dict[str, Any] = {"size": SizeOptions(), "training": TrainingOptions()}
    defaults["objective"] = model.objective if isinstance(model, Recipe) else ObjectiveOptions()
    defaults["model"] = model.options if isinstance(model, Recipe) else model.Options()
    for part, contract in (*CONTRACTS.items(), ("initializer", Initializer)):
        if part in classes:
            _check_contract(classes[part], contract)
    defaults |= {part: _options_class(loaded)() for part, loaded in classes.items()}
    return Parts(model, classes, build_options(defaults, config.settings))


def _check_contract(loaded: Any, contract: type) -> None:
    """Raise a DeepmixError unless a plugin is a class of the interface it is registered for."""
    if not (isinstance(loaded, type) and issubclass(loaded, contract)):
        name = getattr(loaded, "__qualname__", repr(loaded))
        raise DeepmixError(f"plugin {name} is no subclass of deepmix.interfaces.{contract.__name__}; mend the plugin")


def _options_class(loaded: Any) -> type:
    """Return a plugin's options; a scikit-learn clusterer has none of ours."""
    options: type = getattr(loaded, "Options", NoOptions)
    if not dataclasses.is_dataclass(options):
        raise DeepmixError(f"the Options of plugin {loaded.__qualname__} are no dataclass; mend the plugin")
    return options


def _dataset_class(config: ExperimentConfig) -> Any:
    """Return the data set's plugin class, or SplitOptions' holder where it is a file or a prepared archive."""
    if _is_registered(config.dataset):
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
    if parts.classes["data"] is not _FromFile:
        if config.label_column is not None:
            raise UsageError(f"--label-column is for files; data set '{config.dataset}' brings its own labels")
        split: Split = parts.classes["data"](parts.options["data"]).load(data_dir)
        return split
    if config.dataset == IN_MEMORY:
        raise UsageError("the run was trained on rows in memory, which are not kept; name the data (--dataset)")
    if _names_a_file(config.dataset):
        return load_file(Path(config.dataset), config.label_column, parts.options["data"])
    check_dataset(config.dataset, data_dir)
    assert data_dir is not None
    return load_prepared(config.dataset, data_dir, parts.options["data"], config.label_column)


def check_dataset(name: str, data_dir: Path | None) -> None:
    """Raise a UsageError unless there is a data set, a file or a prepared archive of that name."""
    if _is_registered(name):
        return
    if _names_a_file(name):
        if not Path(name).exists():
            raise UsageError(f"there is no file '{name}'")
    elif data_dir is None or find_prepared(name, data_dir) is None:
        raise unknown_choice("data set or file", name, [*plugins.names("datasets"), f"a file ({' '.join(SUFFIXES)})"])


def _is_registered(name: str) -> bool:
    return name.rpartition(":")[2] in plugins.names("datasets")


def _names_a_file(name: str) -> bool:
    path = Path(name)
    return path.name.lower().endswith(SUFFIXES) or path.exists() or len(path.parts) > 1


def n_clusters(parts: Parts, split: Split) -> int:
    """Return K: what was asked for, else the number of classes.

    Raises:
        UsageError: neither is known, or there are fewer training rows than clusters.

    """
    asked: int | None = parts.options["size"].components
    if asked is None and split.labels is None:
        raise UsageError("how many clusters? there are no labels to count classes of; give --components K")
    number = asked
    if number is None:
        labels = np.asarray(split.labels)
        number = len(np.unique(labels if split.known is None else labels[split.known]))
    if asked is None and number < 2:
        raise UsageError("the labels have one class only; give the number of clusters with --components K")
    if number > len(split.train):
        if asked is None:
            raise UsageError(
                f"the labels have {number} classes for {len(split.train)} training rows; give --components K"
            )
        raise UsageError(
            f"{number} clusters can't be made of {len(split.train)} training rows; give a smaller --components"
        )
    return number


def latent_dim(parts: Parts, n_features: int) -> int:
    """Return M: what was asked for, else the default, which spreads no row over more dimensions than it has."""
    asked: int | None = parts.options["size"].latent_dim
    return min(LATENT_DIM, n_features) if asked is None else asked


def model_likelihood(parts: Parts, split: Split) -> str:
    """Return the name of the observation model in use."""
    asked = str(getattr(parts.options["model"], "likelihood", "auto"))
    if asked == "bernoulli" and split.likelihood != "bernoulli" and not (split.x.min() >= 0 and split.x.max() <= 1):
        raise UsageError(
            f"a Bernoulli likelihood needs data in 0..1 and these reach from {split.x.min():g} to {split.x.max():g}; "
            "leave likelihood at auto, or scale the data"
        )
    return split.likelihood if asked == "auto" else asked


def check_images(parts: Parts, split: Split) -> None:
    """Raise a UsageError if a part needs images and the rows are none."""
    for part in PARTS:
        if getattr(parts.classes.get(part), "needs_images", False) and split.image_shape is None:
            raise UsageError(
                f"this {part} is for images and the rows are not known to be any; "
                "say how high and wide they are with --set image_shape=28x28"
            )


def has_one_component(parts: Parts) -> bool:
    """Whether the model has one component whatever the number of clusters."""
    return isinstance(parts.model, Recipe) and parts.model.single_component


def check_heads(config: ExperimentConfig, parts: Parts) -> None:
    """Raise a UsageError if a head needs a mixture and the model is none."""
    if has_one_component(parts):
        for head in config.heads:
            if getattr(parts.classes[f"head.{head}"], "needs_mixture", False):
                raise UsageError(
                    f"head '{head}' reads the clusters off a mixture and model '{config.model}' has one component; "
                    "use --head gmm or --head kmeans with it"
                )


def build_model(parts: Parts, split: Split, n_components: int, seed: int) -> Model:
    """Assemble the model for a data set; its initial weights depend on the seed alone."""
    n_features, likelihood = int(split.x.shape[1]), model_likelihood(parts, split)
    return assemble(parts, n_features, split.image_shape, likelihood, n_components, seed)


def assemble(
    parts: Parts,
    n_features: int,
    image_shape: tuple[int, int, int] | None,
    likelihood_name: str,
    n_components: int,
    seed: int,
) -> Model:
    """Assemble the model for rows of `n_features` columns; its initial weights depend on the seed alone."""
    options = parts.options["model"]
    likelihood = Likelihood(likelihood_name, n_features)
    n_components = 1 if has_one_component(parts) else n_components
    one_head = isinstance(parts.model, Recipe) and parts.model.heads == "one"
    dims = Dims(
        n_features,
        likelihood.n_outputs,
        n_components,
        1 if one_head else n_components,
        latent_dim(parts, n_features),
        image_shape,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not isinstance(parts.model, Recipe):
            built: Model = _construct(parts.model, dims, likelihood, options)
            return built
        made = {part: _construct(parts.classes[part], dims, parts.options[part]) for part in PARTS}
        return MixtureVAE(dims, **made, likelihood=likelihood, options=options)


def _construct(plugin: Any, *arguments: Any) -> Any:
    """Build a plugin; one that does not keep its contract is an error naming it."""
    try:
        return plugin(*arguments)
    except DeepmixError:
        raise
    except Exception as error:  # whatever is wrong in code that is not ours
        raise DeepmixError(
            f"{plugin.__module__}:{plugin.__qualname__} can't be built ({type(error).__name__}: {error}); "
            "mend the plugin"
        ) from error


def choose_device(name: str) -> torch.device:
    """Return the device to run on; 'auto' is the GPU where there is one.

    Raises:
        UsageError: there is no such device here.

    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.Generator(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{name}' can't be used here; try --device cpu") from error
    return device
