"""SB-VAE: a VAE whose latents are the lengths of the pieces of a broken stick (Nalisnick & Smyth 2017).

    v_m ~ Beta(1, concentration)    pi_m = v_m prod_{j<m} (1 - v_j)    x ~ p(x|pi)

    ELBO(x) = E_q[log p(x|pi)] - sum_m KL(q(v_m|x) || p(v_m))        (their eqs. 5 and 6)

The latents are the first M pieces. The rest of the stick, the last piece in the paper, is 1 minus their sum, so a
decoder needs no input of its own for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from deepmix.contracts import Batch, Loss, Model
from deepmix.errors import UsageError
from deepmix.maths import Dims, at_least_float32
from deepmix.models import INITIAL_LOG_VAR, Composite, NetworkOptions, mlp

from .sticks import LEAST, draw_fractions, fraction_kl, mean_fractions, piece_lengths, raw_of, shape_of

PRETRAINING_BETA = 0.1
"""Weight of the KL in pretraining."""

MIN_SPREAD = 1e-3
"""Floor of the latents' spread when the noise of the observation model is placed."""


@dataclass(frozen=True)
class StickBreakingOptions(NetworkOptions):
    """Options of the SB-VAE."""

    concentration: float = field(
        default=5.0, metadata={"help": "beta of the prior Beta(1, beta) of each fraction; larger: more, shorter pieces"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.concentration <= 0.0:
            raise UsageError(f"concentration must be above 0, got {self.concentration}")


def prior_moments(concentration: float, n_pieces: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each length under the prior, (M,) each.

    E[pi_m] = E[v] E[1 - v]^(m-1) and E[pi_m^2] = E[v^2] E[(1 - v)^2]^(m-1), v ~ Beta(1, beta)
    """
    before_M = torch.arange(float(n_pieces))
    mean_M = (concentration / (1.0 + concentration)) ** before_M / (1.0 + concentration)
    second = 2.0 / ((1.0 + concentration) * (2.0 + concentration))
    square_M = second * (concentration / (2.0 + concentration)) ** before_M
    return mean_M, (square_M - mean_M.square()).sqrt()


@final
class StickBreakingVAE(Model):
    """SB-VAE: one component, whose latents are lengths of a broken stick (Nalisnick & Smyth 2017); use a head."""

    Options = StickBreakingOptions
    single_component: ClassVar[bool] = True
    mean_M: Tensor
    spread_M: Tensor

    def __init__(self, dims: Dims, likelihood: Composite, options: StickBreakingOptions) -> None:
        super().__init__()
        self.n_components, self.latent_dim = 1, dims.latent_dim
        self.likelihood, self.options = likelihood, options
        widths = options.widths(dims.n_features)
        self.trunk = mlp((dims.n_features, *widths))
        self.shapes = nn.Linear(widths[-1], 2 * dims.latent_dim)
        self.decoder = mlp((dims.latent_dim, *reversed(widths)))
        self.outputs = nn.Linear(widths[0], dims.n_outputs)
        with torch.no_grad():  # the prior, Beta(1, beta), is Kumaraswamy(1, beta)
            prior = torch.tensor([1.0, options.concentration]).repeat_interleave(dims.latent_dim)
            self.shapes.bias.copy_(raw_of(prior.clamp_min(0.1)))
        mean_M, spread_M = prior_moments(options.concentration, dims.latent_dim)
        self.register_buffer("mean_M", mean_M, persistent=False)
        self.register_buffer("spread_M", spread_M, persistent=False)

    @classmethod
    def likelihood_name(cls, options: StickBreakingOptions) -> str:
        """Return the observation model that the options name, or 'auto'."""
        return options.likelihood

    def _shapes(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b of each fraction's posterior, (N, M)."""
        raw_NM, other_NM = at_least_float32(self.shapes(self.trunk(x_ND))).chunk(2, dim=-1)
        return shape_of(raw_NM), shape_of(other_NM)

    def _lengths(self, log_v_NM: Tensor, log_rest_NM: Tensor) -> Tensor:
        return piece_lengths(log_v_NM, log_rest_NM)[:, :-1].exp()

    def _mean_lengths(self, x_ND: Tensor) -> Tensor:
        """Return E[pi], (N, M); the fractions are independent."""
        return self._lengths(*mean_fractions(*self._shapes(x_ND)))

    def _decode(self, z_NM: Tensor) -> Tensor:
        """Return the decoder's outputs, (N, P), for lengths, which it takes standardised by the prior's moments."""
        return at_least_float32(self.outputs(self.decoder((z_NM - self.mean_M) / self.spread_M)))

    def _kl(self, a_NM: Tensor, b_NM: Tensor) -> Tensor:
        """Return the KL of all fractions from their prior, (N,)."""
        beta = a_NM.new_tensor(self.options.concentration)
        return fraction_kl(a_NM, b_NM, torch.ones_like(beta), beta).sum(-1)

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given sampled lengths, and as the objective the same less some KL.

        Trained on expected lengths, the posteriors would stay as wide as the prior; trained without any KL, fractions
        would come so near 0 and 1 that the KL, once it counts in full, sends all of them back to the prior.
        """
        a_NM, b_NM = self._shapes(batch.x_ND)
        outputs_NP = self._decode(self._lengths(*draw_fractions(a_NM, b_NM, batch.generator)))
        log_likelihood_N = self.likelihood.log_prob(batch.target_NC, outputs_NP)
        return Loss(log_likelihood_N - PRETRAINING_BETA * self._kl(a_NM, b_NM), log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the expected lengths and the squared error of their decoding."""
        z_NM = self._mean_lengths(batch.x_ND)
        return z_NM, self.likelihood.squared_error(batch.target_NC, self._decode(z_NM))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Set the noise of the observation model; the networks start as pretraining left them."""
        spread = code_NM.std(correction=0).clamp_min(MIN_SPREAD)
        log_var = INITIAL_LOG_VAR + 2.0 * float(spread.log())
        self.likelihood.place(
            float(squared_error_N.mean()) + self.likelihood.noise_error(self._decode, code_NM, log_var)
        )

    def training_loss(self, batch: Batch) -> Loss:
        """Return the bound at one sample of the fractions; the initial labels are not used."""
        a_NM, b_NM = self._shapes(batch.x_ND)
        z_NM = self._lengths(*draw_fractions(a_NM, b_NM, batch.generator))
        reconstruction_N = self.likelihood.log_prob(batch.target_NC, self._decode(z_NM))
        kl_N = self._kl(a_NM, b_NM)
        log_q_NK = kl_N.new_zeros(len(kl_N), 1)
        objective_N = reconstruction_N - batch.phase.beta * kl_N
        return Loss.of_bound(reconstruction_N, kl_N, torch.zeros_like(kl_N), log_q_NK, objective_N=objective_N)

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x), which is 0 for the only component, and the expected lengths."""
        z_NM = self._mean_lengths(batch.x_ND)
        return z_NM.new_zeros(batch.x_ND.shape[0], 1), z_NM

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return lengths of sticks broken at v ~ Beta(1, beta), v = 1 - u^(1/beta)."""
        bias = self.shapes.bias
        u = torch.rand(n_rows, self.latent_dim, generator=generator, device=bias.device, dtype=bias.dtype)
        log_rest_RM = u.clamp(LEAST, 1.0 - LEAST).log() / self.options.concentration
        return self._lengths(torch.log(-torch.expm1(log_rest_RM)), log_rest_RM)

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return component 0 and lengths drawn from q(pi|x); without a generator, and in pretraining, their mean."""
        generator = None if batch.phase.stage == "pretrain" else batch.generator
        z_NM = self._lengths(*draw_fractions(*self._shapes(batch.x_ND), generator))
        return torch.zeros(len(z_NM), dtype=torch.long, device=z_NM.device), z_NM

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the decoder's outputs, (N, P); the component and conditions make no difference."""
        return self._decode(z_NM)
