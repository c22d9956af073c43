"""The VampPrior: each component is the encoder's mean posterior of a few learned pseudo-inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from deepmix.contracts import DensityPrior, Encoder, PriorPlacement
from deepmix.errors import UsageError
from deepmix.maths import Dims, Gaussian, at_least_float32, gaussian_log_prob


@dataclass(frozen=True)
class VampOptions:
    """Options of the VampPrior."""

    pseudo_inputs: int = field(default=10, metadata={"help": "J, learned pseudo-inputs of each component"})

    def __post_init__(self) -> None:
        if self.pseudo_inputs < 1:
            raise UsageError(f"pseudo_inputs must be at least 1, got {self.pseudo_inputs}")


@final
class VampPrior(DensityPrior):
    """VampPrior: p(z|y_k) is the mean of q(z|y_k,u) over learned pseudo-inputs u (Tomczak & Welling 2018).

        p(z|y_k) = 1/J sum_j q(z|y_k, u_kj)        (their eq. 9, for each component)

    The pseudo-inputs start from rows of the component's initial cluster.
    """

    Options = VampOptions

    def __init__(self, dims: Dims, options: VampOptions) -> None:
        super().__init__()
        self.options = options
        shape = (dims.n_components, options.pseudo_inputs, dims.n_features)
        self.input_KJD = nn.Parameter(torch.rand(shape))
        self.logit_K = nn.Parameter(torch.zeros(dims.n_components))
        self._encoder: tuple[Encoder, ...] = ()

    def bind(self, encoder: Encoder) -> None:
        """Keep the encoder, whose weights stay its own."""
        self._encoder = (encoder,)

    def components(self) -> Gaussian:
        """Return q(z|y_k, u_kj), (K, J, M)."""
        if not self._encoder:
            raise RuntimeError("the VampPrior needs an encoder: call bind(encoder) first")
        n_components, n_inputs, _ = self.input_KJD.shape
        posterior = self._encoder[0](self.input_KJD.flatten(0, 1))

        def own_head(values_RHM: Tensor) -> Tensor:
            values_KJHM = at_least_float32(values_RHM).unflatten(0, (n_components, n_inputs))
            if values_KJHM.shape[2] == 1:
                return values_KJHM[:, :, 0]
            number_K = torch.arange(n_components, device=values_KJHM.device)
            return values_KJHM[number_K, :, number_K]

        return Gaussian(own_head(posterior.mean), own_head(posterior.log_var))

    def log_weights(self) -> Tensor:
        """Return the log softmax of the logits."""
        return self.logit_K.log_softmax(0)

    def log_prob(self, z_LNHM: Tensor) -> Tensor:
        """Return the log of the mean density of the pseudo-inputs' posteriors."""
        components = self.components()
        log_prob_LNKJ = gaussian_log_prob(z_LNHM.unsqueeze(-2), components.mean, components.log_var)
        return log_prob_LNKJ.logsumexp(-1) - math.log(self.options.pseudo_inputs)

    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Draw a pseudo-input for each row, and a latent from its posterior."""
        components = self.components()
        device = components.mean.device
        chosen_R = torch.randint(self.options.pseudo_inputs, (n_rows,), generator=generator, device=device)
        one = Gaussian(components.mean[component][chosen_R], components.log_var[component][chosen_R])
        return one.sample(1, generator)[0]

    @torch.no_grad()
    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        """Adopt the clusters' weights; without rows the pseudo-inputs stay where they are."""
        self.logit_K.copy_(weight_K.log())

    @torch.no_grad()
    def place_on(self, start: PriorPlacement) -> None:
        """Start the pseudo-inputs of each component from rows of its cluster, drawn with a fixed seed."""
        self.place(start.components, start.weight_K)
        generator = torch.Generator().manual_seed(0)
        n_components, n_inputs, _ = self.input_KJD.shape
        inputs_by_row: dict[int, list[tuple[int, int]]] = {}
        for k in range(n_components):
            rows = (start.label_N == k).nonzero()[:, 0].tolist() or range(len(start.label_N))
            places = torch.randint(len(rows), (n_inputs,), generator=generator)
            if len(rows) >= n_inputs:
                places = torch.randperm(len(rows), generator=generator)[:n_inputs]
            for j, place in enumerate(places.tolist()):
                inputs_by_row.setdefault(rows[place], []).append((k, j))
        for batch in start.batches():
            assert batch.row_N is not None
            for place, row in enumerate(batch.row_N.tolist()):
                for k, j in inputs_by_row.get(row, ()):
                    self.input_KJD[k, j] = batch.x_ND[place]
