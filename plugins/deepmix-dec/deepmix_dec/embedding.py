"""DEC and IDEC: q(y|x) is drawn to a surer version of itself (Xie et al. 2016; Guo et al. 2017).

q(y|x) is a Student's t kernel around K centres (DEC eq. 1). At the start of an epoch, all training rows together give
the target distribution P (DEC eq. 3), which stays fixed while the encoder and the centres are trained on

    DEC:   KL(P || Q) = sum_n sum_k p_nk log(p_nk / q_nk)                    (DEC eq. 2)
    IDEC:  |x - g(z)|^2 averaged over the columns + gamma KL(P || Q)

DEC drops the decoder after pretraining. Here it is trained on, without a gradient to the encoder, so that samples,
imputations and profiles can be decoded; the clusters are not affected. Instead of the squared error stands the negative
log-likelihood, which takes tables too; like the squared error of IDEC's program it is divided by the number of columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from deepmix.contracts import Batch, Loss
from deepmix.errors import UsageError
from deepmix.maths import Dims, categorical_kl
from deepmix.models import Composite, NetworkOptions

from .autoencoder import CentreAutoencoder, TrainingLatents
from .formulas import log_frequencies, squared_distances, student_t_log_q, target_distribution

SGD_FACTOR, SGD_MOMENTUM = 5.0, 0.9
"""With `optimizer=sgd`, training starts at five times the learning rate of pretraining: at 0.01, DEC's, where that is
0.002."""


@dataclass(frozen=True)
class DecOptions(NetworkOptions):
    """Options of DEC."""

    freedom: float = field(default=1.0, metadata={"help": "degrees of freedom of Student's t, alpha in DEC's eq. 1"})
    refresh: int = field(default=1, metadata={"help": "epochs until the target distribution is computed again"})
    optimizer: Literal["adam", "sgd"] = field(
        default="adam",
        metadata={"help": "optimiser of training; sgd: with momentum, at five times the learning rate (DEC: 0.01)"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.freedom < math.inf:
            raise UsageError(f"freedom must be above 0 and finite, got {self.freedom}")
        if self.refresh < 1:
            raise UsageError(f"refresh must be at least 1, got {self.refresh}")


@dataclass(frozen=True)
class IdecOptions(DecOptions):
    """Options of IDEC."""

    gamma: float = field(
        default=0.1, metadata={"help": "weight of KL(P || Q) against the reconstruction of a column (IDEC: 0.1)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.gamma < math.inf:
            raise UsageError(f"gamma must be at least 0 and finite, got {self.gamma}")


class SelfTrained(CentreAutoencoder):
    """A Student's t q(y|x) that is trained towards its own target distribution; the encoder may learn to decode too."""

    log_frequency_K: Tensor

    def __init__(self, dims: Dims, likelihood: Composite, options: DecOptions) -> None:
        super().__init__(dims, likelihood, options)
        self.freedom, self.refresh = options.freedom, options.refresh
        self.target_NK: Tensor | None = None
        """The target distribution of each training row; None before the first epoch of training."""
        self.register_buffer("log_frequency_K", torch.zeros(dims.n_components))

    def optimizer(self, stage: str, lr: float) -> torch.optim.Optimizer | None:
        """Return stochastic gradient descent for training, if it is chosen."""
        if stage == "train" and self.options.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), SGD_FACTOR * lr, momentum=SGD_MOMENTUM)
        return None

    def log_q(self, z_NM: Tensor) -> Tensor:
        """Return log q(y|x), (N, K) (DEC eq. 1)."""
        return student_t_log_q(squared_distances(z_NM, self.centre_KM), self.freedom)

    def adopt(self, rows: TrainingLatents) -> None:
        """Set the soft frequencies of the clusters too."""
        super().adopt(rows)
        self.log_frequency_K.copy_(log_frequencies(self.log_q(rows.z_NM), rows.weight_N))

    def reassign(self, rows: TrainingLatents, number: int) -> None:
        """Compute the target distribution of all training rows (DEC eq. 3), every `refresh` epochs."""
        if number % self.refresh == 0:
            self.adopt(rows)
            self.target_NK = target_distribution(self.log_q(rows.z_NM), self.log_frequency_K)

    def training_state(self) -> dict[str, Tensor]:
        """Return the target distribution, (N, K), which stays fixed between two refreshes."""
        return {} if self.target_NK is None else {"target": self.target_NK}

    def restore_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the target distribution."""
        self.target_NK = state["target"].to(self.centre_KM.device)

    def divergence(self, batch: Batch, log_q_NK: Tensor) -> Tensor:
        """Return KL(P || Q) of each row, (N,) (DEC eq. 2); while it holds, P is 1 on the row's initial cluster.

        Rows that are not training rows get the target that they would have beside those.
        """
        if batch.phase.hold:
            target_NK = batch.held_weights(log_q_NK)
        elif batch.row_N is not None and self.target_NK is not None:
            target_NK = self.target_NK[batch.row_N]
        else:
            target_NK = target_distribution(log_q_NK.detach(), self.log_frequency_K)
        return categorical_kl(target_NK, log_q_NK)

    def self_training_loss(self, batch: Batch, z_NM: Tensor, decoded_NM: Tensor, weight: float) -> Loss:
        """Return the log-likelihood per column minus the weighted KL(P || Q).

        Args:
            batch: the rows.
            z_NM: their latents.
            decoded_NM: the same, with the gradient that the decoder passes on.
            weight: weight of KL(P || Q).

        """
        log_q_NK = self.log_q(z_NM)
        reconstruction_N = self.log_likelihood(batch, decoded_NM)
        divergence_N = self.divergence(batch, log_q_NK)
        per_column_N = reconstruction_N / batch.target_NC.shape[-1]
        return Loss.of_bound(
            reconstruction_N,
            torch.zeros_like(divergence_N),
            divergence_N,
            log_q_NK,
            objective_N=per_column_N - batch.phase.beta * weight * divergence_N,
            costs={"anchor": batch.anchor_cost(log_q_NK)} if batch.phase.anchor > 0.0 else {},
        )


@final
class Dec(SelfTrained):
    """DEC: the encoder is trained towards surer clusters, not to reconstruct (Xie et al. 2016)."""

    Options = DecOptions

    def training_loss(self, batch: Batch) -> Loss:
        """Return KL(P || Q), and for the decoder alone the log-likelihood."""
        z_NM = self.encode(batch.x_ND)
        return self.self_training_loss(batch, z_NM, z_NM.detach(), weight=1.0)


@final
class Idec(SelfTrained):
    """IDEC: DEC whose encoder goes on learning to reconstruct (Guo et al. 2017)."""

    Options = IdecOptions

    def training_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood and gamma KL(P || Q)."""
        z_NM = self.encode(batch.x_ND)
        return self.self_training_loss(batch, z_NM, z_NM, weight=self.options.gamma)
