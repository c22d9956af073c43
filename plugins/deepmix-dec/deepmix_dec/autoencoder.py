"""What DEC, IDEC and DCN share: an autoencoder whose codes are clustered around K centres.

Training starts from a plain autoencoder and from k-means on its codes, as in the three papers. The codes are then
divided by one number, so that their mean variance is 1 and the options mean the same for all data; the ratios of their
distances stay as they are.

The three models have no likelihood of their own, p(x), and so no evidence lower bound. What `metrics.jsonl` and
`metrics.json` call the bound is log p(x|z) minus the cost of the clusters: KL(P || Q) with a weight of 1 (DEC, IDEC),
or half the squared distance to the row's centre with its weight (DCN). It can be compared between runs of one model,
but not with the bounds of other models.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepmix.contracts import Batch, EpochStart, Loss, Model
from deepmix.maths import Dims, at_least_float32, cluster_moments, draw_component, weighted_mean_and_spread
from deepmix.models import MIN_SCALE, Composite, NetworkOptions, ObjectiveOptions, mlp

from .formulas import squared_distances


def network(*widths: int) -> nn.Sequential:
    """Return linear layers between these widths, with a ReLU between two of them."""
    return nn.Sequential(*mlp(widths[:-1]), nn.Linear(widths[-2], widths[-1]))


@dataclass(frozen=True)
class TrainingLatents:
    """The latents of all training rows, with what else decides where their centres are."""

    z_NM: Tensor
    weight_N: Tensor | None = None
    """Weights of the rows, with mean 1; None: all rows count alike."""
    held_N: Tensor | None = None
    """Initial cluster of each row, -1 for noise, while the initial labels hold; None: they do not."""


class CentreAutoencoder(Model):
    """An autoencoder with K centres in its latent space; subclasses say how rows belong to them and what that costs."""

    init: ClassVar[str] = "kmeans"
    objective: ClassVar[ObjectiveOptions] = ObjectiveOptions(anchor=0.0, hold=0.0)

    variance: Tensor

    def __init__(self, dims: Dims, likelihood: Composite, options: Any) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.likelihood, self.options = likelihood, options
        self.generates_from_rows = dims.n_components > 1
        widths = options.widths(dims.n_features)
        self.encoder = network(dims.n_features, *widths, dims.latent_dim)
        self.decoder = network(dims.latent_dim, *reversed(widths), dims.n_outputs)
        self.centre_KM = nn.Parameter(torch.zeros(dims.n_components, dims.latent_dim))
        self.register_buffer("variance", torch.ones(()))

    @classmethod
    def likelihood_name(cls, options: NetworkOptions) -> str:
        """Return the observation model that the options name, or 'auto'."""
        return options.likelihood

    @abc.abstractmethod
    def log_q(self, z_NM: Tensor) -> Tensor:
        """Return log q(y|x), (N, K), for latents."""

    @abc.abstractmethod
    def reassign(self, rows: TrainingLatents, number: int) -> None:
        """Choose anew what each training row is drawn to, at the start of the epoch of this number, from 0."""

    def adopt(self, rows: TrainingLatents) -> None:
        """Set what the model knows of the training rows as a whole: the variance of a row around its nearest centre."""
        squared_distance_N = squared_distances(rows.z_NM, self.centre_KM).amin(-1)
        weighted_N = squared_distance_N if rows.weight_N is None else rows.weight_N * squared_distance_N
        self.variance.copy_((weighted_N.mean() / self.latent_dim).clamp_min(MIN_SCALE**2))

    def encode(self, x_ND: Tensor) -> Tensor:
        """Return the latents, (N, M)."""
        return at_least_float32(self.encoder(x_ND))

    def log_likelihood(self, batch: Batch, z_NM: Tensor) -> Tensor:
        """Return log p(x|z) of each row, (N,)."""
        return self.likelihood.log_prob(batch.target_NC, at_least_float32(self.decoder(z_NM)))

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given their codes."""
        log_likelihood_N = self.log_likelihood(batch, self.encode(batch.x_ND))
        return Loss(log_likelihood_N, log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the codes and the squared error of their decoding."""
        code_NM = self.encode(batch.x_ND)
        outputs_NP = at_least_float32(self.decoder(code_NM))
        return code_NM, self.likelihood.squared_error(batch.target_NC, outputs_NP)

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Divide the codes by one number, to a mean variance of 1, and put the centres at the clusters' means."""
        _, spread_M = weighted_mean_and_spread(code_NM, weight_N, 0.0)
        scale = spread_M.square().mean().sqrt().clamp_min(MIN_SCALE)
        last, first = self.encoder[-1], self.decoder[0]
        assert isinstance(last, nn.Linear)
        assert isinstance(first, nn.Linear)
        last.weight.div_(scale)
        last.bias.div_(scale)
        first.weight.mul_(scale)
        z_NM = code_NM / scale
        self.centre_KM.copy_(cluster_moments(z_NM, label_N, self.n_components, weight_N)[0].mean)
        self.adopt(TrainingLatents(z_NM, weight_N))
        self.likelihood.place(float(squared_error_N.mean()))

    def epoch_started(self, start: EpochStart) -> None:
        """Let the model choose anew what each training row is drawn to."""
        if start.stage != "train":
            return
        latents, weights, labels = [], [], []
        for batch in start.batches():
            latents.append(self.encode(batch.x_ND))
            weights += [] if batch.weight_N is None else [batch.weight_N]
            labels += [batch.labels_for("hold")] if batch.phase.hold else []
        rows = TrainingLatents(
            torch.cat(latents), torch.cat(weights) if weights else None, torch.cat(labels) if labels else None
        )
        self.reassign(rows, start.number)

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x) and the latents."""
        z_NM = self.encode(batch.x_ND)
        return self.log_q(z_NM), z_NM

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents around a centre, (n_rows, M); none of the papers has a p(z|y), so a Gaussian stands for it."""
        noise_NM = torch.randn(n_rows, self.latent_dim, generator=generator, device=self.centre_KM.device)
        return self.centre_KM[component] + self.variance.sqrt() * noise_NM

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from q(y|x), or the most probable one without a generator, and the latent."""
        z_NM = self.encode(batch.x_ND)
        if batch.phase.stage == "pretrain":
            return torch.zeros(len(z_NM), dtype=torch.long, device=z_NM.device), z_NM
        return draw_component(self.log_q(z_NM), batch.generator), z_NM

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the decoder's outputs, (N, P); the component and conditions make no difference."""
        return at_least_float32(self.decoder(z_NM))
