"""GMVAE (Dilokthanakul et al. 2016; report, section 4.2.2): the mixture's components are functions of a latent w.

    w ~ N(0, I)    y ~ uniform    z | w, y ~ N(mu_y(w), sigma_y^2(w))    x | z ~ p(x|z)
    q(w, y, z | x) = q(w|x) q(z|x) p(y|z, w)

    ELBO = E[log p(x|z)] - E_w,y[KL(q(z|x) || p(z|w,y))] - KL(q(w|x) || p(w)) - E_w,z[KL(p(y|z,w) || p(y))]

The last term, the c-KL, is smallest when every row belongs equally to all clusters, so it is cut off: below a threshold
it has no gradient. The report prints the KL arguments of the second and the last term in the opposite order; this is
the paper's order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from deepmix.contracts import Batch, Loss, Model
from deepmix.errors import UsageError
from deepmix.maths import (
    Dims,
    Gaussian,
    at_least_float32,
    categorical_kl,
    cluster_moments,
    component_kl,
    draw_component,
    gaussian_log_prob,
    normalize_log,
    weighted_mean_and_spread,
)
from deepmix.models import INITIAL_LOG_VAR, MIN_SCALE, SMALL_TRUNK, Composite, NetworkOptions

from ..networks.decoders import MlpDecoder
from ..networks.encoders import MlpEncoder, MlpOptions

PLACED_SCALE = 0.1
"""Factor on the random weights of the components' last layer in `place`: w hardly moves a component at first."""


@dataclass(frozen=True)
class GmvaeOptions(NetworkOptions):
    """Options of the GMVAE."""

    w_dim: int = field(default=10, metadata={"help": "dimensions of w, the variation common to all clusters"})
    component_width: int = field(default=64, metadata={"help": "hidden width of the network from w to the components"})
    cutoff: float = field(
        default=1.0, metadata={"help": "nats of the c-KL that cost nothing; 0: the plain bound, log K: no c-KL"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("w_dim", "component_width"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.cutoff < math.inf:
            raise UsageError(f"cutoff must be at least 0 and finite, got {self.cutoff}")


def cluster_posterior(z_NM: Tensor, components: Gaussian) -> Tensor:
    """Return log p(y|z,w), (N, K): the components' densities at z, normalised, as p(y) is uniform (paper, eq. 5).

    Args:
        z_NM: the latents.
        components: p(z|w,y), (N, K, M).

    """
    return normalize_log(gaussian_log_prob(z_NM.unsqueeze(1), components.mean, components.log_var))[0]


def conditional_kl(posterior: Gaussian, components: Gaussian) -> Tensor:
    """Return KL(q(z|x) || p(z|w,y_k)), (N, K), for q (N, M) and each row's own K components (N, K, M)."""
    difference = components.log_var - posterior.log_var.unsqueeze(1)
    scaled = (posterior.mean.unsqueeze(1) - components.mean).square() * torch.exp(-components.log_var)
    return 0.5 * (difference + torch.exp(-difference) + scaled - 1.0).sum(-1)


def cut_off(kl_N: Tensor, threshold: float) -> Tensor:
    """Return max(threshold, KL): below the threshold there is no gradient (report, section 4.2.2)."""
    return kl_N.clamp_min(threshold)


@final
class Components(nn.Module):
    """p(z|w,y): a network with one hidden layer from w to K diagonal Gaussians over z (paper, figure 1)."""

    def __init__(self, dims: Dims, options: GmvaeOptions) -> None:
        super().__init__()
        self.shape = (dims.n_components, dims.latent_dim)
        self.hidden = nn.Linear(options.w_dim, options.component_width)
        self.mean = nn.Linear(options.component_width, math.prod(self.shape))
        self.log_var = nn.Linear(options.component_width, math.prod(self.shape))
        with torch.no_grad():
            self.mean.bias.normal_()

    def forward(self, w_NW: Tensor) -> Gaussian:
        """Return the components, (N, K, M)."""
        features = self.hidden(w_NW).tanh()
        mean, log_var = (layer(features).unflatten(-1, self.shape) for layer in (self.mean, self.log_var))
        return Gaussian(at_least_float32(mean), at_least_float32(log_var))

    @torch.no_grad()
    def place(self, components: Gaussian) -> None:
        """Place the components at moments (K, M), hardly moved by w."""
        for layer, value in ((self.mean, components.mean), (self.log_var, components.log_var)):
            layer.weight.mul_(PLACED_SCALE)
            layer.bias.copy_(value.flatten())


@final
class Gmvae(Model):
    """GMVAE: cluster components that a second latent moves, with a cut-off c-KL (Dilokthanakul et al. 2016)."""

    Options = GmvaeOptions

    def __init__(self, dims: Dims, likelihood: Composite, options: GmvaeOptions) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.likelihood, self.options = likelihood, options
        networks = MlpOptions(options.hidden, narrow=SMALL_TRUNK)
        one_head = Dims(dims.n_features, dims.n_outputs, dims.n_components, 1, dims.latent_dim)
        self.encoder = MlpEncoder(one_head, networks)
        self.w_encoder = MlpEncoder(Dims(dims.n_features, dims.n_outputs, 1, 1, options.w_dim), networks)
        self.decoder = MlpDecoder(one_head, networks)
        self.components = Components(dims, options)

    @classmethod
    def likelihood_name(cls, options: GmvaeOptions) -> str:
        """Return the observation model that the options name, or 'auto'."""
        return options.likelihood

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given their codes."""
        log_likelihood_N = self.likelihood.log_prob(batch.target_NC, self._decode(self.encoder.code(batch.x_ND)))
        return Loss(log_likelihood_N, log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the pretrained codes and the squared error of their decoding."""
        code_NM = at_least_float32(self.encoder.code(batch.x_ND))
        return code_NM, self.likelihood.squared_error(batch.target_NC, self._decode(code_NM))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Rescale the codes to unit spread and put the components where the clusters are."""
        shift_M, scale_M = weighted_mean_and_spread(code_NM, weight_N, MIN_SCALE)
        self.encoder.place(shift_M, scale_M, INITIAL_LOG_VAR)
        self.decoder.place(shift_M, scale_M)
        z_NM = (code_NM - shift_M) / scale_M
        noise = self.likelihood.noise_error(self._decode, z_NM, INITIAL_LOG_VAR)
        self.likelihood.place(float(squared_error_N.mean()) + noise)
        moments, _ = cluster_moments(z_NM, label_N, self.n_components, weight_N)
        self.components.place(moments)

    def training_loss(self, batch: Batch) -> Loss:
        """Return the bound; gradients flow through p(y|z,w), which is part of the model here, not a free E-step."""
        x_ND, phase, generator = batch.x_ND, batch.phase, batch.generator
        z_posterior, w_posterior = self._posterior(self.encoder, x_ND), self._posterior(self.w_encoder, x_ND)
        z_NM, w_NW = z_posterior.sample(1, generator)[0], w_posterior.sample(1, generator)[0]
        components = self.components(w_NW)
        log_q_NK = cluster_posterior(z_NM, components)
        weight_NK = log_q_NK.exp()
        if phase.hold:
            weight_NK = batch.held_weights(log_q_NK)

        reconstruction_N = self.likelihood.log_prob(batch.target_NC, self._decode(z_NM))
        w_kl_N = component_kl(w_posterior.mean.unsqueeze(1), w_posterior.log_var.unsqueeze(1), None, None)[:, 0]
        kl_latent_N = (weight_NK * conditional_kl(z_posterior, components)).sum(-1) + w_kl_N
        uniform_K = log_q_NK.new_full((self.n_components,), -math.log(self.n_components))
        kl_assignment_N = categorical_kl(weight_NK, uniform_K)
        costs = {}
        if phase.anchor > 0.0:
            costs["anchor"] = batch.anchor_cost(log_q_NK)
        cut_off_N = cut_off(kl_assignment_N, self.options.cutoff)
        return Loss.of_bound(
            reconstruction_N,
            kl_latent_N,
            kl_assignment_N,
            log_q_NK,
            objective_N=reconstruction_N - phase.beta * (kl_latent_N + cut_off_N),
            costs=costs,
        )

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log p(y|z,w) at the means of z and w, and the mean of z."""
        x_ND = batch.x_ND
        z_NM = self._posterior(self.encoder, x_ND).mean
        return cluster_posterior(z_NM, self.components(self._posterior(self.w_encoder, x_ND).mean)), z_NM

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents of one component, w from its prior."""
        device = self.components.mean.bias.device
        w_NW = torch.randn(n_rows, self.options.w_dim, generator=generator, device=device)
        components = self.components(w_NW)
        own = Gaussian(components.mean[:, component], components.log_var[:, component])
        return own.sample(1, generator)[0]

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from p(y|z,w) and z from q(z|x); without a generator the most probable y and the mean of z."""
        x_ND, generator = batch.x_ND, batch.generator
        if batch.phase.stage == "pretrain":
            return torch.zeros(len(x_ND), dtype=torch.long, device=x_ND.device), self.encoder.code(x_ND)
        z_posterior, w_posterior = self._posterior(self.encoder, x_ND), self._posterior(self.w_encoder, x_ND)
        z_NM, w_NW = z_posterior.sample(1, generator)[0], w_posterior.sample(1, generator)[0]
        return draw_component(cluster_posterior(z_NM, self.components(w_NW)), generator), z_NM

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the decoder's outputs, (N, P); the component and conditions make no difference."""
        return self._decode(z_NM)

    def _posterior(self, encoder: MlpEncoder, x_ND: Tensor) -> Gaussian:
        """Return q(z|x) or q(w|x), (N, M) or (N, W)."""
        posterior = encoder(x_ND)
        return Gaussian(at_least_float32(posterior.mean[:, 0]), at_least_float32(posterior.log_var[:, 0]))

    def _decode(self, z_NM: Tensor) -> Tensor:
        return at_least_float32(self.decoder(z_NM, [len(z_NM)]))
