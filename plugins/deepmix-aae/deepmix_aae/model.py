"""AAE: clustering with an adversarial autoencoder (Makhzani et al. 2015, section 5 and figure 5).

An encoder gives each row a style z and probabilities q(y|x) of clusters; a decoder reconstructs the row from both. Two
discriminators tell the styles from draws of N(0, I), and the probabilities from one-hot draws of uniform clusters, and
the encoder is trained so that they fail. The probabilities thus become nearly one-hot, and the clusters equally large.
The second one sees probabilities and draws with noise, as those of two smooth densities.

The logit of the best discriminator is the log density ratio of what the encoder gives and the prior. The logits
therefore stand in the bound for log q(z) - log p(z) and log q(y) - log p(y), whose means are the two KL divergences:

    ELBO(x) = log p(x|z,y) - logit D_z(z) - logit D_y(q(y|x))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from deepmix.contracts import Batch, Loss, Model
from deepmix.errors import UsageError
from deepmix.maths import Dims, draw_component, weighted_mean_and_spread
from deepmix.models import MIN_SCALE, Composite, mlp

from .networks import LEAK, MOMENTUM, AdversarialOptions


@dataclass(frozen=True)
class AaeOptions(AdversarialOptions):
    """Options of the adversarial autoencoder."""

    adversary_width: int = field(default=256, metadata={"help": "hidden width of the discriminators"})
    adversary: float = field(default=1.0, metadata={"help": "weight of the discriminators' costs to the encoder"})
    cluster_noise: float = field(
        default=0.5,
        metadata={"help": "standard deviation of the noise that hides from a discriminator that q(y|x) is not one-hot"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adversary_width < 1:
            raise UsageError(f"adversary_width must be at least 1, got {self.adversary_width}")
        if self.adversary < 0.0:
            raise UsageError(f"adversary must be at least 0, got {self.adversary}")
        if self.cluster_noise < 0.0:
            raise UsageError(f"cluster_noise must be at least 0, got {self.cluster_noise}")


class Discriminator(nn.Module):
    """A network that gives the logit of the probability that its input comes from the encoder, not from the prior."""

    def __init__(self, n_inputs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, width), nn.LeakyReLU(LEAK), nn.Linear(width, width), nn.LeakyReLU(LEAK),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, input_NI: Tensor) -> Tensor:
        """Return the logits, (N,)."""
        return torch.as_tensor(self.layers(input_NI)[:, 0])

    def frozen(self, input_NI: Tensor) -> Tensor:
        """Return the logits with a gradient to the input alone."""
        constants = {name: value.detach() for name, value in self.named_parameters()}
        return torch.as_tensor(functional_call(self, constants, (input_NI,)))

    def cost(self, encoded_NI: Tensor, prior_NI: Tensor) -> Tensor:
        """Return the cross-entropy of telling a row's code from a draw of the prior, (N,), for the discriminator."""
        return functional.softplus(-self(encoded_NI.detach())) + functional.softplus(self(prior_NI))


@final
class Aae(Model):
    """Adversarial autoencoder with a categorical and a continuous code (Makhzani et al. 2015)."""

    Options = AaeOptions

    def __init__(self, dims: Dims, likelihood: Composite, options: AaeOptions) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.likelihood, self.options = likelihood, options
        widths = options.widths(dims.n_features)
        self.trunk = mlp((dims.n_features, *widths))
        self.style = nn.Linear(widths[-1], dims.latent_dim)
        self.clusters = nn.Linear(widths[-1], dims.n_components)
        self.decoder = mlp((dims.latent_dim + dims.n_components, *reversed(widths)))
        self.outputs = nn.Linear(widths[0], dims.n_outputs)
        self.style_adversary = Discriminator(dims.latent_dim, options.adversary_width)
        self.cluster_adversary = Discriminator(dims.n_components, options.adversary_width)

    @classmethod
    def likelihood_name(cls, options: AaeOptions) -> str:
        """Return the observation model that the options name, or 'auto'."""
        return options.likelihood

    def optimizer(self, stage: str, lr: float) -> torch.optim.Optimizer:
        """Return Adam with little momentum, whose averages of past gradients would not fit an adversary that moves."""
        return torch.optim.Adam(self.parameters(), lr, betas=(MOMENTUM, 0.999))

    def _encode(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Return the styles, (N, M), and log q(y|x), (N, K)."""
        features = self.trunk(x_ND)
        return self.style(features).float(), self.clusters(features).float().log_softmax(dim=-1)

    def _decode(self, z_NM: Tensor, q_NK: Tensor) -> Tensor:
        return torch.as_tensor(self.outputs(self.decoder(torch.cat([z_NM, q_NK], dim=-1)))).float()

    def _hidden(self, y_NK: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return probabilities or one-hot draws with noise, (N, K).

        Probabilities are never exactly one-hot. Without the noise a discriminator sees that alone, the encoder learns
        nothing of how large its clusters should be, and most of them get no rows.
        """
        noise_NK = torch.randn(y_NK.shape, generator=generator, device=y_NK.device)
        return y_NK + self.options.cluster_noise * noise_NK

    def _uniform(self, z_NM: Tensor) -> Tensor:
        """Return equal probabilities of all clusters, (N, K): in pretraining, the code is the style alone."""
        return z_NM.new_full((len(z_NM), self.n_components), 1.0 / self.n_components)

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given their styles."""
        z_NM, _ = self._encode(batch.x_ND)
        log_likelihood_N = self.likelihood.log_prob(batch.target_NC, self._decode(z_NM, self._uniform(z_NM)))
        return Loss(log_likelihood_N, log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the styles and the squared error of their decoding."""
        z_NM, _ = self._encode(batch.x_ND)
        outputs_NP = self._decode(z_NM, self._uniform(z_NM))
        return z_NM, self.likelihood.squared_error(batch.target_NC, outputs_NP)

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Rescale the styles to unit spread, the prior's; q(y|x) is learned while training holds to the labels."""
        shift_M, scale_M = weighted_mean_and_spread(code_NM, weight_N, MIN_SCALE)
        self.style.weight.div_(scale_M.unsqueeze(-1))
        self.style.bias.copy_((self.style.bias - shift_M) / scale_M)
        first = self.decoder[0]
        assert isinstance(first, nn.Linear)
        weight_HM = first.weight[:, : self.latent_dim]
        first.bias.add_(weight_HM @ shift_M)
        weight_HM.mul_(scale_M)
        self.likelihood.place(float(squared_error_N.mean()))

    def training_loss(self, batch: Batch) -> Loss:
        """Return the bound with the discriminators' logits, and the costs of encoder and discriminators."""
        z_NM, log_q_NK = self._encode(batch.x_ND)
        q_NK = log_q_NK.exp()
        used_NK = batch.held_weights(log_q_NK) if batch.phase.hold else q_NK
        reconstruction_N = self.likelihood.log_prob(batch.target_NC, self._decode(z_NM, used_NK))
        prior_NM = torch.randn(z_NM.shape, generator=batch.generator, device=z_NM.device)
        cluster_N = torch.randint(self.n_components, (len(z_NM),), generator=batch.generator, device=z_NM.device)
        prior_NK = functional.one_hot(cluster_N, self.n_components).to(z_NM.dtype)
        noisy_NK, noisy_prior_NK = (self._hidden(one_NK, batch.generator) for one_NK in (q_NK, prior_NK))
        style_logit_N, cluster_logit_N = self.style_adversary.frozen(z_NM), self.cluster_adversary.frozen(noisy_NK)
        weight = batch.phase.beta * self.options.adversary
        fooled_N = weight * (functional.softplus(style_logit_N) + functional.softplus(cluster_logit_N))
        discrimination_N = self.style_adversary.cost(z_NM, prior_NM)
        discrimination_N = discrimination_N + self.cluster_adversary.cost(noisy_NK, noisy_prior_NK)
        costs = {"adversary": discrimination_N}
        if batch.phase.anchor > 0.0:
            costs["anchor"] = batch.anchor_cost(log_q_NK)
        return Loss.of_bound(
            reconstruction_N,
            style_logit_N,
            cluster_logit_N,
            log_q_NK,
            objective_N=reconstruction_N - fooled_N,
            costs=costs,
        )

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x) and the styles."""
        z_NM, log_q_NK = self._encode(batch.x_ND)
        return log_q_NK, z_NM

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return styles drawn from N(0, I), whatever the component."""
        return torch.randn(n_rows, self.latent_dim, generator=generator, device=self.style.bias.device)

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from q(y|x), or the most probable one without a generator, and the style."""
        z_NM, log_q_NK = self._encode(batch.x_ND)
        if batch.phase.stage == "pretrain":
            return torch.zeros(len(z_NM), dtype=torch.long, device=z_NM.device), z_NM
        return draw_component(log_q_NK, batch.generator), z_NM

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the decoder's outputs, (N, P), for styles and one-hot clusters; conditions make no difference."""
        return self._decode(z_NM, functional.one_hot(component_N, self.n_components).to(z_NM.dtype))
