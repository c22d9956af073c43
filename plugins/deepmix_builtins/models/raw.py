"""Mixtures on the rows themselves: `gmm` and `kmeans`, the papers' baselines without a network.

They implement the contract of a model, so that heads, metrics, samples and runs work as for any other model. The latent
is the row itself, and `place` does the whole fit, by EM from the initial clustering. Nothing is learned by gradients.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from deepmix.contracts import Batch, Loss, Model, NoOptions
from deepmix.errors import UsageError
from deepmix.kernels import ops
from deepmix.maths import (
    Dims,
    Gaussian,
    MixtureParameters,
    Responsibilities,
    categorical_kl,
    cluster_moments,
    draw_component,
)
from deepmix.models import Composite

from ..clustering.gaussians import fit_mixture

FULL_COVARIANCE_COLUMNS = 128
"""Up to this many columns, covariances are full; an EM iteration costs rows x K x columns^2."""


MIN_VARIANCE = 1e-6
"""Floor of the single variance of k-means: if all rows were at their centres, the density would be unbounded."""


def mixture_bound(log_prob_NK: Tensor, log_weight_K: Tensor, responsibilities: Responsibilities) -> Loss:
    """Return the bound of a mixture at its exact q(y|x), where it equals log p(x).

    It is E_q[log p(x|y)] - KL(q(y|x) || p(y)), the report's EM learning objective (definition 4), tight by theorem 4.
    """
    q_NK = responsibilities.log_q_NK.exp()
    reconstruction_N = (q_NK * log_prob_NK).sum(-1)
    kl_assignment_N = categorical_kl(q_NK, log_weight_K)
    kl_latent_N = torch.zeros_like(reconstruction_N)
    bound_N = reconstruction_N - kl_assignment_N
    return Loss.of_bound(reconstruction_N, kl_latent_N, kl_assignment_N, responsibilities.log_q_NK, objective_N=bound_N)


class RowsThemselves:
    """The observation model of latents that are rows already."""

    def __init__(self, likelihood: Composite) -> None:
        self._of_table = likelihood.masked

    def mean(self, outputs_ND: Tensor) -> Tensor:
        """Return the rows.

        Raises:
            UsageError: they are the features of a table, from which its rows can't be had.

        """
        if self._of_table:
            raise UsageError(
                "a mixture on the rows themselves can't generate or impute rows of a table; train a mixture of VAEs"
            )
        return outputs_ND

    def sample(self, outputs_ND: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows; the same error."""
        return self.mean(outputs_ND)


class RowMixture(Model):
    """K Gaussians over the rows; subclasses fit them."""

    init: ClassVar[str] = "kmeans"

    def __init__(self, dims: Dims, likelihood: Composite, options: object) -> None:
        super().__init__()
        self.n_components = dims.n_components
        self.latent_dim = dims.n_features - dims.n_flags - dims.n_conditions
        self.likelihood = RowsThemselves(likelihood)
        self.mean_KD = _fitted(torch.zeros(dims.n_components, self.latent_dim))
        self.log_weight_K = _fitted(torch.full((dims.n_components,), -math.log(dims.n_components)))

    @abc.abstractmethod
    def _log_prob(self, x_ND: Tensor) -> tuple[Tensor, Responsibilities]:
        """Return log p(x|y), (N, K), and q(y|x)."""

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return zeros: there is no autoencoder, a row is its own code."""
        zeros_N = batch.x_ND.new_zeros(len(batch.x_ND))
        return Loss(zeros_N, zeros_N)

    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the rows as codes, with an error of 0."""
        return self._features(batch), batch.x_ND.new_zeros(len(batch.x_ND))

    @torch.no_grad()
    def training_loss(self, batch: Batch) -> Loss:
        """Return log p(x), exactly; the phase and the initial labels are not used after `place`."""
        log_prob_NK, responsibilities = self._log_prob(self._features(batch))
        return mixture_bound(log_prob_NK, self.log_weight_K, responsibilities)

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x) and the rows."""
        rows_NF = self._features(batch)
        return self._log_prob(rows_NF)[1].log_q_NK, rows_NF

    def _features(self, batch: Batch) -> Tensor:
        """Return the rows without the flags of missing values and the conditions, (N, F)."""
        return batch.x_ND[:, : self.latent_dim]

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from q(y|x), and the rows, which are their own latents."""
        rows_NF = self._features(batch)
        return draw_component(self._log_prob(rows_NF)[1].log_q_NK, batch.generator), rows_NF

    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the latents, which are rows already."""
        return z_NM


@dataclass(frozen=True)
class GmmOptions:
    """Options of the Gaussian mixture on the rows."""

    covariance: Literal["auto", "full", "diag"] = field(
        default="auto",
        metadata={"help": f"covariances; auto: full up to {FULL_COVARIANCE_COLUMNS} columns, diagonal beyond"},
    )


@final
class GaussianMixtureModel(RowMixture):
    """Gaussian mixture on the rows, by EM from the initial clustering (report, section 2.3; VaDE's GMM)."""

    Options = GmmOptions

    def __init__(self, dims: Dims, likelihood: Composite, options: GmmOptions) -> None:
        super().__init__(dims, likelihood, options)
        wide = self.latent_dim > FULL_COVARIANCE_COLUMNS
        self.full = options.covariance == "full" or (options.covariance == "auto" and not wide)
        one = torch.eye(self.latent_dim) if self.full else torch.ones(self.latent_dim)
        self.precision_cholesky = _fitted(one.repeat(dims.n_components, *[1] * one.ndim))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Run EM from the clusters' moments."""
        covariance: Literal["full", "diag"] = "full" if self.full else "diag"
        weights = None if weight_N is None else weight_N.double().cpu().numpy()
        fitted = fit_mixture(
            code_NM.double().cpu().numpy(), label_N.cpu().numpy(), self.n_components, covariance, weights
        )
        self.mean_KD.copy_(torch.from_numpy(fitted.means_))
        self.precision_cholesky.copy_(torch.from_numpy(fitted.precisions_cholesky_))
        if self.full:  # scikit-learn's factor U is upper triangular, U U^T = precision; the kernels take the lower one
            precision_KDD = torch.from_numpy(fitted.precisions_)
            self.precision_cholesky.copy_(torch.linalg.cholesky(precision_KDD))
        self.log_weight_K.copy_(torch.from_numpy(fitted.weights_).log())

    def _log_prob(self, x_ND: Tensor) -> tuple[Tensor, Responsibilities]:
        if self.full:
            return ops.component_log_prob_full(x_ND, self.mean_KD, self.precision_cholesky, self.log_weight_K)
        log_var_KD = -2.0 * self.precision_cholesky.log()
        return ops.component_log_prob(x_ND, MixtureParameters(Gaussian(self.mean_KD, log_var_KD), self.log_weight_K))

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Generate rows of one component (report, section 4.1)."""
        noise_ND = torch.randn(n_rows, self.latent_dim, generator=generator, device=self.mean_KD.device)
        scale = self.precision_cholesky[component]
        if self.full:
            deviation_ND = torch.linalg.solve_triangular(scale.T, noise_ND.T, upper=True).T
        else:
            deviation_ND = noise_ND / scale
        return self.mean_KD[component] + deviation_ND


@final
class KMeansModel(RowMixture):
    """k-means on the rows, from the initial clustering, with equal weights and one variance (report, section 3.1)."""

    Options = NoOptions

    def __init__(self, dims: Dims, likelihood: Composite, options: NoOptions) -> None:
        super().__init__(dims, likelihood, options)
        self.log_var = _fitted(torch.zeros(()))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Run Lloyd's iterations from the clusters' centres."""
        rows = code_NM.double().cpu()
        weights = None if weight_N is None else weight_N.double().cpu()
        centres_KD = cluster_moments(rows, label_N.cpu(), self.n_components, weights)[0].mean
        kmeans = KMeans(self.n_components, init=centres_KD.numpy(), n_init=1)
        fitted = kmeans.fit(rows.numpy(), sample_weight=None if weights is None else weights.numpy())
        self.mean_KD.copy_(torch.from_numpy(fitted.cluster_centers_))
        self.log_var.fill_(math.log(max(fitted.inertia_ / rows.numel(), MIN_VARIANCE)))

    def _log_prob(self, x_ND: Tensor) -> tuple[Tensor, Responsibilities]:
        components = Gaussian(self.mean_KD, self.log_var.expand_as(self.mean_KD))
        return ops.component_log_prob(x_ND, MixtureParameters(components, self.log_weight_K))

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Generate rows around one centre."""
        noise_ND = torch.randn(n_rows, self.latent_dim, generator=generator, device=self.mean_KD.device)
        return self.mean_KD[component] + torch.exp(0.5 * self.log_var) * noise_ND


def _fitted(value: Tensor) -> nn.Parameter:
    """Return a parameter that `place` fits and gradients do not change."""
    return nn.Parameter(value, requires_grad=False)
