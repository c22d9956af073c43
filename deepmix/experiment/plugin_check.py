"""Whether an imported plugin is of its kind, for `deepmix plugins --check`; its contract is checked by a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepmix.contracts import (
    ClusteringHead,
    Dataset,
    Decoder,
    Encoder,
    Format,
    Initializer,
    Likelihood,
    PosteriorEstimator,
    Prior,
    Tracker,
    describe,
)
from deepmix.errors import DeepmixError
from deepmix.experiment.parts import options_of, plan_of
from deepmix.metrics import Metric

INTERFACES: Mapping[str, type] = {
    "encoders": Encoder,
    "decoders": Decoder,
    "priors": Prior,
    "posteriors": PosteriorEstimator,
    "likelihoods": Likelihood,
    "initializers": Initializer,
    "datasets": Dataset,
    "formats": Format,
    "trackers": Tracker,
}
"""The interface that a plugin of each kind has to subclass; other kinds are no subclasses of one."""


def check_plugin(kind: str, loaded: Any) -> None:
    """Check that an imported plugin is of its kind, and that its options have types and defaults.

    Raises:
        DeepmixError: it is not, or they have none; the message says what was expected.

    """
    if kind in INTERFACES:
        interface = INTERFACES[kind]
        if not (isinstance(loaded, type) and issubclass(loaded, interface)):
            raise DeepmixError(f"{_shown(loaded)} is not a subclass of deepmix.contracts.{interface.__name__}")
        missing = sorted(getattr(loaded, "__abstractmethods__", ()))
        if missing:
            raise DeepmixError(f"{_shown(loaded)} lacks the method(s) {', '.join(missing)}")
    elif kind == "heads" and not callable(loaded):
        raise DeepmixError(f"{_shown(loaded)} is neither a ClusteringHead nor a factory of scikit-learn clusterers")
    elif kind == "heads" and isinstance(loaded, type) and not issubclass(loaded, ClusteringHead):
        if not (hasattr(loaded, "fit") and hasattr(loaded, "predict")):
            raise DeepmixError(f"{_shown(loaded)} has no fit and predict, which a head needs")
    elif kind == "metrics" and not isinstance(loaded, Metric):
        raise DeepmixError(f"{_shown(loaded)} is not a deepmix.metrics.Metric")
    elif kind == "sections" and not callable(loaded):
        raise DeepmixError(f"{_shown(loaded)} is not a function that returns a section of the report")
    elif kind == "commands":
        import click

        if not isinstance(loaded, click.Command):
            raise DeepmixError(f"{_shown(loaded)} is not a click.Command")
    _check_options(plan_of(loaded).options if kind == "models" else options_of(loaded))


def _check_options(options: Any) -> None:
    try:
        describe(options)
    except Exception as error:  # a type that can't be resolved
        raise DeepmixError(f"the types of the options {type(options).__name__} can't be read ({error})") from None


def _shown(loaded: Any) -> str:
    """Return a plugin in a message."""
    return getattr(loaded, "__qualname__", f"{loaded!r:.40}")
