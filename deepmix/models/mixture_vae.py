"""The grid's single model class: encoder, decoder, prior and q(y|x) estimator assembled into a mixture of VAEs.

    ELBO(x) = sum_k q_k [ log p(x|z_k) - beta ( KL_k - log p(y_k) + log q_k ) ]

A recipe names the four parts. See `deepmix.maths.values` for the shape legend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepmix.contracts import (
    Batch,
    Decoder,
    DensityPrior,
    Encoder,
    Loss,
    LossTerm,
    MixtureStep,
    Model,
    Placement,
    PosteriorEstimator,
    Prior,
    PriorPlacement,
)
from deepmix.kernels import ops
from deepmix.maths import (
    Dims,
    Gaussian,
    Latents,
    Responsibilities,
    assignment_weights,
    at_least_float32,
    categorical_kl,
    cluster_moments,
    draw_component,
    drop_negligible,
    jensen_shannon,
    reparameterise,
    weighted_mean_and_spread,
)
from deepmix.models.likelihoods import Composite
from deepmix.models.mixture_options import MixtureOptions

INITIAL_LOG_VAR = 2.0 * math.log(0.2)
"""Initial value of the log-variance heads: posteriors are a fifth as wide as the codes' unit spread."""
MIN_SCALE = 1e-3
"""Floor of a code's spread (standard deviation) when codes are rescaled."""
KL_SAMPLES = 16
"""Fixed samples of z from which the KL to a prior with a density of its own is estimated outside training."""


class MixtureVAE(Model):
    """A mixture of VAEs: soft or hard, any of the papers' E-steps, any prior."""

    kl_noise_L11M: Tensor

    def __init__(
        self,
        dims: Dims,
        encoder: Encoder,
        decoder: Decoder,
        prior: Prior,
        posterior: PosteriorEstimator,
        likelihood: Composite,
        options: MixtureOptions,
        terms: Mapping[str, LossTerm] | None = None,
    ) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.n_heads, self.n_conditions = dims.n_heads, dims.n_conditions
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.posterior, self.likelihood, self.options = posterior, likelihood, options
        self.terms = nn.ModuleDict(terms or {})
        self.n_neighbours = options.graph_neighbours if options.graph_weight > 0.0 else 0
        self.generates_from_rows = self.n_components > 1
        self.lr_factor = encoder.lr_factor
        prior.bind(encoder)
        if isinstance(prior, DensityPrior):
            half_L11M = torch.randn(KL_SAMPLES // 2, 1, 1, dims.latent_dim, generator=torch.Generator().manual_seed(0))
            self.register_buffer("kl_noise_L11M", torch.cat([half_L11M, -half_L11M]), persistent=False)

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given their codes."""
        outputs_NP = self._decode_codes(self.encoder.code(batch.x_ND), batch.condition_NQ)
        log_likelihood_N = self.likelihood.log_prob(batch.target_NC, outputs_NP)
        return Loss(log_likelihood_N, log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the pretrained codes and the squared error of their decoding, averaged over features."""
        code_NM = self.encoder.code(batch.x_ND)
        outputs_NP = self._decode_codes(code_NM, batch.condition_NQ)
        return at_least_float32(code_NM), self.likelihood.squared_error(batch.target_NC, outputs_NP)

    def _decode_codes(self, code_NM: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        counts_H = [len(code_NM)] + [0] * (self.n_heads - 1)
        return self._outputs(code_NM, counts_H, condition_NQ)

    def _outputs(self, z_RM: Tensor, counts_H: list[int], condition_RQ: Tensor | None) -> Tensor:
        """Return the decoder's outputs, (R, P), for latents sorted by head; None: all conditions are 0, the average."""
        if self.n_conditions:
            if condition_RQ is None:
                condition_RQ = z_RM.new_zeros(z_RM.shape[0], self.n_conditions)
            z_RM = torch.cat([z_RM, condition_RQ.to(z_RM.dtype)], dim=-1)
        return at_least_float32(self.decoder(z_RM, counts_H))

    def clustering_view(self, x_ND: Any) -> Any:
        """Return the rows as the encoder would have them clustered, or the likelihood, if the encoder has no view."""
        if type(self.encoder).clustering_view is not Encoder.clustering_view:
            return self.encoder.clustering_view(x_ND)
        return self.likelihood.clustering_view(x_ND)

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Rescale the codes to unit spread, copy the pretrained head to all K and give the prior the moments."""
        self.place_on(Placement(code_NM, squared_error_N, label_N, weight_N))

    @torch.no_grad()
    def place_on(self, start: Placement) -> None:
        """Do what `place` does; the prior sees the training rows too."""
        code_NM, weight_N = start.code_NM, start.weight_N
        shift_M, scale_M = weighted_mean_and_spread(code_NM, weight_N, MIN_SCALE)
        self.encoder.place(shift_M, scale_M, INITIAL_LOG_VAR)
        self.decoder.place(*self._beside_conditions(shift_M, scale_M))
        z_NM = (code_NM - shift_M) / scale_M
        noise = self.likelihood.noise_error(self._decode_codes, z_NM, INITIAL_LOG_VAR) if self.options.noise else 0.0
        self.likelihood.place(float(start.squared_error_N.mean()) + noise)
        components, weight_K = cluster_moments(z_NM, start.label_N, self.n_components, weight_N)
        self.prior.place_on(PriorPlacement(z_NM, start.label_N, components, weight_K, weight_N, start.batches))

    def _beside_conditions(self, shift_M: Tensor, scale_M: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shift and scale of the decoder's whole input, whose conditions stay as they are."""
        if not self.n_conditions:
            return shift_M, scale_M
        zeros_Q = shift_M.new_zeros(self.n_conditions)
        return torch.cat([shift_M, zeros_Q]), torch.cat([scale_M, zeros_Q + 1.0])

    def training_loss(self, batch: Batch) -> Loss:
        """Return the bound; the E-step runs first, and only the components that it gives weight to are decoded.

        For every estimator, q(y|x) is the result of the E-step and is held fixed in the M-step. At the optimum of eq. 5
        with beta = 1 its gradient is 0 anyway. Otherwise (also for VaDE's eq. 16, and for beta other than 1, which the
        E-step does not see) this is EM's alternation, not the gradient of one objective.

        The gradients of the anchor and the graph treat log p(x|z_k) as a constant where it enters q(y|x) (eq. 5,
        k-DVAE): the encoder and prior follow the initial labels and the neighbours; the decoder only reconstructs.
        """
        x_ND, phase = batch.x_ND, batch.phase
        latents = self._latents(x_ND, batch.generator)
        responsibilities = self._e_step(batch, latents)
        log_q_NK = responsibilities.log_q_NK
        z_LNHM = latents.z_LNHM if responsibilities.z_LNHM is None else responsibilities.z_LNHM
        if phase.hold:
            weight_NK = batch.held_weights(log_q_NK)
        else:
            weight_NK = assignment_weights(log_q_NK.detach(), self.options.assignment)
        weight_NK, dropped_N = drop_negligible(weight_NK, self.options.decode_threshold)

        log_likelihood_NK = self._decode_kept(batch, z_LNHM, weight_NK > 0.0)
        reconstruction_N = (weight_NK * log_likelihood_NK).sum(-1)
        kl_latent_N = (weight_NK * latents.kl_NK).sum(-1)
        kl_assignment_N = categorical_kl(weight_NK, latents.prior.log_weight_K)
        costs: dict[str, Tensor] = {}
        if phase.anchor > 0.0:
            costs["anchor"] = batch.anchor_cost(log_q_NK)
        if batch.neighbours is not None:
            neighbour_latents = self._latents(batch.neighbours.x_ND, batch.generator)
            log_neighbour_NK = self._e_step(batch.neighbours, neighbour_latents).log_q_NK
            costs["graph"] = self.options.graph_weight * jensen_shannon(log_q_NK, log_neighbour_NK)
        step = MixtureStep(batch, latents, log_q_NK, weight_NK)
        costs |= {name: term(step) for name, term in self.terms.items()}
        return Loss.of_bound(
            reconstruction_N,
            kl_latent_N,
            kl_assignment_N,
            log_q_NK,
            objective_N=reconstruction_N - phase.beta * (kl_latent_N + kl_assignment_N),
            costs=costs,
            dropped_N=dropped_N,
        )

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x) and the MAP component's posterior mean, both at the means (k-DVAE eq. 8)."""
        x_ND = batch.x_ND
        latents = self._latents(x_ND, None)
        log_q_NK = self._e_step(batch, latents).log_q_NK
        n_rows = x_ND.shape[0]  # not len(), which torch.export takes for a constant
        head_N = log_q_NK.argmax(-1) if self.n_heads > 1 else log_q_NK.new_zeros(n_rows, dtype=torch.long)
        return log_q_NK, latents.posterior.mean[torch.arange(n_rows, device=x_ND.device), head_N]

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents of one component (VaDE, section 3.1)."""
        if isinstance(self.prior, DensityPrior):
            return self.prior.sample(n_rows, component, generator)
        prior = self.prior()
        shape = (n_rows, self.latent_dim)
        like = prior.log_weight_K
        z_RM = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
        if prior.components is not None:
            mean_M, log_var_M = prior.components.mean[component], prior.components.log_var[component]
            z_RM = reparameterise(z_RM, mean_M, log_var_M)
        return z_RM

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from q(y|x) and z from q(z|y,x); without a generator the most probable y and the mean of z."""
        row_N = torch.arange(len(batch.x_ND), device=batch.x_ND.device)
        if batch.phase.stage == "pretrain":
            return torch.zeros_like(row_N), at_least_float32(self.encoder.code(batch.x_ND))
        latents = self._latents(batch.x_ND, batch.generator)
        responsibilities = self._e_step(batch, latents)
        z_LNHM = latents.z_LNHM if responsibilities.z_LNHM is None else responsibilities.z_LNHM
        component_N = draw_component(responsibilities.log_q_NK, batch.generator)
        return component_N, z_LNHM[0, row_N, component_N if self.n_heads > 1 else 0]

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the outputs of each row's decoder, (N, P)."""
        if self.n_heads == 1:
            return self._outputs(z_NM, [len(z_NM)], condition_NQ)
        order_N = component_N.argsort(stable=True)
        counts_H = torch.bincount(component_N, minlength=self.n_heads).tolist()
        condition_RQ = None if condition_NQ is None else condition_NQ[order_N]
        return self._outputs(z_NM[order_N], counts_H, condition_RQ)[order_N.argsort()]

    def _latents(self, x_ND: Tensor, generator: torch.Generator | None) -> Latents:
        posterior = self.encoder(x_ND)
        posterior = Gaussian(at_least_float32(posterior.mean), at_least_float32(posterior.log_var))
        prior = self.prior()
        noise_LNHM = posterior.noise(self.options.samples, generator if self.options.noise else None)
        drawn_LNHM, log_prior_LNK = None, None
        if isinstance(self.prior, DensityPrior):
            drawn_LNHM = posterior.at(noise_LNHM)
            log_prior_LNK = self.prior.log_prob(drawn_LNHM)
            kl_NK = self.prior.kl(posterior, posterior.at(self.kl_noise_L11M) if noise_LNHM is None else drawn_LNHM)
        else:
            kl_NK = ops.component_kl(posterior, prior)
            if self.posterior.needs_likelihood:  # the samples are decoded first
                drawn_LNHM = posterior.at(noise_LNHM)
        return Latents(
            noise_LNHM=noise_LNHM,
            posterior=posterior,
            prior=prior,
            kl_NK=kl_NK if self.options.noise else torch.zeros_like(kl_NK),
            at_mean=generator is None,
            drawn_LNHM=drawn_LNHM,
            log_prior_LNK=log_prior_LNK,
        )

    def _e_step(self, batch: Batch, latents: Latents) -> Responsibilities:
        """Return q(y|x), with z where the E-step drew it."""
        all_LNK = self._decode_all(batch, latents) if self.posterior.needs_likelihood else None
        responsibilities: Responsibilities = self.posterior(latents, all_LNK)
        return responsibilities

    @torch.no_grad()
    def _decode_all(self, batch: Batch, latents: Latents) -> Tensor:
        """Return log p(x|z_k) for every component, (L, N, K), for the E-step; no gradient is needed (eq. 5)."""
        log_likelihood_LNH = self._all_log_likelihoods(batch, latents.z_LNHM)
        return log_likelihood_LNH.expand(*log_likelihood_LNH.shape[:2], self.n_components)

    def _decode_kept(self, batch: Batch, z_LNHM: Tensor, keep_NK: Tensor) -> Tensor:
        """Return log p(x|z_k), averaged over samples, (N, K), where `keep_NK` is true; 0 elsewhere."""
        keep_NH = keep_NK if self.n_heads > 1 else keep_NK.any(-1, keepdim=True)
        if self.options.decode_all:
            log_likelihood_LNH = torch.where(keep_NH, self._all_log_likelihoods(batch, z_LNHM), 0.0)
        else:
            log_likelihood_LNH = self._kept_log_likelihoods(batch, z_LNHM, keep_NH)
        return log_likelihood_LNH.mean(0).expand(keep_NK.shape)

    def _all_log_likelihoods(self, batch: Batch, z_LNHM: Tensor) -> Tensor:
        """Decode every (row, head) pair, (L, N, H); the host, which knows how many there are, reads nothing back."""
        n_samples, n_rows, n_heads, latent_dim = z_LNHM.shape
        z_RM = z_LNHM.permute(2, 0, 1, 3).reshape(-1, latent_dim)
        target_NC, condition_NQ = batch.target_NC, batch.condition_NQ
        x_RC = target_NC.expand(n_heads * n_samples, *target_NC.shape).flatten(0, 1)
        condition_RQ = None if condition_NQ is None else condition_NQ.repeat(n_heads * n_samples, 1)
        outputs_RP = self._outputs(z_RM, [n_samples * n_rows] * n_heads, condition_RQ)
        return self.likelihood.log_prob(x_RC, outputs_RP).view(n_heads, n_samples, n_rows).permute(1, 2, 0)

    def _kept_log_likelihoods(self, batch: Batch, z_LNHM: Tensor, keep_NH: Tensor) -> Tensor:
        """Decode the (row, head) pairs in `keep_NH` in one packed call; return (L, N, H), 0 for other pairs."""
        n_samples = z_LNHM.shape[0]
        packed_HLN = keep_NH.T.unsqueeze(1).expand(-1, n_samples, -1)
        head_R, sample_R, row_R = packed_HLN.nonzero(as_tuple=True)
        counts_H = (keep_NH.sum(0) * n_samples).tolist()
        condition_RQ = None if batch.condition_NQ is None else batch.condition_NQ[row_R]
        outputs_RP = self._outputs(z_LNHM[sample_R, row_R, head_R], counts_H, condition_RQ)
        log_likelihood_R = self.likelihood.log_prob(batch.target_NC[row_R], outputs_RP)
        log_likelihood_LNH = log_likelihood_R.new_zeros(n_samples, *keep_NH.shape)
        return log_likelihood_LNH.index_put((sample_R, row_R, head_R), log_likelihood_R)
