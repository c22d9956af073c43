"""The kit of each kind of plugin."""

from __future__ import annotations

from typing import Any

from deepmix.testing.clauses import PluginKit
from deepmix.testing.cluster_kits import HeadKit, InitializerKit
from deepmix.testing.dataset_kit import DatasetKit
from deepmix.testing.extension_kits import CommandKit, MetricKit, SectionKit, TrackerKit
from deepmix.testing.likelihood_kit import LikelihoodKit
from deepmix.testing.model_kit import ModelKit
from deepmix.testing.part_kits import DecoderKit, EncoderKit, PosteriorKit, PriorKit

KITS: dict[str, type[PluginKit]] = {
    kit.kind: kit
    for kit in (
        *(ModelKit, EncoderKit, DecoderKit, PriorKit, PosteriorKit),
        *(LikelihoodKit, InitializerKit, DatasetKit, HeadKit),
        *(MetricKit, SectionKit, TrackerKit, CommandKit),
    )
}
"""The kits by kind. That of a file format is not among them, as it needs an example of a file."""


def kit_of(kind: str, loaded: Any) -> type[PluginKit]:
    """Return the kit of a loaded plugin, ready for `run_kit`."""
    return type(f"Test{KITS[kind].__name__}", (KITS[kind],), {"part": loaded})
