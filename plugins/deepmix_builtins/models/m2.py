"""M2 (Kingma et al. 2014; report, section 4.2.1): a classifier q(y|x) and a VAE conditioned on y.

    y ~ uniform    z ~ N(0, I)    x | y, z ~ p(x|y,z)        q(y, z | x) = q(y|x) q(z|x,y)

    -L(x, y) = E_q(z|x,y)[log p(x|y,z)] + log p(y) - KL(q(z|x,y) || p(z))                  a labelled row, eq. 6
    -U(x) = sum_y q(y|x) (-L(x, y)) + H(q(y|x))                                          an unlabelled row, eq. 7
    J = sum -L + sum -U + alpha N mean_labelled[log q(y|x)]                                              eq. 9

The report prints H inside the sum over y, which is equivalent because q(y|x) sums to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmix.contracts import Batch, Loss, Model
from deepmix.errors import UsageError
from deepmix.maths import (
    Dims,
    Gaussian,
    at_least_float32,
    categorical_kl,
    component_kl,
    draw_component,
    weighted_mean_and_spread,
)
from deepmix.models import INITIAL_LOG_VAR, MIN_SCALE, SMALL_TRUNK, Composite, NetworkOptions, mlp

from ..networks.decoders import MlpDecoder
from ..networks.encoders import MlpEncoder, MlpOptions


@dataclass(frozen=True)
class M2Options(NetworkOptions):
    """Options of M2."""

    labelled: int = field(
        default=0,
        metadata={
            "help": "number of training rows whose labels are used, evenly over the classes (label -1: unknown); "
            "0: none, and the model starts from an initial clustering like the others"
        },
    )
    alpha: float = field(
        default=0.1, metadata={"help": "weight of the classifier's own loss on labelled rows (Kingma et al.: 0.1)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labelled < 0:
            raise UsageError(f"labelled must be at least 0, got {self.labelled}")
        if not 0.0 <= self.alpha < math.inf:
            raise UsageError(f"alpha must be at least 0 and finite, got {self.alpha}")


def known_or_inferred(log_q_NK: Tensor, label_N: Tensor | None) -> Tensor:
    """Return q(y|x), (N, K), with 1 at the label of each row where it is known, -1 meaning unknown."""
    if label_N is None:
        return log_q_NK.exp()
    one_hot_NK = functional.one_hot(label_N.clamp_min(0), log_q_NK.shape[-1]).to(log_q_NK.dtype)
    return torch.where((label_N >= 0).unsqueeze(-1), one_hot_NK, log_q_NK.exp())


def label_loss(log_q_NK: Tensor, label_N: Tensor) -> Tensor:
    """Return -log q(y|x) at each known label, (N,); 0 where it is -1."""
    return functional.nll_loss(log_q_NK, label_N, reduction="none", ignore_index=-1)


@final
class M2(Model):
    """M2: a classifier and a VAE conditioned on the class; unsupervised or semi-supervised (Kingma et al. 2014)."""

    Options = M2Options
    label_share: Tensor

    def __init__(self, dims: Dims, likelihood: Composite, options: M2Options) -> None:
        super().__init__()
        self.n_components, self.latent_dim = dims.n_components, dims.latent_dim
        self.likelihood, self.options = likelihood, options
        networks, n_classes = MlpOptions(options.hidden, narrow=SMALL_TRUNK), dims.n_components
        widths = options.widths(dims.n_features)
        self.classifier = nn.Sequential(mlp((dims.n_features, *widths)), nn.Linear(widths[-1], n_classes))
        self.encoder = MlpEncoder(
            Dims(dims.n_features + n_classes, dims.n_outputs, n_classes, 1, dims.latent_dim),
            MlpOptions("-".join(map(str, widths))),
        )
        self.decoder = MlpDecoder(
            Dims(dims.n_features, dims.n_outputs, n_classes, 1, dims.latent_dim + n_classes), networks
        )
        self.register_buffer("label_share", torch.ones(()))

    @classmethod
    def likelihood_name(cls, options: M2Options) -> str:
        """Return the observation model that the options name, or 'auto'."""
        return options.likelihood

    @classmethod
    def n_labelled(cls, options: M2Options) -> int:
        """Return how many training rows' labels the model learns from."""
        return options.labelled

    def pretraining_loss(self, batch: Batch) -> Loss:
        """Return the log-likelihood of the rows given their codes, without any class."""
        x_ND = batch.x_ND
        outputs_NP = self._decode(self._code(x_ND), self._classless(x_ND))
        log_likelihood_N = self.likelihood.log_prob(batch.target_NC, outputs_NP)
        return Loss(log_likelihood_N, log_likelihood_N.detach())

    @torch.no_grad()
    def pretrained(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the pretrained codes and the squared error of their decoding."""
        x_ND = batch.x_ND
        code_NM = at_least_float32(self._code(x_ND))
        outputs_NP = self._decode(code_NM, self._classless(x_ND))
        return code_NM, self.likelihood.squared_error(batch.target_NC, outputs_NP)

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Rescale the codes to unit spread; classes are learned from the labels, not placed."""
        shift_M, scale_M = weighted_mean_and_spread(code_NM, weight_N, MIN_SCALE)
        self.encoder.place(shift_M, scale_M, INITIAL_LOG_VAR)
        zeros_K = shift_M.new_zeros(self.n_components)
        self.decoder.place(torch.cat([shift_M, zeros_K]), torch.cat([scale_M, zeros_K + 1.0]))
        z_NM = (code_NM - shift_M) / scale_M
        noise = self.likelihood.noise_error(lambda z: self._decode(z, self._classless(z)), z_NM, INITIAL_LOG_VAR)
        self.likelihood.place(float(squared_error_N.mean()) + noise)
        self.label_share.copy_((label_N >= 0).double().mean())

    def training_loss(self, batch: Batch) -> Loss:
        """Return -L for rows whose label is known and -U for the others (eqs. 6 and 7).

        With `labelled` rows, the batch's labels are true classes, -1 where unknown, and `hold` and `anchor` have no
        effect. Without, the labels are an initial clustering, and `hold` and `anchor` act as in other models.
        """
        x_ND, label_N, phase = batch.x_ND, batch.label_N, batch.phase
        semi_supervised = self.options.labelled > 0 and label_N is not None
        log_q_NK = self._log_q(x_ND)
        weight_NK = known_or_inferred(log_q_NK, label_N if semi_supervised or phase.hold else None)
        posterior = self._posteriors(x_ND)
        log_likelihood_NK = self._log_likelihood(batch.target_NC, posterior.sample(1, batch.generator)[0])
        reconstruction_N = (weight_NK * log_likelihood_NK).sum(-1)
        kl_latent_N = (weight_NK * component_kl(posterior.mean, posterior.log_var, None, None)).sum(-1)
        uniform_K = log_q_NK.new_full((self.n_components,), -math.log(self.n_components))
        kl_assignment_N = categorical_kl(weight_NK, uniform_K)
        costs = {}
        if semi_supervised:
            costs["labels"] = self.options.alpha / self.label_share * label_loss(log_q_NK, batch.labels_for("labels"))
        elif label_N is not None:
            costs["anchor"] = batch.anchor_cost(log_q_NK)
        return Loss.of_bound(
            reconstruction_N,
            kl_latent_N,
            kl_assignment_N,
            log_q_NK,
            objective_N=reconstruction_N - phase.beta * (kl_latent_N + kl_assignment_N),
            costs=costs,
        )

    @torch.no_grad()
    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log q(y|x) and the mean of q(z|x,y) for its most probable class."""
        x_ND = batch.x_ND
        log_q_NK = self._log_q(x_ND)
        chosen_NK = functional.one_hot(log_q_NK.argmax(-1), self.n_components).to(x_ND.dtype)
        mean_N1M = self.encoder(torch.cat([x_ND, chosen_NK], dim=-1)).mean
        return log_q_NK, at_least_float32(mean_N1M[:, 0])

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents from N(0, I), the prior of every class."""
        like = self.encoder.mean.bias
        return torch.randn(n_rows, self.latent_dim, generator=generator, device=like.device, dtype=like.dtype)

    @torch.no_grad()
    def posterior_sample(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return y drawn from q(y|x) and z from q(z|x,y); without a generator the most probable y and the mean of z."""
        x_ND = batch.x_ND
        if batch.phase.stage == "pretrain":
            return torch.zeros(len(x_ND), dtype=torch.long, device=x_ND.device), at_least_float32(self._code(x_ND))
        component_N = draw_component(self._log_q(x_ND), batch.generator)
        z_NKM = self._posteriors(x_ND).sample(1, batch.generator)[0]
        return component_N, z_NKM[torch.arange(len(x_ND), device=x_ND.device), component_N]

    @torch.no_grad()
    def decode(self, z_NM: Tensor, component_N: Tensor, condition_NQ: Tensor | None = None) -> Tensor:
        """Return the decoder's outputs for each row's class, (N, P); conditions make no difference."""
        return self._decode(z_NM, functional.one_hot(component_N, self.n_components).to(z_NM.dtype))

    def _log_q(self, x_ND: Tensor) -> Tensor:
        return at_least_float32(self.classifier(x_ND)).log_softmax(-1)

    def _posteriors(self, x_ND: Tensor) -> Gaussian:
        """Return q(z|x,y) for every class, (N, K, M)."""
        n_rows, n_classes = len(x_ND), self.n_components
        class_NKK = torch.eye(n_classes, dtype=x_ND.dtype, device=x_ND.device).expand(n_rows, -1, -1)
        rows_NKD = x_ND.unsqueeze(1).expand(-1, n_classes, -1)
        posterior = self.encoder(torch.cat([rows_NKD, class_NKK], dim=-1).flatten(0, 1))
        shape = (n_rows, n_classes, self.latent_dim)
        return Gaussian(*(at_least_float32(part).view(shape) for part in (posterior.mean, posterior.log_var)))

    def _log_likelihood(self, target_NC: Tensor, z_NKM: Tensor) -> Tensor:
        """Return log p(x|y,z_y) for every class, (N, K)."""
        n_rows, n_classes = z_NKM.shape[:2]
        class_NKK = torch.eye(n_classes, dtype=z_NKM.dtype, device=z_NKM.device).expand(n_rows, -1, -1)
        outputs_RP = self._decode(z_NKM.flatten(0, 1), class_NKK.flatten(0, 1))
        return self.likelihood.log_prob(target_NC.repeat_interleave(n_classes, 0), outputs_RP).view(n_rows, n_classes)

    def _classless(self, x_ND: Tensor) -> Tensor:
        return x_ND.new_zeros(len(x_ND), self.n_components)

    def _code(self, x_ND: Tensor) -> Tensor:
        return self.encoder.code(torch.cat([x_ND, self._classless(x_ND)], dim=-1))

    def _decode(self, z_RM: Tensor, class_RK: Tensor) -> Tensor:
        together = torch.cat([z_RM, class_RK.to(z_RM.dtype)], dim=-1)
        return at_least_float32(self.decoder(together, [len(z_RM)]))
