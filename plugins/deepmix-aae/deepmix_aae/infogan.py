"""InfoGAN: a generator whose codes can be read off its rows (Chen et al. 2016).

    y ~ uniform over K clusters    z ~ N(0, I)    row = G(z, y)

    min_{G,Q} max_D  E[log D(x)] + E[log(1 - D(G(z, y)))] - E[log Q(y|G(z, y))] - weight E[log Q(z|G(z, y))]

The last two terms are the paper's lower bound of the mutual information between codes and rows (its eqs. 5 and 6). Q
shares its hidden layers with the discriminator D. It recognises the cluster of any row, so that it is q(y|x). In the
game both see rows with noise on them: D stays unsure, and Q can't tell clusters apart by traces that nobody would see.

The bound that is reported is a true one, with Q as the approximate posterior, but it is not what training maximises:

    ELBO(x) = E_Q[log p(x|z,y)] - KL(Q(z|x) || p(z)) - KL(Q(y|x) || p(y)), p(x|z,y) the likelihood around G(z, y)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from deepmix.contracts import Batch, Loss, Model
from deepmix.errors import UsageError
from deepmix.maths import (
    Dims,
    Gaussian,
    categorical_kl,
    component_kl,
    draw_component,
    gaussian_log_prob,
    weighted_mean_and_spread,
)
from deepmix.models import INITIAL_LOG_VAR, MIN_SCALE, Composite, TrunkEncoder, mlp

from .networks import LEAK, MOMENTUM, AdversarialOptions

MAX_LOG_VAR = 5.0
"""Largest log-variance of a recognised code, and minus the smallest."""


@dataclass(frozen=True)
class InfoganOptions(AdversarialOptions):
    """Options of InfoGAN."""

    code_weight: float = field(
        default=0.1, metadata={"help": "weight of recognising z in a generated row, beside 1 for its cluster"}
    )
    critic_rate: float = field(
        default=1.0, metadata={"help": "learning rate of discriminator and recognition, relative to the generator's"}
    )
    noise: float = field(
        default=0.5,
        metadata={"help": "spread of the noise on the rows that discriminator and recognition see in the game"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("code_weight", "noise"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not 0.0 < self.critic_rate < math.inf:
            raise UsageError(f"critic_rate must be above 0 and finite, got {self.critic_rate}")


@final
class Critic(nn.Module):
    """The discriminator D and the recognition network Q, which share their hidden layers."""

    def __init__(self, dims: Dims, n_cells: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.trunk = mlp((n_cells, *widths), LEAK)
        self.verdict = nn.Linear(widths[-1], 1)
        self.clusters = nn.Linear(widths[-1], dims.n_components)
        self.codes = TrunkEncoder(Dims(widths[-1], 1, 1, 1, dims.latent_dim), nn.Identity(), widths[-1])

    def forward(self, rows_NC: Tensor) -> Tensor:
        """Return the logit of the probability that a row is real, (N,)."""
        return torch.as_tensor(self.verdict(self.trunk(rows_NC))[:, 0])

    def frozen(self, rows_NC: Tensor) -> Tensor:
        """Return the logits with a gradient to the rows alone."""
        constants = {name: value.detach() for name, value in self.named_parameters()}
        return torch.as_tensor(functional_call(self, constants, (rows_NC,)))

    def code(self, rows_NC: Tensor) -> Tensor:
        """Return the mean of Q(z|x), (N, M)."""
        return self.codes.code(self.trunk(rows_NC)).float()

    def recognise(self, rows_NC: Tensor) -> tuple[Tensor, Gaussian]:
        """Return log Q(y|x), (N, K), and Q(z|x), (N, M)."""
        features = self.trunk(rows_NC)
        code = self.codes(features)
        log_var_NM = code.log_var[:, 0].float().clamp(-MAX_LOG_VAR, MAX_LOG_VAR)
        return self.clusters(features).float().log_softmax(-1), Gaussian(code.mean[:, 0].float(), log_var_NM)


@final
class Infogan(Model):
    """InfoGAN: generated clusters that a recognition network can tell apart (Chen et al. 2016)."""

    Options = InfoganOptions

    def __init__(self, dims: Dims, likelihood: Composite, options: InfoganOptions) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.likelihood, self.options = likelihood, options
        widths = options.widths(dims.n_features)
        self.critic = Critic(dims, likelihood.n_cells, widths)
        self.generator = mlp((dims.latent_dim + dims.n_components, *reversed(widths)))
        self.outputs = nn.Linear(widths[0], dims.n_outputs)

    @classmethod
    def likelihood_name(cls, options: InfoganOptions) -> str:
        """Return the observation model that the options name, or 'auto'."""
        return options.likelihood

    def optimizer(self, stage: str, lr: float) -> torch.optim.Optimizer | None:
        """Return Adam with little momentum and two learning rates; in pretraining, the usual one."""
        if stage == "pretrain":
            return None
        groups: list[dict[str, Any]] = [
            {"params": [*self.generator.parameters(), *self.outputs.parameters(), *self.likelihood.parameters()]},
            {"params": list(self.critic.parameters()), "lr": lr * self.options.critic_rate},
        ]
        return torch.optim.Adam(groups, lr, betas=(MOMENTUM, 0.999))

    def _generate(self, z_NM: Tensor, weight_NK: Tensor) -> Tensor:
        """Return the generator's outputs, (N, P)."""
        return torch.as_tensor(self.outputs(self.generator(torch.cat([z_NM, weight_NK.to(z_NM.dtype)], -1)))).float()

    def _one_hot(self, component_N: Tensor) -> Tensor:
        return functional.one_hot(component_N, self.n_components).float()

    def _uniform(self, z_NM: Tensor) -> Tensor:
        """Return equal weights of all clusters, (N, K): in pretraining, the code is z alone."""
        return z_NM.new_full((len(z_NM), self.n_components), 1.0 / self.n_components)

    def _decode_codes(self, z_NM: Tensor) -> Tensor:
        return self._generate(z_NM, self._uniform(z_NM))

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given their recognised codes."""
        outputs_NP = self._decode_codes(self.critic.code(_filled(batch.target_NC)))
        log_likelihood_N = self.likelihood.log_prob(batch.target_NC, outputs_NP)
        return Loss(log_likelihood_N, log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the recognised codes and the squared error of their decoding."""
        code_NM = self.critic.code(_filled(batch.target_NC))
        return code_NM, self.likelihood.squared_error(batch.target_NC, self._decode_codes(code_NM))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Rescale the codes to unit spread, the prior's; the anchor teaches the clusters in training."""
        shift_M, scale_M = weighted_mean_and_spread(code_NM, weight_N, MIN_SCALE)
        self.critic.codes.place(shift_M, scale_M, INITIAL_LOG_VAR)
        first = self.generator[0]
        assert isinstance(first, nn.Linear)
        weight_HM = first.weight[:, : self.latent_dim]
        first.bias.add_(weight_HM @ shift_M)
        weight_HM.mul_(scale_M)
        noise = self.likelihood.noise_error(self._decode_codes, (code_NM - shift_M) / scale_M, INITIAL_LOG_VAR)
        self.likelihood.place(float(squared_error_N.mean()) + noise)

    def training_loss(self, batch: Batch) -> Loss:
        """Return the bound with Q as the posterior, and the costs of discriminator, generator and recognition.

        In the hold, the initial labels replace Q(y|x) in the bound; the generator learns them from Q, which the anchor
        teaches them. Without a generator of random numbers no rows are generated, and the bound is that at the means.
        """
        real_NC = _filled(batch.target_NC)
        log_q_NK, posterior = self.critic.recognise(real_NC)
        costs = {} if batch.generator is None else self._game(batch.target_NC, batch.generator)
        if batch.phase.anchor > 0.0:
            costs["anchor"] = batch.anchor_cost(log_q_NK)
        return Loss.of_bound(
            *self._bound(batch, log_q_NK, posterior),
            log_q_NK,
            objective_N=real_NC.new_zeros(len(real_NC)),
            costs=costs,
        )

    def _game(self, target_NC: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the costs of discriminator, generator and recognition, with as many generated rows as real ones.

        All three see the rows with noise on them.
        """
        n_rows, device = len(target_NC), target_NC.device
        z_NM = torch.randn(n_rows, self.latent_dim, generator=generator, device=device)
        component_N = torch.randint(self.n_components, (n_rows,), generator=generator, device=device)
        generated_NC = self.likelihood.mean(self._generate(z_NM, self._one_hot(component_N)))
        generated_NC = generated_NC.masked_fill(target_NC.isnan(), 0.0)
        noisy_NC, noisy_real_NC = (self._noisy(rows_NC, generator) for rows_NC in (generated_NC, _filled(target_NC)))
        real_logit_N, generated_logit_N = self.critic(torch.cat([noisy_real_NC, noisy_NC.detach()])).chunk(2)
        log_q_NK, code = self.critic.recognise(noisy_NC)
        code_cost_N = -gaussian_log_prob(z_NM, code.mean, code.log_var)
        return {
            "discriminator": functional.softplus(-real_logit_N) + functional.softplus(generated_logit_N),
            "generator": functional.softplus(-self.critic.frozen(noisy_NC)),
            "recognition": functional.nll_loss(log_q_NK, component_N, reduction="none")
            + self.options.code_weight * code_cost_N,
        }

    def _noisy(self, rows_NC: Tensor, generator: torch.Generator) -> Tensor:
        noise_NC = torch.randn(rows_NC.shape, generator=generator, device=rows_NC.device, dtype=rows_NC.dtype)
        return rows_NC + self.options.noise * noise_NC

    @torch.no_grad()
    def _bound(self, batch: Batch, log_q_NK: Tensor, posterior: Gaussian) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three parts of the bound, (N,) each, at one sample of y and z."""
        q_NK = batch.held_weights(log_q_NK) if batch.phase.hold else log_q_NK.exp()
        component_N = draw_component(q_NK.log(), batch.generator)
        outputs_NP = self._generate(posterior.sample(1, batch.generator)[0], self._one_hot(component_N))
        uniform_K = log_q_NK.new_full((self.n_components,), -math.log(self.n_components))
        kl_code_N1 = component_kl(posterior.mean.unsqueeze(1), posterior.log_var.unsqueeze(1), None, None)
        return (
            self.likelihood.log_prob(batch.target_NC, outputs_NP),
            kl_code_N1[:, 0],
            categorical_kl(q_NK, uniform_K),
        )

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log Q(y|x) and the mean of Q(z|x)."""
        log_q_NK, posterior = self.critic.recognise(_filled(batch.target_NC))
        return log_q_NK, posterior.mean

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return codes drawn from N(0, I), whatever the component."""
        return torch.randn(n_rows, self.latent_dim, generator=generator, device=self.outputs.bias.device)

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y from Q(y|x) and z from Q(z|x); without a generator the most probable y and the mean of z."""
        rows_NC = _filled(batch.target_NC)
        if batch.phase.stage == "pretrain":
            return torch.zeros(len(rows_NC), dtype=torch.long, device=rows_NC.device), self.critic.code(rows_NC)
        log_q_NK, posterior = self.critic.recognise(rows_NC)
        return draw_component(log_q_NK, batch.generator), posterior.sample(1, batch.generator)[0]

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the generator's outputs, (N, P), for codes and one-hot clusters; conditions make no difference."""
        return self._generate(z_NM, self._one_hot(component_N))


def _filled(target_NC: Tensor) -> Tensor:
    """Return the rows with 0 where a table's cell is missing."""
    return target_NC.masked_fill(target_NC.isnan(), 0.0)
