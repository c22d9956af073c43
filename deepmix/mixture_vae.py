"""The one model of the grid: encoder, decoder, prior and q(y|x) estimator assembled into a mixture of VAEs.

    ELBO(x) = sum_k q_k [ log p(x|z_k) - beta ( KL_k - log p(y_k) + log q_k ) ]

A recipe names the four parts. See `deepmix.types` for the shape legend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from deepmix import ops
from deepmix.errors import UsageError
from deepmix.interfaces import Decoder, Encoder, Model, PosteriorEstimator, Prior
from deepmix.likelihoods import Likelihood
from deepmix.objective import ObjectiveOptions
from deepmix.reference import jensen_shannon, reparameterise
from deepmix.types import Dims, Elbo, Gaussian, Latents, Responsibilities

INITIAL_LOG_VAR = 2.0 * math.log(0.2)
"""log-variance heads start from: posteriors a fifth as wide as the codes' unit spread."""
MIN_SCALE = 1e-3
"""Floor of a code's spread (standard deviation) when codes are rescaled."""
MIN_COMPONENT_VARIANCE = 1e-3
"""Floor of a prior component's variance where it is placed; the codes' own variance is 1."""


@dataclass(frozen=True)
class MixtureOptions:
    """What kind of mixture of VAEs; defaults come from the recipe."""

    assignment: Literal["soft", "hard"] = field(
        default="soft", metadata={"help": "how q(y|x) weighs the components: as it is, or all on the largest"}
    )
    likelihood: Literal["auto", "bernoulli", "gaussian", "gaussian-learned"] = field(
        default="auto",
        metadata={"help": "p(x|z); auto: bernoulli where the data lie in 0..1, else gaussian"},
    )
    samples: int = field(default=1, metadata={"help": "L, Monte-Carlo samples of z a row"})
    decode_threshold: float = field(
        default=1e-3, metadata={"help": "components with q(y|x) below this are not decoded; 0 decodes all"}
    )
    noise: bool = field(
        default=True, metadata={"help": "draw z from q(z|y,x); false: z is its mean, and no KL: a plain autoencoder"}
    )
    graph_weight: float = field(
        default=0.0,
        metadata={"help": "weight of the divergence between the q(y|x) of neighbouring rows (DGG); 0: no graph"},
    )
    graph_neighbours: int = field(default=10, metadata={"help": "neighbours of a row in that graph"})

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"samples must be at least 1, got {self.samples}")
        if not 0.0 <= self.decode_threshold < 1.0:
            raise UsageError(f"decode_threshold must be at least 0 and below 1, got {self.decode_threshold}")
        if not 0.0 <= self.graph_weight < math.inf:
            raise UsageError(f"graph_weight must be at least 0 and finite, got {self.graph_weight}")
        if self.graph_neighbours < 1:
            raise UsageError(f"graph_neighbours must be at least 1, got {self.graph_neighbours}")


@dataclass(frozen=True)
class Recipe:
    """A model of the grid: the names of its parts and what its options default to."""

    summary: str
    posterior: str
    prior: str
    heads: Literal["one", "per-component"]
    """One latent shared by all components (VAE, VaDE), or one encoder head each."""
    encoder: str = "mlp"
    decoder: str = "mlp"
    init: str = "graph"
    """Name of the initial clustering the model starts from unless another is asked for."""
    options: MixtureOptions = MixtureOptions()
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    single_component: bool = False
    """True for the plain VAE, whose K is 1 whatever the number of clusters."""


class MixtureVAE(Model):
    """A mixture of VAEs: soft or hard, any of the papers' E-steps, standard or mixture prior."""

    def __init__(
        self,
        dims: Dims,
        encoder: Encoder,
        decoder: Decoder,
        prior: Prior,
        posterior: PosteriorEstimator,
        likelihood: Likelihood,
        options: MixtureOptions,
    ) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.n_heads = dims.n_heads
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.posterior, self.likelihood, self.options = posterior, likelihood, options
        self.n_neighbours = options.graph_neighbours if options.graph_weight > 0.0 else 0

    def pretraining_loss(self, x_ND: Tensor) -> Tensor:
        """Return the negative log-likelihood of the rows given their codes."""
        return -self.likelihood.log_prob(x_ND, self._decode_codes(self.encoder.code(x_ND)))

    @torch.no_grad()
    def pretrained(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pretrained codes and the squared error of their decoding, mean over features."""
        code_NM = self.encoder.code(x_ND)
        mean_ND = self.likelihood.mean(self._decode_codes(code_NM))
        return at_least_float32(code_NM), (x_ND - mean_ND).square().mean(-1)

    def _decode_codes(self, code_NM: Tensor) -> Tensor:
        counts_H = [len(code_NM)] + [0] * (self.n_heads - 1)
        return at_least_float32(self.decoder(code_NM, counts_H))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, labels_N: Tensor) -> None:
        """Rescale the codes to unit spread, copy the pretrained head to all K and take the prior's moments."""
        shift_M, scale_M = code_NM.mean(0), code_NM.std(0).clamp_min(MIN_SCALE)
        self.encoder.place(shift_M, scale_M, INITIAL_LOG_VAR)
        self.decoder.place(shift_M, scale_M)
        z_NM = (code_NM - shift_M) / scale_M
        noise = self.likelihood.noise_error(self._decode_codes, z_NM, INITIAL_LOG_VAR) if self.options.noise else 0.0
        self.likelihood.place(float(squared_error_N.mean()) + noise)
        self.prior.place(*cluster_moments(z_NM, labels_N, self.n_components))

    def elbo(
        self,
        x_ND: Tensor,
        generator: torch.Generator,
        *,
        beta: float,
        anchor: float = 0.0,
        labels_N: Tensor | None = None,
        hold: bool = False,
        neighbour_ND: Tensor | None = None,
    ) -> Elbo:
        """Return the bound: the E-step first, then only the components it gives weight to are decoded.

        q(y|x) is the E-step's result and held fixed in the M-step, whatever the estimator: at eq. 5's optimum
        with beta = 1 its gradient is 0 anyway; elsewhere (VaDE's eq. 16 too, and beta other than 1, which the
        E-step does not see) this is EM's alternation, not the gradient of one objective.

        The anchor's and the graph's gradients take log p(x|z_k) as a constant where it enters q(y|x) (eq. 5,
        k-DVAE): the encoder and the prior follow the initial labels and the neighbours, the decoder only reconstructs.
        """
        latents = self._latents(x_ND, generator)
        found = self._e_step(x_ND, latents)
        log_q_NK = found.log_q_NK
        z_LNHM = latents.z_LNHM if found.z_LNHM is None else found.z_LNHM
        if hold:
            if labels_N is None:
                raise ValueError("hold needs the initial labels: pass labels_N")
            weight_NK = functional.one_hot(labels_N, self.n_components).to(log_q_NK.dtype)
        else:
            weight_NK = assignment_weights(log_q_NK.detach(), self.options.assignment)
        weight_NK, dropped_N = drop_negligible(weight_NK, self.options.decode_threshold)

        log_likelihood_NK = self._decode_kept(x_ND, z_LNHM, weight_NK > 0.0)
        reconstruction_N = (weight_NK * log_likelihood_NK).sum(-1)
        kl_latent_N = (weight_NK * latents.kl_NK).sum(-1)
        kl_assignment_N = categorical_kl(weight_NK, latents.prior.log_weight_K)
        objective_N = reconstruction_N - beta * (kl_latent_N + kl_assignment_N)
        if anchor > 0.0:
            if labels_N is None:
                raise ValueError("anchor needs the initial labels: pass labels_N")
            objective_N = objective_N - anchor * functional.nll_loss(log_q_NK, labels_N, reduction="none")
        if neighbour_ND is not None:
            log_neighbour_NK = self._e_step(neighbour_ND, self._latents(neighbour_ND, generator)).log_q_NK
            objective_N = objective_N - self.options.graph_weight * jensen_shannon(log_q_NK, log_neighbour_NK)
        return Elbo.of(objective_N, reconstruction_N, kl_latent_N, kl_assignment_N, log_q_NK, dropped_N)

    @torch.no_grad()
    def infer(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Return log q(y|x) and the MAP component's posterior mean, both at the means (k-DVAE eq. 8)."""
        latents = self._latents(x_ND, None)
        log_q_NK = self._e_step(x_ND, latents).log_q_NK
        n_rows = x_ND.shape[0]  # not len(), which torch.export takes for a constant
        head_N = log_q_NK.argmax(-1) if self.n_heads > 1 else log_q_NK.new_zeros(n_rows, dtype=torch.long)
        return log_q_NK, latents.posterior.mean[torch.arange(n_rows, device=x_ND.device), head_N]

    @torch.no_grad()
    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Generate rows of one component (VaDE, section 3.1)."""
        prior = self.prior()
        shape = (n_rows, self.latent_dim)
        like = prior.log_weight_K
        z_RM = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
        if prior.components is not None:
            mean_M, log_var_M = prior.components.mean[component], prior.components.log_var[component]
            z_RM = reparameterise(z_RM, mean_M, log_var_M)
        counts_H = [0] * self.n_heads
        counts_H[component if self.n_heads > 1 else 0] = n_rows
        return self.likelihood.mean(at_least_float32(self.decoder(z_RM, counts_H)))

    def _latents(self, x_ND: Tensor, generator: torch.Generator | None) -> Latents:
        posterior = self.encoder(x_ND)
        posterior = Gaussian(at_least_float32(posterior.mean), at_least_float32(posterior.log_var))
        prior = self.prior()
        kl_NK = ops.component_kl(posterior, prior)
        noise_LNHM = posterior.noise(self.options.samples, generator if self.options.noise else None)
        return Latents(
            noise_LNHM=noise_LNHM,
            posterior=posterior,
            prior=prior,
            kl_NK=kl_NK if self.options.noise else torch.zeros_like(kl_NK),
            at_mean=generator is None,
            drawn_LNHM=posterior.at(noise_LNHM) if self.posterior.needs_likelihood else None,  # to be decoded first
        )

    def _e_step(self, x_ND: Tensor, latents: Latents) -> Responsibilities:
        """Return q(y|x), and z where it was drawn with it."""
        all_LNK = self._decode_all(x_ND, latents) if self.posterior.needs_likelihood else None
        found: Responsibilities = self.posterior(latents, all_LNK)
        return found

    @torch.no_grad()
    def _decode_all(self, x_ND: Tensor, latents: Latents) -> Tensor:
        """Return log p(x|z_k) of every component for the E-step, (L, N, K); it needs no gradient (eq. 5)."""
        n_samples, n_rows, n_heads, latent_dim = latents.z_LNHM.shape
        z_RM = latents.z_LNHM.permute(2, 0, 1, 3).reshape(-1, latent_dim)
        x_RD = x_ND.expand(n_heads * n_samples, *x_ND.shape).flatten(0, 1)
        outputs_RP = at_least_float32(self.decoder(z_RM, [n_samples * n_rows] * n_heads))
        log_likelihood_HLN = self.likelihood.log_prob(x_RD, outputs_RP).view(n_heads, n_samples, n_rows)
        return log_likelihood_HLN.permute(1, 2, 0).expand(n_samples, n_rows, self.n_components)

    def _decode_kept(self, x_ND: Tensor, z_LNHM: Tensor, keep_NK: Tensor) -> Tensor:
        """Return log p(x|z_k), mean over samples, (N, K), of the kept components; 0 elsewhere."""
        keep_NH = keep_NK if self.n_heads > 1 else keep_NK.any(-1, keepdim=True)
        return self._log_likelihood(x_ND, z_LNHM, keep_NH).mean(0).expand(keep_NK.shape)

    def _log_likelihood(self, x_ND: Tensor, z_LNHM: Tensor, keep_NH: Tensor) -> Tensor:
        """Decode the kept (row, head) pairs in one packed call; (L, N, H) with 0 where not kept."""
        n_samples = z_LNHM.shape[0]
        packed_HLN = keep_NH.T.unsqueeze(1).expand(-1, n_samples, -1)
        head_R, sample_R, row_R = packed_HLN.nonzero(as_tuple=True)
        counts_H = (keep_NH.sum(0) * n_samples).tolist()
        outputs_RP = at_least_float32(self.decoder(z_LNHM[sample_R, row_R, head_R], counts_H))
        log_likelihood_R = self.likelihood.log_prob(x_ND[row_R], outputs_RP)
        log_likelihood_LNH = log_likelihood_R.new_zeros(n_samples, *keep_NH.shape)
        return log_likelihood_LNH.index_put((sample_R, row_R, head_R), log_likelihood_R)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Bring a network's half-precision output to float32; densities are never computed in less."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def assignment_weights(log_q_NK: Tensor, assignment: str) -> Tensor:
    """Return q(y|x) for soft assignment, or 1 on its largest component for hard (k-DVAE eq. 5)."""
    if assignment == "soft":
        return log_q_NK.exp()
    return functional.one_hot(log_q_NK.argmax(-1), log_q_NK.shape[-1]).to(log_q_NK.dtype)


def drop_negligible(weight_NK: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Set weights below the threshold to 0 and renormalise; also return the dropped mass, (N,).

    The result is itself a distribution over y, so the ELBO with it is still a lower bound. The largest
    weight of a row is always kept, and at most (K - 1) * threshold is dropped.
    """
    if threshold == 0.0:
        return weight_NK, weight_NK.new_zeros(len(weight_NK))
    largest_N1 = weight_NK.amax(-1, keepdim=True)
    kept_NK = weight_NK.where(weight_NK >= torch.clamp(largest_N1, max=threshold), 0.0)
    mass_N1 = kept_NK.sum(-1, keepdim=True)
    return kept_NK / mass_N1, (1.0 - mass_N1.squeeze(-1)).clamp_min(0.0)


def categorical_kl(weight_NK: Tensor, log_weight_K: Tensor) -> Tensor:
    """Return KL(q(y|x) || p(y)), shape (N,); components of weight 0 count 0 (VaDE eq. 12)."""
    log_ratio_NK = torch.log(weight_NK.where(weight_NK > 0.0, 1.0)) - log_weight_K
    return (weight_NK * log_ratio_NK.where(weight_NK > 0.0, 0.0)).sum(-1)


def cluster_moments(z_NM: Tensor, labels_N: Tensor, n_components: int) -> tuple[Gaussian, Tensor]:
    """Return the mean and log-variance (K, M) of each cluster's latents and its weight (K,).

    An empty cluster gets the moments of all rows; weights are smoothed by one row each, so none is 0.
    """
    one_hot_NK = functional.one_hot(labels_N, n_components).to(z_NM.dtype)
    count_K1 = one_hot_NK.sum(0).unsqueeze(-1)
    filled_K1 = count_K1.clamp_min(1.0)
    mean_KM = torch.where(count_K1 > 0, one_hot_NK.T @ z_NM / filled_K1, z_NM.mean(0))
    second_KM = torch.where(count_K1 > 0, one_hot_NK.T @ z_NM.square() / filled_K1, z_NM.square().mean(0))
    variance_KM = (second_KM - mean_KM.square()).clamp_min(MIN_COMPONENT_VARIANCE)
    weight_K = (count_K1.squeeze(-1) + 1.0) / (len(z_NM) + n_components)
    return Gaussian(mean_KM, variance_KM.log()), weight_K
