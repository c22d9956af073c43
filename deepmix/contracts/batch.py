"""What a model is given and what it returns in training: one frozen batch, one loss with named terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from deepmix.maths import Latents

Stage = Literal["pretrain", "train"]
"""The plain autoencoder's pretraining, or the training of the mixture."""


@dataclass(frozen=True)
class Phase:
    """Where training stands: the stage, and the weights of the objective in this epoch."""

    stage: Stage = "train"
    beta: float = 1.0
    """Weight of the KL terms."""
    anchor: float = 0.0
    """Weight of the cross-entropy from the initial labels to q(y|x)."""
    hold: bool = False
    """Whether the initial labels replace the E-step."""


@dataclass(frozen=True)
class Batch:
    """Some rows, and what a model may need to know of them; a new ingredient is a new field."""

    x_ND: Tensor
    """The rows, (N, D) float32."""
    generator: torch.Generator | None = None
    """Source of the Monte-Carlo noise; None where nothing is drawn."""
    phase: Phase = field(default_factory=Phase)
    row_N: Tensor | None = None
    """Row numbers among the training rows, (N,) int64; None outside training."""
    label_N: Tensor | None = None
    """Initial clusters, (N,) int64 in [0, K); where a model learns from labels, true classes, -1 where unknown."""
    neighbour_ND: Tensor | None = None
    """One of each row's `n_neighbours` nearest training rows, chosen at random, (N, D); in training only."""

    def labels_for(self, purpose: str) -> Tensor:
        """Return the initial labels, (N,).

        Raises:
            ValueError: the batch has none.

        """
        if self.label_N is None:
            raise ValueError(f"{purpose} needs the initial labels: set label_N of the batch")
        return self.label_N


@dataclass(frozen=True)
class Loss:
    """One batch's objective and its named terms, nats per row, each of shape (N,) unless its name says otherwise.

    Every term is logged and drawn under its name, so a model adds one by adding an entry to `terms`.
    """

    objective_N: Tensor
    """What training maximises, with its gradient: the beta-weighted bound less the costs of further terms."""
    elbo_N: Tensor
    """The evidence lower bound itself (beta = 1), for comparing models; in pretraining the log-likelihood."""
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    """The bound's parts (`reconstruction`, `kl_latent`, `kl_assignment`) as they are, and the cost of each further
    term as it enters the objective (`anchor`, `graph`, ...); without gradients."""
    log_q_NK: Tensor | None = None
    """log q(y|x), (N, K); None in pretraining."""
    dropped_N: Tensor | None = None
    """Mass of q(y|x) that was not decoded (below `decode_threshold`); None where everything was."""

    @classmethod
    def of_bound(
        cls,
        reconstruction_N: Tensor,
        kl_latent_N: Tensor,
        kl_assignment_N: Tensor,
        log_q_NK: Tensor,
        *,
        objective_N: Tensor,
        costs: Mapping[str, Tensor] | None = None,
        dropped_N: Tensor | None = None,
    ) -> Loss:
        """Return the loss of a bound whose parts are these; only the objective keeps its gradient.

        Args:
            reconstruction_N: E_q[log p(x|z)].
            kl_latent_N: E_q[KL(q(z|x,y) || p(z|y))].
            kl_assignment_N: KL(q(y|x) || p(y)).
            log_q_NK: log q(y|x).
            objective_N: the weighted bound, from which the costs are subtracted one after another.
            costs: further terms by name, already weighted.
            dropped_N: mass of q(y|x) that was not decoded.

        """
        costs = costs or {}
        for cost_N in costs.values():
            objective_N = objective_N - cost_N
        bound = {"reconstruction": reconstruction_N, "kl_latent": kl_latent_N, "kl_assignment": kl_assignment_N}
        return cls(
            objective_N,
            (reconstruction_N - kl_latent_N - kl_assignment_N).detach(),
            {name: value.detach() for name, value in {**bound, **costs}.items()},
            log_q_NK.detach(),
            dropped_N,
        )


@dataclass(frozen=True)
class MixtureStep:
    """What a further term of the objective sees of a mixture's training step."""

    batch: Batch
    latents: Latents
    """q(z|y,x), its samples and the prior."""
    log_q_NK: Tensor
    """log q(y|x) with its gradient."""
    weight_NK: Tensor
    """The weight of each component's terms: q(y|x), hard or soft, without a gradient."""
