"""Mixtures on the rows themselves: `gmm` and `kmeans`, the papers' baselines without a network.

They implement the contract of a model, so that heads, metrics, samples and runs work as for any other model. The latent
is the row itself, and `place` does the whole fit, by EM from the initial clustering. Nothing is learned by gradients.
Missing values of a table's rows are left out of densities and of the fit, exactly; a latent has their expectation
under the most probable component.
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
from deepmix.errors import UsageError, option
from deepmix.kernels import ops
from deepmix.maths import (
    Dims,
    Gaussian,
    MixtureParameters,
    Responsibilities,
    categorical_kl,
    cluster_moments,
    draw_component,
    normalize_log,
    without_noise,
)
from deepmix.models import Composite

from ..clustering.gaussians import RELATIVE_REGULARIZATION, fit_mixture
from ..clustering.incomplete_rows import (
    completions,
    diagonal_log_prob,
    fit_centres,
    fit_diagonal,
    fit_full,
    observed_moments,
)

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
                "a mixture on the rows themselves can't generate or impute rows of a table; "
                f"train a mixture of VAEs with {option('model', 'mvae-emv2')}"
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
        self._cell_of_feature = None if dims.cell_of_feature is None else list(dims.cell_of_feature)
        self.mean_KD = _fitted(torch.zeros(dims.n_components, self.latent_dim))
        self.log_weight_K = _fitted(torch.full((dims.n_components,), -math.log(dims.n_components)))

    @abc.abstractmethod
    def _complete_log_prob(self, x_ND: Tensor) -> tuple[Tensor, Responsibilities]:
        """Return log p(x|y), (N, K), and q(y|x) of rows without missing values."""

    @abc.abstractmethod
    def _variance_KF(self) -> Tensor:
        """Return the components' variances where covariances are diagonal."""

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return zeros: there is no autoencoder, a row is its own code."""
        zeros_N = batch.x_ND.new_zeros(len(batch.x_ND))
        return Loss(zeros_N, zeros_N)

    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the rows as codes, NaN where a value is missing, with an error of 0."""
        return self._features(batch), batch.x_ND.new_zeros(len(batch.x_ND))

    @torch.no_grad()
    def training_loss(self, batch: Batch) -> Loss:
        """Return log p(x), exactly; the phase and the initial labels are not used after `place`."""
        log_prob_NK, responsibilities, _ = self._log_prob(self._features(batch))
        return mixture_bound(log_prob_NK, self.log_weight_K, responsibilities)

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x) and the rows."""
        _, responsibilities, rows_NF = self._log_prob(self._features(batch))
        return responsibilities.log_q_NK, rows_NF

    def _features(self, batch: Batch) -> Tensor:
        """Return the rows' features, (N, F), NaN where a value is missing; flags and conditions are left out."""
        rows_NF = batch.x_ND[:, : self.latent_dim]
        if self._cell_of_feature is None or batch.cells_NC is None:
            return rows_NF
        return rows_NF.masked_fill(batch.cells_NC[:, self._cell_of_feature].isnan(), math.nan)

    def _log_prob(self, rows_NF: Tensor) -> tuple[Tensor, Responsibilities, Tensor]:
        """Return log p(x|y), (N, K), q(y|x), and the rows with the expectation of missing values."""
        if not rows_NF.isnan().any():
            return *self._complete_log_prob(rows_NF), rows_NF
        log_prob_NK, expected_NKF = self._incomplete_log_prob(rows_NF.double())
        joint_NK = log_prob_NK + self.log_weight_K
        log_q_NK, log_normalizer_N = normalize_log(joint_NK)
        latent_NF = expected_NKF[torch.arange(len(rows_NF)), log_q_NK.argmax(-1)]
        responsibilities = Responsibilities(log_q_NK.to(rows_NF.dtype), log_normalizer_N.to(rows_NF.dtype))
        return log_prob_NK.to(rows_NF.dtype), responsibilities, latent_NF.to(rows_NF.dtype)

    def _incomplete_log_prob(self, rows_NF: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x|y), (N, K), and each component's expectation of rows with missing values, (N, K, F)."""
        mean_KF = self.mean_KD.double()
        expected_NKF = torch.where(rows_NF.isnan()[:, None], mean_KF, rows_NF[:, None])
        return diagonal_log_prob(rows_NF, mean_KF, self._variance_KF().double()), expected_NKF

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from q(y|x), and the rows, which are their own latents."""
        _, responsibilities, rows_NF = self._log_prob(self._features(batch))
        return draw_component(responsibilities.log_q_NK, batch.generator), rows_NF

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
        """Run EM from the clusters' moments, on all rows but noise."""
        label_N, code_NM, weight_N = without_noise(label_N, code_NM, weight_N)
        if code_NM.isnan().any():
            self._place_incomplete(code_NM.double().cpu(), label_N.cpu(), weight_N)
            return
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

    def _place_incomplete(self, rows_NF: Tensor, label_N: Tensor, weight_N: Tensor | None) -> None:
        """Run EM on rows with missing values."""
        weight_N = torch.ones(len(rows_NF), dtype=rows_NF.dtype) if weight_N is None else weight_N.double().cpu()
        variance_1F = observed_moments(rows_NF, weight_N[:, None])[1]
        added = RELATIVE_REGULARIZATION * float(variance_1F.mean()) + torch.finfo(torch.float64).eps
        fit = fit_full if self.full else fit_diagonal
        fitted = fit(rows_NF, label_N, self.n_components, weight_N, added)
        self.mean_KD.copy_(fitted.mean_KF)
        if self.full:
            self.precision_cholesky.copy_(torch.linalg.cholesky(fitted.covariance_KFF.inverse()))
        else:
            self.precision_cholesky.copy_(fitted.covariance_KFF.diagonal(dim1=-2, dim2=-1).rsqrt())
        self.log_weight_K.copy_(fitted.log_weight_K)

    def _variance_KF(self) -> Tensor:
        return self.precision_cholesky.square().reciprocal()

    def _incomplete_log_prob(self, rows_NF: Tensor) -> tuple[Tensor, Tensor]:
        if not self.full:
            return super()._incomplete_log_prob(rows_NF)
        log_prob_NK = rows_NF.new_empty(len(rows_NF), self.n_components)
        expected_NKF = rows_NF.new_empty(*log_prob_NK.shape, self.latent_dim)
        covariance_KFF = torch.cholesky_inverse(self.precision_cholesky.double())
        for part in completions(rows_NF, self.mean_KD.double(), covariance_KFF):
            log_prob_NK[part.row_R], expected_NKF[part.row_R] = part.log_prob_RK, part.expected_RKF
        return log_prob_NK, expected_NKF

    def _complete_log_prob(self, x_ND: Tensor) -> tuple[Tensor, Responsibilities]:
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
        """Run Lloyd's iterations from the clusters' centres, on all rows but noise."""
        label_N, code_NM, weight_N = without_noise(label_N, code_NM, weight_N)
        if code_NM.isnan().any():
            rows_NF = code_NM.double().cpu()
            weight_N = torch.ones(len(rows_NF), dtype=rows_NF.dtype) if weight_N is None else weight_N.double().cpu()
            centres, variance = fit_centres(rows_NF, label_N.cpu(), self.n_components, weight_N)
            self.mean_KD.copy_(centres)
            self.log_var.fill_(math.log(max(variance, MIN_VARIANCE)))
            return
        rows = code_NM.double().cpu()
        weights = None if weight_N is None else weight_N.double().cpu()
        centres_KD = cluster_moments(rows, label_N.cpu(), self.n_components, weights)[0].mean
        kmeans = KMeans(self.n_components, init=centres_KD.numpy(), n_init=1)
        fitted = kmeans.fit(rows.numpy(), sample_weight=None if weights is None else weights.numpy())
        self.mean_KD.copy_(torch.from_numpy(fitted.cluster_centers_))
        self.log_var.fill_(math.log(max(fitted.inertia_ / rows.numel(), MIN_VARIANCE)))

    def _variance_KF(self) -> Tensor:
        return self.log_var.exp().expand_as(self.mean_KD)

    def _complete_log_prob(self, x_ND: Tensor) -> tuple[Tensor, Responsibilities]:
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
