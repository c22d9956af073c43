"""DCN: an autoencoder whose codes are drawn to the centres of k-means (Yang et al. 2017).

    minimise over f, g, M, s:   sum_n |x_n - g(f(x_n))|^2 + lambda / 2 |f(x_n) - M s_n|^2,   s_n one-hot

The paper alternates: the networks are updated for fixed centres M and assignments s, then each row gets the nearest
centre, then the centres move. It does so batch by batch, with a step of 1/count for each row of a centre; here s and M
are updated at the start of each epoch from all training rows, by one iteration of Lloyd's algorithm. Instead of the
squared error stands the negative log-likelihood, which takes tables too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from deepmix.contracts import Batch, Loss
from deepmix.errors import UsageError
from deepmix.maths import Dims
from deepmix.models import Composite, NetworkOptions

from .autoencoder import CentreAutoencoder, TrainingLatents
from .formulas import cluster_means, gaussian_log_q, squared_distances


@dataclass(frozen=True)
class DcnOptions(NetworkOptions):
    """Options of DCN."""

    pull: float = field(
        default=1.0,
        metadata={"help": "weight of half the squared distance of a code to its centre, lambda in the paper"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.pull < math.inf:
            raise UsageError(f"pull must be at least 0 and finite, got {self.pull}")


@final
class Dcn(CentreAutoencoder):
    """DCN: an autoencoder whose codes are drawn to the centres of k-means (Yang et al. 2017)."""

    Options = DcnOptions

    def __init__(self, dims: Dims, likelihood: Composite, options: DcnOptions) -> None:
        super().__init__(dims, likelihood, options)
        self.centre_KM.requires_grad_(False)
        self.cluster_N: Tensor | None = None
        """The cluster of each training row in this epoch, int64; None before the first epoch of training."""

    def log_q(self, z_NM: Tensor) -> Tensor:
        """Return log q(y|x), (N, K): the probabilities of k-means' clusters as Gaussians of one variance."""
        return gaussian_log_q(squared_distances(z_NM, self.centre_KM), self.variance)

    def reassign(self, rows: TrainingLatents, number: int) -> None:
        """Do one iteration of Lloyd's algorithm: each row gets the nearest centre, each centre its rows' mean."""
        self.cluster_N = self._held_or_nearest(squared_distances(rows.z_NM, self.centre_KM), rows.held_N)
        self.centre_KM.copy_(cluster_means(rows.z_NM, self.cluster_N, self.centre_KM, rows.weight_N))
        self.adopt(rows)

    def clusters_of(self, batch: Batch, squared_distance_NK: Tensor) -> Tensor:
        """Return the cluster to which each row of a batch is drawn, (N,) int64: the row's cluster in this epoch.

        For rows that are not training rows it is the nearest one, or the initial one while the initial labels hold.
        """
        if batch.row_N is not None and self.cluster_N is not None:
            return self.cluster_N[batch.row_N]
        return self._held_or_nearest(squared_distance_NK, batch.labels_for("hold") if batch.phase.hold else None)

    @staticmethod
    def _held_or_nearest(squared_distance_NK: Tensor, held_N: Tensor | None) -> Tensor:
        """Return each row's initial cluster where there is one, else the nearest."""
        nearest_N = squared_distance_NK.argmin(-1)
        return nearest_N if held_N is None else torch.where(held_N >= 0, held_N, nearest_N)

    def training_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood and half the squared distance to the row's centre, times lambda."""
        z_NM = self.encode(batch.x_ND)
        squared_distance_NK = squared_distances(z_NM, self.centre_KM)
        log_q_NK = gaussian_log_q(squared_distance_NK, self.variance)
        cluster_N1 = self.clusters_of(batch, squared_distance_NK.detach()).unsqueeze(-1)
        distance_N = 0.5 * self.options.pull * squared_distance_NK.gather(-1, cluster_N1)[:, 0]
        reconstruction_N = self.log_likelihood(batch, z_NM)
        return Loss.of_bound(
            reconstruction_N,
            distance_N,
            torch.zeros_like(distance_N),
            log_q_NK,
            objective_N=reconstruction_N - batch.phase.beta * distance_N,
            costs={"anchor": batch.anchor_cost(log_q_NK)} if batch.phase.anchor > 0.0 else {},
        )
