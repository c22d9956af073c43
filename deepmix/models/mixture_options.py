"""Options common to all mixtures of VAEs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from deepmix.errors import UsageError
from deepmix.models.likelihood_choice import check_likelihood_name


@dataclass(frozen=True)
class MixtureOptions:
    """Options of a mixture of VAEs; the defaults come from the recipe."""

    assignment: Literal["soft", "hard"] = field(
        default="soft", metadata={"help": "weights of the components: q(y|x) itself, or 1 on its largest entry"}
    )
    likelihood: str = field(
        default="auto",
        metadata={"help": "p(x|z), an installed likelihood; auto: bernoulli where the data lie in 0..1, else gaussian"},
    )
    samples: int = field(default=1, metadata={"help": "L, Monte-Carlo samples of z per row"})
    decode_threshold: float = field(
        default=1e-3, metadata={"help": "components with q(y|x) below this are not decoded; 0 decodes all"}
    )
    decode_all: bool = field(
        default=False,
        metadata={
            "help": "decode every component of every row in training, also those without weight: more work, but a GPU "
            "never waits for the host"
        },
    )
    noise: bool = field(
        default=True, metadata={"help": "draw z from q(z|y,x); false: use its mean and no KL, a plain autoencoder"}
    )
    graph_weight: float = field(
        default=0.0,
        metadata={"help": "weight of the divergence between the q(y|x) of neighbouring rows (DGG); 0: no graph"},
    )
    graph_neighbours: int = field(default=10, metadata={"help": "number of neighbours of each row in that graph"})

    def __post_init__(self) -> None:
        check_likelihood_name(self.likelihood)
        if self.samples < 1:
            raise UsageError(f"samples must be at least 1, got {self.samples}")
        if not 0.0 <= self.decode_threshold < 1.0:
            raise UsageError(f"decode_threshold must be at least 0 and below 1, got {self.decode_threshold}")
        if not 0.0 <= self.graph_weight < math.inf:
            raise UsageError(f"graph_weight must be at least 0 and finite, got {self.graph_weight}")
        if self.graph_neighbours < 1:
            raise UsageError(f"graph_neighbours must be at least 1, got {self.graph_neighbours}")
