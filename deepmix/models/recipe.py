"""A model of the grid: the names of its parts and the defaults of its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deepmix.contracts import LossTerm, ModelPlan, source_of
from deepmix.maths import Dims
from deepmix.models.likelihoods import Composite
from deepmix.models.mixture_options import MixtureOptions
from deepmix.models.mixture_vae import MixtureVAE
from deepmix.models.objective import ObjectiveOptions


@dataclass(frozen=True)
class Recipe:
    """A model of the grid: the names of its parts and the defaults of its options."""

    summary: str
    posterior: str
    prior: str
    encoder_heads: Literal["one", "per-component"]
    """One latent shared by all components (VAE, VaDE), or one encoder head per component."""
    encoder: str = "mlp"
    decoder: str = "mlp"
    init: str = "auto"
    """Name of the initial clustering that the model starts from unless another is requested."""
    options: MixtureOptions = field(default_factory=MixtureOptions)
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    single_component: bool = False
    """Whether K is 1 whatever the number of clusters, as for the plain VAE."""
    terms: tuple[type[LossTerm], ...] = ()
    """Classes of additional terms of the objective."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.summary)  # like every plugin, a recipe is listed by its docstring

    def plan(self) -> ModelPlan:
        """Return what the core needs to know about the model before building it."""
        return ModelPlan(
            summary=self.summary,
            source=source_of(type(self)),
            options=self.options,
            build=self._build,
            likelihood_name=_likelihood_name,
            n_labelled=_n_labelled,
            init=self.init,
            part_names={role: getattr(self, role) for role in ("encoder", "decoder", "prior", "posterior")},
            terms={term.name: term for term in self.terms},
            objective=self.objective,
            single_component=self.single_component,
            shared_latent=self.encoder_heads == "one",
            takes_conditions=True,
        )

    def _build(
        self, dims: Dims, parts: Mapping[str, Any], likelihood: Composite, options: MixtureOptions
    ) -> MixtureVAE:
        terms = {term.name: parts[f"term.{term.name}"] for term in self.terms}
        roles = {role: parts[role] for role in ("encoder", "decoder", "prior", "posterior")}
        return MixtureVAE(dims, **roles, likelihood=likelihood, options=options, terms=terms)


def _likelihood_name(options: MixtureOptions) -> str:
    return options.likelihood


def _n_labelled(options: MixtureOptions) -> int:
    return 0
