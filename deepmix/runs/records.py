"""What a run writes and reads, as dataclasses, which alone name the keys of its files.

Each record is one JSON object with the number of its format: a file of its own (config.json, metrics.json, and
summary.json in `seed_summary`), a line (metrics.jsonl) or the header of a safetensors file (in `headers`). Reading
checks it, and upgrades what an earlier version wrote (`deepmix.runs.upgrade`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from deepmix.data import Split, TableOptions, TableSchema, fingerprint, labels_fingerprint
from deepmix.errors import DeepmixError, option
from deepmix.metrics import METRICS as DECLARED
from deepmix.runs import names, upgrade
from deepmix.runs.checksums import CHECKSUM, TableChecksum
from deepmix.runs.comparisons import Baselines, InitialChoice, Scores, Stability
from deepmix.runs.component_choice import ComponentChoice
from deepmix.runs.conversion import KEY, MisfitError, from_plain, to_plain, value_from_plain

FORMAT = 2
"""The format of the files that this version writes; it reads every one up to it."""


def check_format(values: Mapping[str, Any], where: str) -> int:
    """Return the number of the format that a JSON object was written in; 1 where it has none.

    Raises:
        DeepmixError: it is newer than this version of deepmix.

    """
    number = values.get("format", 1)
    if not isinstance(number, int) or number < 1:
        raise damaged(where, f"'format' must be a whole number from 1, got {number!r:.60}")
    if number > FORMAT:
        raise DeepmixError(
            f"'{where}' was written by a newer deepmix (format {number}; this one reads up to {FORMAT}); update deepmix"
        )
    return number


def damaged(where: str, reason: object) -> DeepmixError:
    """Return the error for a file that does not hold what a run writes."""
    return DeepmixError(f"'{where}' is damaged ({reason}); train again with {option('overwrite')}")


@dataclass(frozen=True)
class Record:
    """What all records share: to JSON and back."""

    FILE: ClassVar[str | Path]
    """The file of a run folder that holds it."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {"format": FORMAT, **to_plain(self)}

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """Return the record that a JSON object holds.

        Args:
            values: the object, of this format or an earlier one.
            where: the file, for messages.

        Raises:
            DeepmixError: it was written by a newer deepmix, or is damaged; the message names the file and the key.

        """
        if not isinstance(values, Mapping):
            raise damaged(where, f"it must be a table, got {values!r:.60}")
        number = check_format(values, where)
        try:
            if number < FORMAT:
                values = upgrade.FROM_1[cls.FILE](dict(values)) if cls.FILE in upgrade.FROM_1 else values
            return cls._read(values)
        except (MisfitError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else error
            raise damaged(where, reason) from error

    @classmethod
    def _read(cls, values: Mapping[str, Any]) -> Self:
        return from_plain(cls, values)


@dataclass(frozen=True)
class PartRecord:
    """Which plugin was a part of the run; never where its code lay."""

    kind: str
    """'encoders', 'heads', ...: the group of its entry point."""
    name: str
    distribution: str
    """'' in format 1, which did not record whose an entry point was unless it was deepmix's."""
    version: str

    @property
    def identity(self) -> str:
        """The name that means this plugin and no other: `distribution:name`."""
        return f"{self.distribution}:{self.name}" if self.distribution else self.name


@dataclass(frozen=True)
class Requested:
    """The configuration that was asked for; see `deepmix.experiment.ExperimentConfig`."""

    model: str
    prior: str | None
    posterior: str | None
    encoder: str | None
    decoder: str | None
    init: str | None
    heads: tuple[str, ...]
    dataset: str
    label_column: str | None
    data_dir: str | None
    seed: int
    device: str
    settings: Mapping[str, str]
    table: TableOptions | None = None
    proba: bool | None = None
    baselines: bool | None = None
    trackers: tuple[str, ...] = ()


REQUESTED_KEYS = tuple(f.name for f in dataclasses.fields(Requested))


@dataclass(frozen=True)
class RowCounts:
    """Rows of each side."""

    train: int
    test: int

    @property
    def total(self) -> int:
        """All rows."""
        return self.train + self.test


@dataclass(frozen=True)
class DataRecord:
    """What is known of the data that a run was trained on."""

    rows: RowCounts
    columns: int
    image_shape: tuple[int, int, int] | None
    preprocessing: str
    labels: bool
    """Whether there are labels."""
    fingerprint: str
    schema: TableSchema | None = None
    """What each column of a table is; None where the data were an array."""
    labels_fingerprint: str | None = None
    """A hash of the labels and of where sparse rows begin; None in runs of versions that did not record it."""

    def is_of(self, split: Split) -> bool:
        """Whether a data set is the recorded one: the same rows, the same of them for training, the same labels."""
        labels = self.labels_fingerprint
        return fingerprint(split) == self.fingerprint and labels in (None, labels_fingerprint(split))


@dataclass(frozen=True)
class Environment:
    """Where a run took place."""

    deepmix: str
    torch: str
    numpy: str
    scikit_learn: str = field(metadata={KEY: "scikit-learn"})
    python: str
    platform: str
    device: str
    threads: int
    git_commit: str | None
    ranks: int = 1
    """How many processes trained together."""
    update_precision: str = "fp32"
    """Precision of the networks in training's updates, which may depend on the processor."""
    job: str | None = None
    """The torchrun job that began the run, which goes on with it after a restart; None: torchrun did not start it."""

    @property
    def versions(self) -> dict[str, str]:
        """Versions of what ran, by name."""
        return {
            "deepmix": self.deepmix,
            "torch": self.torch,
            "numpy": self.numpy,
            "scikit-learn": self.scikit_learn,
            "python": self.python,
        }


@dataclass(frozen=True)
class RunConfig(Record):
    """config.json: what was asked for, and everything that decides the run as it was resolved."""

    FILE = names.CONFIG

    requested: Requested
    """Its fields stand at the top of the file, so that `--config` takes the file back."""
    report: bool
    """Whether the run ends with a report."""
    resolved: Mapping[str, Mapping[str, Any]]
    """Every option in force, by part and name."""
    parts: Mapping[str, PartRecord]
    """The plugins by role; `data` is missing where the rows came from a file or from memory."""
    structure: Mapping[str, bool] | None
    """What the model's plan decides of its structure beside its parts; None where format 1 did not record it."""
    data: DataRecord
    n_parameters: int
    environment: Environment
    component_choice: ComponentChoice | None = None
    """How K was chosen from the rows; None where it was requested, or the number of classes."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object, the requested configuration first."""
        values = to_plain(self)
        values.pop("requested")
        requested = {name: to_plain(getattr(self.requested, name)) for name in REQUESTED_KEYS}
        return {"format": FORMAT, **requested, **values}

    @classmethod
    def _read(cls, values: Mapping[str, Any]) -> Self:
        return from_plain(cls, {"structure": None, **values, "requested": from_plain(Requested, values)})

    @property
    def n_clusters(self) -> int:
        """K, the number of clusters that was asked for or that the labels gave."""
        return int(self.resolved["size"]["components"])

    @property
    def likelihood(self) -> str | None:
        """The observation model in use; None where the model has no such option, or columns have their own."""
        if self.data.schema is not None:
            return None
        return self.resolved["model"].get("likelihood")

    @property
    def initializer(self) -> str:
        """Name of the initial clustering in use."""
        return self.requested.init or self.parts["initializer"].name


ADDED_KEYS = ("format", CHECKSUM, *(f.name for f in dataclasses.fields(RunConfig) if f.name != "requested"))
"""Keys that a run adds in its config.json to the configuration that was asked for."""


def is_config(values: Mapping[str, Any]) -> bool:
    """Whether a table is the config.json of a run, of any format, and not a configuration written by hand."""
    return "resolved" in values and "environment" in values


@dataclass(frozen=True)
class HeadFigures:
    """What a head's clusters of one side are measured by."""

    scores: Scores
    sizes: Sequence[int]
    """Rows of each cluster."""


Heads = Mapping[str, Mapping[str, HeadFigures]]
"""By head and side."""


def _heads_to_json(heads: Heads) -> dict[str, Any]:
    return {
        name: {side: {**figures.scores, "sizes": list(figures.sizes)} for side, figures in sides.items()}
        for name, sides in heads.items()
    }


def _heads_from_json(values: Any) -> Heads:
    """Return each head's figures; in the file the scores stand beside the sizes."""
    heads = value_from_plain(Mapping[str, Mapping[str, Mapping[str, Any]]], values, "heads")
    if not heads:
        raise MisfitError("'heads' is empty")
    by_head: dict[str, dict[str, HeadFigures]] = {}
    for name, sides in heads.items():
        by_head[name] = {}
        for side, figures in sides.items():
            place = f"heads.{name}.{side}"
            scores = {key: value for key, value in figures.items() if key != "sizes"}
            by_head[name][side] = HeadFigures(
                value_from_plain(Mapping[str, float | None], scores, place),
                value_from_plain(Sequence[int], figures["sizes"], f"{place}.sizes"),
            )
    return by_head


@dataclass(frozen=True)
class InitialLabels:
    """What the initial clustering is measured by, alone."""

    train: Scores | None = None
    """Of the training rows; None where there are no labels."""
    test: Scores | None = None
    """Of the held-out rows, to which their nearest training rows carry it."""
    sizes: Sequence[int] | None = None
    """Training rows of each initial cluster, where there are no labels."""

    def side(self, name: str) -> Scores:
        """Return the metrics of one side, 'train' or 'test'; none where there are no labels."""
        return {"train": self.train, "test": self.test}.get(name) or {}


@dataclass(frozen=True)
class Metrics(Record):
    """metrics.json: what a finished run is measured by."""

    FILE = names.METRICS

    heads: Heads
    elbo: Mapping[str, float]
    """Mean evidence lower bound by side, nats per row."""
    elbo_parts: Mapping[str, Mapping[str, float]]
    """The bound and every term it is made of by side, nats per row."""
    warnings: Sequence[str]
    n_parameters: int
    seconds: float
    initial_labels: InitialLabels | None = None
    """None where the model has one component, or learned from labels."""
    knn_error: Mapping[str, float] | None = None
    """Error of k nearest training latents on the held-out rows, by k; None without labels."""
    labelled_rows: int | None = None
    """Training rows whose labels the model learned from, where it did."""
    initial_choice: InitialChoice | None = None
    """What the initial clustering compared; None where it compares nothing."""
    baselines: Baselines | None = None
    """Plain methods beside the run; None where they were left out."""
    stability: Stability | None = None
    """How stable the first head's clusters are; None where there was nothing to refit."""
    sample: RowCounts | None = None
    """Rows that the figures are of, but for the sizes of clusters, where the rows stayed on disk; None: all rows."""
    assignments: TableChecksum | None = None
    """The checksum of assignments.csv; None in runs of earlier versions."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {**super().to_json(), "heads": _heads_to_json(self.heads)}

    @classmethod
    def _read(cls, values: Mapping[str, Any]) -> Self:
        heads = _heads_from_json(values["heads"])
        return dataclasses.replace(from_plain(cls, {**values, "heads": {}}), heads=heads)

    @property
    def baseline(self) -> Scores | None:
        """Metrics of the initial clustering on the held-out rows, where there are any."""
        return None if self.initial_labels is None else self.initial_labels.test

    def score(self, head: str, name: str, side: str = "test") -> float | None:
        """Return one metric of a head; None where it has none."""
        return self.heads[head][side].scores.get(name)

    def score_names(self) -> list[str]:
        """Return the names of the metrics that the run has, in the order of their declaration."""
        scores = next(iter(self.heads.values()))["test"].scores
        return [name for name in DECLARED if name in scores]


@dataclass(frozen=True)
class Evaluation:
    """What `deepmix evaluate` measured."""

    heads: Heads
    elbo: Mapping[str, float]
    """Nats per row, by side."""
    notes: tuple[str, ...] = ()
    """What the user should know of the rows, in words; not part of the JSON object."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, laid out as metrics.json."""
        return {"heads": _heads_to_json(self.heads), "elbo": dict(self.elbo)}


@dataclass(frozen=True)
class EpochRecord(Record):
    """One line of metrics.jsonl: an epoch's figures, means over the training rows."""

    FILE = names.EPOCHS

    stage: Literal["pretrain", "train"]
    epoch: int
    """From 1 in each stage."""
    elbo: float
    """Evidence lower bound in nats per row; in pretraining the plain autoencoder's log-likelihood."""
    lr: float
    seconds: float
    objective: float | None = None
    """What was maximised, nats per row."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """Every named term of the loss, nats per row."""
    dropped_mass: float | None = None
    """Mean of the q(y|x) of the components that were not decoded."""
    confidence: float | None = None
    """Mean of the largest q(y|x)."""
    clusters_in_use: int | None = None
    beta: float | None = None
    anchor: float | None = None
    """Weight of the cross-entropy from the initial labels; None where the objective does not have it."""
    fraction_left: float | None = None
    """Fraction of the rows, of which no value was hidden, whose most probable component was not their initial one."""
    dropped_steps: int | None = None
    """Updates that were left out because their loss or gradient was not finite; None where there were none."""
    lr_halvings: int | None = None
    """How often the epoch was done again with half the learning rate; None where it was not."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object, without the format, which config.json has."""
        values = to_plain(self)
        first = {key: values.pop(key) for key in ("stage", "epoch")}
        last = {key: values.pop(key) for key in ("lr", "seconds")}
        return {**first, **values, **last}

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """Return the record that a line holds, whether of this format or of format 1, which had no `terms`."""
        is_line = isinstance(values, Mapping) and "terms" in values
        return super().from_json({"format": FORMAT, **values} if is_line else values, where)
