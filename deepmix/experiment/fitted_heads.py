"""The heads of a run: fitted to the training rows, and left out where they fail, so that the run is not lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepmix.contracts import ClusteringHead
from deepmix.experiment.assembly import make_head
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.guards import checked_clusters
from deepmix.experiment.parts import Parts
from deepmix.experiment.prepare import Experiment
from deepmix.experiment.recorded import requested_of, with_heads
from deepmix.maths import Array, Inference
from deepmix.runs import PartRecord, RunConfig, RunStore, to_plain


@dataclass(frozen=True)
class FittedHeads:
    """The heads of a run that work."""

    heads: Mapping[str, ClusteringHead]
    clusters: Mapping[str, Mapping[str, Array]]
    """The clusters from each head, by side, (N,) int64."""
    experiment: Experiment
    """The experiment with these heads."""
    warnings: tuple[str, ...] = ()
    """A sentence about each head that failed."""


def fit_heads(experiment: Experiment, inferences: Mapping[str, Inference]) -> FittedHeads:
    """Fit the heads of an experiment and cluster all rows; a head that fails is left out.

    Where none works, a built-in head takes their place: `posterior`, or `kmeans` for a model of one component.

    Args:
        experiment: the experiment.
        inferences: the model's inference on the training and the test rows, by side.

    """
    names, failures = list(experiment.config.heads), []
    fallback = "kmeans" if experiment.parts.plan.single_component else "posterior"
    heads, clusters = {}, {}
    for name in names:
        try:
            heads[name], clusters[name] = _fitted(name, experiment, inferences)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # code that is not ours may fail in any way
            reason = str(error) if str(error).startswith(f"head '{name}'") else f"{type(error).__name__}: {error}"
            failures.append((name, reason))
    if not heads:
        experiment = _only(experiment, [fallback])
        heads[fallback], clusters[fallback] = _fitted(fallback, experiment, inferences)
    elif failures:
        experiment = _only(experiment, list(heads))
    warnings = (
        f"head '{name}' failed and is left out ({reason}); the clusters are those of head '{next(iter(heads))}'; give "
        "the finished run another head with: deepmix train --resume --head NAME --out FOLDER"
        for name, reason in failures
    )
    return FittedHeads(heads, clusters, experiment, tuple(warnings))


def _fitted(
    name: str, experiment: Experiment, inferences: Mapping[str, Inference]
) -> tuple[ClusteringHead, dict[str, Array]]:
    """Return a fitted head, and its clusters by side."""
    head = make_head(name, experiment.parts)
    head.fit(inferences["train"], experiment.n_components, experiment.config.seed)
    clusters = {
        side: checked_clusters(head.predict(inference), len(inference.log_q_NK), None, f"head '{name}'")
        for side, inference in inferences.items()
    }
    head.state()
    return head, clusters


def _only(experiment: Experiment, names: list[str]) -> Experiment:
    config, parts = with_other_heads(experiment.config, experiment.parts, names)
    return replace(experiment, config=config, parts=parts)


def with_other_heads(config: ExperimentConfig, parts: Parts, names: Sequence[str]) -> tuple[ExperimentConfig, Parts]:
    """Return a configuration and its parts with these heads in place of its own.

    Raises:
        UsageError: a name is not that of a head.
        DeepmixError: a head can't be loaded.

    """
    parts = with_heads(parts, names)
    unwanted = {part for part in parts.classes if part.startswith("head.") and part.removeprefix("head.") not in names}

    def without(values: Mapping[str, Any]) -> dict[str, Any]:
        return {part: value for part, value in values.items() if part not in unwanted}

    settings = {key: value for key, value in config.settings.items() if key.rpartition(".")[0] not in unwanted}
    parts = replace(
        parts, classes=without(parts.classes), options=without(parts.options), plugins=without(parts.plugins)
    )
    return replace(config, heads=tuple(names), settings=settings), parts


def record_heads(folder: RunStore, experiment: Experiment) -> None:
    """Write the heads of an experiment to the config.json of its run; everything else stays as it is."""
    record = folder.read(RunConfig)
    parts = {role: part for role, part in record.parts.items() if not role.startswith("head.")}
    resolved = {part: values for part, values in record.resolved.items() if not part.startswith("head.")}
    for role, plugin in experiment.parts.plugins.items():
        if role.startswith("head."):
            parts[role] = PartRecord(plugin.kind, plugin.name, plugin.distribution, plugin.version)
            resolved[role] = to_plain(experiment.parts.options[role])
    requested = requested_of(experiment.config)
    folder.write(dataclasses.replace(record, requested=requested, parts=parts, resolved=resolved))
