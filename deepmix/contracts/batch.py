"""The input and output of a model in training: one frozen batch, and one loss with named terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from deepmix.data import RowTensors
from deepmix.maths import Latents, one_hot_like

Stage = Literal["pretrain", "train"]
"""Pretraining of the plain autoencoder, or training of the mixture."""


@dataclass(frozen=True)
class Phase:
    """The stage of training and the weights of the objective in the current epoch."""

    stage: Stage = "train"
    beta: float = 1.0
    """Weight of the KL terms."""
    anchor: float = 0.0
    """Weight of the cross-entropy from the initial labels to q(y|x)."""
    hold: bool = False
    """Whether the initial labels replace the E-step."""


@dataclass(frozen=True)
class Batch:
    """Rows, with what a model may need to know about them; a new input becomes a new field."""

    x_ND: Tensor
    """The rows as an encoder takes them, (N, D) float32."""
    generator: torch.Generator | None = None
    """Source of the Monte-Carlo noise; None where no samples are drawn."""
    phase: Phase = field(default_factory=Phase)
    row_N: Tensor | None = None
    """Row numbers among the training rows, (N,) int64; None outside training."""
    label_N: Tensor | None = None
    """Initial clusters, (N,) int64 in [0, K), -1 for noise; for a model that learns from labels, true classes, -1 where
    unknown."""
    neighbours: Batch | None = None
    """A random one of each row's `n_neighbours` nearest training rows, (N, D); in training only."""
    cells_NC: Tensor | None = None
    """The values of a table's rows that the likelihoods take, (N, C), NaN where one is missing; None: they take x."""
    condition_NQ: Tensor | None = None
    """Covariates that the decoder takes beside z, (N, Q); the encoder's input has them already."""
    weight_N: Tensor | None = None
    """Weights of the rows, (N,), with mean 1 over the training rows; None: all rows count alike."""
    anchor_NK: Tensor | None = None
    """Soft initial labels, which the anchor takes: each cluster's weight, (N, K); None: it takes `label_N`."""
    hidden_N: Tensor | None = None
    """Whether values of a row are hidden from the encoder in this update, (N,); None: nothing is hidden."""

    @classmethod
    def of(cls, rows: RowTensors, **others: Any) -> Batch:
        """Return a batch of these rows; `others` are further fields."""
        return cls(**{f.name: getattr(rows, f.name) for f in fields(rows)}, **others)

    @property
    def target_NC(self) -> Tensor:
        """The values that the likelihood takes, (N, C)."""
        return self.x_ND if self.cells_NC is None else self.cells_NC

    def labels_for(self, purpose: str) -> Tensor:
        """Return the initial labels, (N,).

        Raises:
            ValueError: the batch has no labels.

        """
        if self.label_N is None:
            raise ValueError(f"{purpose} needs the initial labels: set label_N of the batch")
        return self.label_N

    def held_weights(self, log_q_NK: Tensor) -> Tensor:
        """Return 1 on each row's initial cluster, (N, K); a noise row, with the label -1, keeps its q(y|x)."""
        label_N = self.labels_for("hold")
        held_NK = one_hot_like(label_N.clamp_min(0), log_q_NK)
        return torch.where((label_N >= 0).unsqueeze(-1), held_NK, log_q_NK.detach().exp())

    def anchor_cost(self, log_q_NK: Tensor) -> Tensor:
        """Return the cross-entropy from the initial labels to q(y|x), soft or not, times the anchor's weight, (N,).

        A noise row, with the label -1, costs nothing.
        """
        if self.anchor_NK is None:
            label_N = self.labels_for("anchor")
            cross_entropy_N = functional.nll_loss(log_q_NK, label_N, reduction="none", ignore_index=-1)
        else:
            cross_entropy_N = -(self.anchor_NK * log_q_NK).sum(-1)
        return self.phase.anchor * cross_entropy_N


@dataclass(frozen=True)
class Loss:
    """The objective of a batch and its named terms, in nats per row, each of shape (N,) unless its name says otherwise.

    Every term is logged and plotted under its name, so a model adds a term by adding an entry to `terms`.
    """

    objective_N: Tensor
    """The quantity that training maximises, with gradient: the beta-weighted bound minus the costs of further terms."""
    elbo_N: Tensor
    """The evidence lower bound itself (beta = 1), for comparing models; in pretraining, the log-likelihood."""
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    """The unweighted parts of the bound (`reconstruction`, `kl_latent`, `kl_assignment`), and the weighted cost of each
    further term (`anchor`, `graph`, ...); without gradients."""
    log_q_NK: Tensor | None = None
    """log q(y|x), (N, K); None in pretraining."""
    dropped_N: Tensor | None = None
    """Mass of q(y|x) that was not decoded (below `decode_threshold`); None where everything is decoded."""

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
        """Return the loss of a bound with these parts; only the objective keeps its gradient.

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
    """The state of a mixture's training step that is passed to a further term of the objective."""

    batch: Batch
    latents: Latents
    """q(z|y,x), its samples and the prior."""
    log_q_NK: Tensor
    """log q(y|x) with its gradient."""
    weight_NK: Tensor
    """The weight of each component's terms: q(y|x), hard or soft, without a gradient."""
