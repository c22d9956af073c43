"""DLGMM: a VAE whose posterior is a mixture with stick-breaking weights (Nalisnick, Hertel & Smyth 2016).

    pi ~ Dirichlet(concentration)    z | pi ~ N(0, I)    x ~ p(x|z)
    q(pi, z | x) = q(pi|x) sum_k pi_k N(z; mu_k(x), sigma_k^2(x))

The weights are the pieces of a broken stick: q(v_k|x) is a Kumaraswamy distribution, and the Dirichlet distribution
is p(v_k) = Beta(concentration, (K - k) concentration), for k from 1 to K - 1.

    ELBO(x) = E_pi sum_k pi_k E[log p(x|z_k) + log p(z_k) - log sum_j pi_j N(z_k; mu_j, sigma_j^2)]
              - sum_k KL(q(v_k|x) || p(v_k))

The paper lets the components have prior means of their own; here they are all 0, so that z has the prior of a plain
VAE. q(y|x) is E[pi]. Nothing in the paper makes the components clusters; here they start from initial clusters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from deepmix.contracts import Batch, Loss, Model
from deepmix.errors import UsageError
from deepmix.maths import Dims, Gaussian, at_least_float32, draw_component, gaussian_log_prob, weighted_mean_and_spread
from deepmix.models import INITIAL_LOG_VAR, MIN_SCALE, Composite, NetworkOptions, TrunkEncoder, mlp

from .sticks import draw_fractions, fraction_kl, mean_fractions, piece_lengths, raw_of, shape_of


@dataclass(frozen=True)
class DlgmmOptions(NetworkOptions):
    """Options of the DLGMM."""

    concentration: float = field(
        default=1.0, metadata={"help": "of the Dirichlet prior of the weights; below 1, it favours few components"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.concentration <= 0.0:
            raise UsageError(f"concentration must be above 0, got {self.concentration}")


def mixture_log_prob(z_NKM: Tensor, posterior: Gaussian, log_weight_NK: Tensor) -> Tensor:
    """Return log sum_j w_j N(z_k; mu_j, sigma_j^2) for each row and each of its K latents, (N, K)."""
    mean_N1KM, log_var_N1KM = posterior.mean.unsqueeze(1), posterior.log_var.unsqueeze(1)
    log_prob_NKK = gaussian_log_prob(z_NKM.unsqueeze(2), mean_N1KM, log_var_N1KM)
    return (log_weight_NK.unsqueeze(1) + log_prob_NKK).logsumexp(-1)


@final
class Dlgmm(Model):
    """DLGMM: a VAE with a mixture as its posterior, weighted by stick breaking (Nalisnick et al. 2016)."""

    Options = DlgmmOptions
    alpha_S: Tensor
    beta_S: Tensor

    def __init__(self, dims: Dims, likelihood: Composite, options: DlgmmOptions) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.likelihood, self.options = likelihood, options
        self.generates_from_rows = self.n_components > 1
        widths, n_fractions = options.widths(dims.n_features), max(1, dims.n_components - 1)
        self.trunk = mlp((dims.n_features, *widths))
        per_component = Dims(widths[-1], dims.n_outputs, dims.n_components, dims.n_components, dims.latent_dim)
        self.gaussians = TrunkEncoder(per_component, nn.Identity(), widths[-1])
        self.shapes = nn.Linear(widths[-1], 2 * n_fractions)
        self.decoder = mlp((dims.latent_dim, *reversed(widths)))
        self.outputs = nn.Linear(widths[0], dims.n_outputs)
        alpha_S = torch.full((n_fractions,), options.concentration)
        beta_S = options.concentration * torch.arange(float(n_fractions), 0.0, -1.0)
        self.register_buffer("alpha_S", alpha_S, persistent=False)
        self.register_buffer("beta_S", beta_S, persistent=False)
        with torch.no_grad():  # equal weights in every row
            nn.init.zeros_(self.shapes.weight)
            self.shapes.bias.copy_(raw_of(torch.cat([torch.ones(n_fractions), beta_S / options.concentration])))

    @classmethod
    def likelihood_name(cls, options: DlgmmOptions) -> str:
        """Return the observation model that the options name, or 'auto'."""
        return options.likelihood

    def _posterior(self, features: Tensor) -> Gaussian:
        """Return the components of q(z|pi,x), (N, K, M)."""
        posterior = self.gaussians(features)
        return Gaussian(at_least_float32(posterior.mean), at_least_float32(posterior.log_var))

    def _shapes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b of each fraction's posterior, (N, K - 1)."""
        raw_NS, other_NS = at_least_float32(self.shapes(features)).chunk(2, dim=-1)
        n_fractions = self.n_components - 1
        return shape_of(raw_NS[:, :n_fractions]), shape_of(other_NS[:, :n_fractions])

    def _log_q(self, features: Tensor) -> Tensor:
        """Return log E[pi], (N, K)."""
        return piece_lengths(*mean_fractions(*self._shapes(features))).log_softmax(-1)

    def _decode(self, z_RM: Tensor) -> Tensor:
        return at_least_float32(self.outputs(self.decoder(z_RM)))

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given the first component's means."""
        outputs_NP = self._decode(self.gaussians.code(self.trunk(batch.x_ND)))
        log_likelihood_N = self.likelihood.log_prob(batch.target_NC, outputs_NP)
        return Loss(log_likelihood_N, log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the first component's means and the squared error of their decoding."""
        code_NM = at_least_float32(self.gaussians.code(self.trunk(batch.x_ND)))
        return code_NM, self.likelihood.squared_error(batch.target_NC, self._decode(code_NM))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Rescale the codes to unit spread, the prior's, and copy them to all components."""
        shift_M, scale_M = weighted_mean_and_spread(code_NM, weight_N, MIN_SCALE)
        self.gaussians.place(shift_M, scale_M, INITIAL_LOG_VAR)
        first = self.decoder[0]
        assert isinstance(first, nn.Linear)
        first.bias.add_(first.weight @ shift_M)
        first.weight.mul_(scale_M)
        z_NM = (code_NM - shift_M) / scale_M
        noise = self.likelihood.noise_error(self._decode, z_NM, INITIAL_LOG_VAR)
        self.likelihood.place(float(squared_error_N.mean()) + noise)

    def training_loss(self, batch: Batch) -> Loss:
        """Return the bound at one sample of the weights and of each component's latents."""
        features, phase = self.trunk(batch.x_ND), batch.phase
        posterior, shapes = self._posterior(features), self._shapes(features)
        log_q_NK = self._log_q(features)
        if phase.hold:
            weight_NK = batch.held_weights(log_q_NK)
            log_weight_NK = weight_NK.log()
        else:
            log_weight_NK = piece_lengths(*draw_fractions(*shapes, batch.generator)).log_softmax(-1)
            weight_NK = log_weight_NK.exp()
        z_NKM = posterior.sample(1, batch.generator)[0]
        reconstruction_N = (weight_NK * self._log_likelihood(batch.target_NC, z_NKM)).sum(-1)
        log_ratio_NK = mixture_log_prob(z_NKM, posterior, log_weight_NK) - gaussian_log_prob(z_NKM, None, None)
        kl_latent_N = (weight_NK * log_ratio_NK).sum(-1)
        n_fractions = self.n_components - 1
        kl_weights_N = fraction_kl(*shapes, self.alpha_S[:n_fractions], self.beta_S[:n_fractions]).sum(-1)
        costs = {"anchor": batch.anchor_cost(log_q_NK)} if phase.anchor > 0.0 else {}
        return Loss.of_bound(
            reconstruction_N,
            kl_latent_N,
            kl_weights_N,
            log_q_NK,
            objective_N=reconstruction_N - phase.beta * (kl_latent_N + kl_weights_N),
            costs=costs,
        )

    def _log_likelihood(self, target_NC: Tensor, z_NKM: Tensor) -> Tensor:
        """Return log p(x|z_k) for each of the K latents of a row, (N, K)."""
        n_rows, n_components = z_NKM.shape[:2]
        target_RC = target_NC.repeat_interleave(n_components, 0)
        log_likelihood_R = self.likelihood.log_prob(target_RC, self._decode(z_NKM.flatten(0, 1)))
        return torch.as_tensor(log_likelihood_R).view(n_rows, n_components)

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log E[pi] and the mean of the component with the largest expected weight."""
        features = self.trunk(batch.x_ND)
        log_q_NK = self._log_q(features)
        row_N = torch.arange(batch.x_ND.shape[0], device=log_q_NK.device)
        return log_q_NK, self._posterior(features).mean[row_N, log_q_NK.argmax(-1)]

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents drawn from N(0, I), whatever the component."""
        return torch.randn(n_rows, self.latent_dim, generator=generator, device=self.shapes.bias.device)

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from E[pi] and z from its component; without a generator the most probable y and its mean."""
        features = self.trunk(batch.x_ND)
        row_N = torch.arange(len(batch.x_ND), device=batch.x_ND.device)
        if batch.phase.stage == "pretrain":
            return torch.zeros_like(row_N), at_least_float32(self.gaussians.code(features))
        component_N = draw_component(self._log_q(features), batch.generator)
        return component_N, self._posterior(features).sample(1, batch.generator)[0][row_N, component_N]

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the decoder's outputs, (N, P); the component and conditions make no difference."""
        return self._decode(z_NM)
