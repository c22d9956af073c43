"""A prior over the latents that is a tree of discrete variables; the components are the states of its root."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from deepmix.contracts import DensityPrior, PriorPlacement
from deepmix.errors import UsageError
from deepmix.maths import Dims, Gaussian, gaussian_entropy, without_noise

from .structure import Facet, Rows, learn_facets, transition, tree_order
from .tree import leaf_scores, marginals, messages

MOST_ROWS = 5_000
"""The tree is learned from at most so many rows, evenly spaced among all."""


@dataclass(frozen=True)
class LatentTreeOptions:
    """Options of the latent tree."""

    facets: int = field(default=3, metadata={"help": "most discrete variables, that of the clusters included"})
    states: int = field(
        default=0, metadata={"help": "most states of each variable but that of the clusters; 0: as many as clusters"}
    )

    def __post_init__(self) -> None:
        if self.facets < 1:
            raise UsageError(f"facets must be at least 1, got {self.facets}")
        if self.states < 0 or self.states == 1:
            raise UsageError(f"states must be at least 2, or 0 for as many as clusters, got {self.states}")


@final
class LatentTreePrior(DensityPrior):
    """A tree of discrete variables (facets), each over latent dimensions of its own (Li et al. 2019).

        p(z) = sum over y of p(y_0) prod_{f > 0} p(y_f | y_pa(f)) prod_f N(z_f; mu_f(y_f), diag(v_f(y_f)))

    The components are the states of the root, y_0, which starts at the initial clustering; log p(z|y_0) is computed
    exactly by message passing. The tree and the dimensions of each facet are learned when the prior is placed, and then
    stay; until then, all dimensions belong to the root, and the prior is a mixture of diagonal Gaussians.
    """

    Options = LatentTreeOptions

    facet_FM: Tensor
    parent_FF: Tensor
    size_F: Tensor

    def __init__(self, dims: Dims, options: LatentTreeOptions) -> None:
        super().__init__()
        self.n_components, self.n_facets = dims.n_components, options.facets
        self.n_states = options.states or max(2, dims.n_components)
        n_states = max(self.n_states, dims.n_components)
        self.mean_SM = nn.Parameter(torch.randn(n_states, dims.latent_dim))
        self.log_var_SM = nn.Parameter(torch.zeros(n_states, dims.latent_dim))
        self.logit_K = nn.Parameter(torch.zeros(dims.n_components))
        self.logit_FSS = nn.Parameter(torch.zeros(options.facets, n_states, n_states))
        self.register_buffer("facet_FM", torch.zeros(options.facets, dims.latent_dim))
        self.register_buffer("parent_FF", torch.zeros(options.facets, options.facets))
        self.register_buffer("size_F", torch.full((options.facets,), self.n_states))
        self._forget_facets()

    def _forget_facets(self) -> None:
        """Give all dimensions to the root; the other facets, without dimensions, are its children."""
        self.facet_FM.zero_()[0] = 1.0
        self.parent_FF.zero_()[1:, 0] = 1.0
        self.size_F.fill_(self.n_states)[0] = self.n_components

    def log_weights(self) -> Tensor:
        """Return the log softmax of the logits."""
        return self.logit_K.log_softmax(0)

    def log_transitions(self) -> Tensor:
        """Return log p(y_f = s' | y_pa(f) = s), (F, S, S)."""
        missing_FS = torch.arange(self.logit_FSS.shape[-1], device=self.size_F.device) >= self.size_F[:, None]
        return self.logit_FSS.masked_fill(missing_FS[:, None], -torch.inf).log_softmax(-1)

    def _scores(self, z: Tensor, variance: Tensor | None = None) -> Tensor:
        return leaf_scores(z, variance, self.mean_SM, self.log_var_SM, self.facet_FM)

    def _own_head(self, values_HK: Tensor) -> Tensor:
        """Return component k's value of head k, (..., K), from (..., H, K)."""
        if values_HK.shape[-2] == 1:
            return values_HK.squeeze(-2)
        return values_HK.diagonal(dim1=-2, dim2=-1)

    def log_prob(self, z_LNHM: Tensor) -> Tensor:
        """Return log p(z|y_0), by messages from the leaves to the root."""
        total_LNHFS = messages(self._scores(z_LNHM), self.log_transitions(), self.parent_FF)
        return self._own_head(total_LNHFS[..., 0, : self.n_components])

    def kl(self, posterior: Gaussian, z_LNHM: Tensor) -> Tensor:
        """Return the KL: in closed form where dimensions belong to the root, from the samples for the other facets.

        KL = -H(q) - E_q[log N(z_0; y_0)] - E_q[log p(z of the other facets | y_0)]
        """
        score_LNHFS = self._scores(z_LNHM)
        total_LNHFS = messages(score_LNHFS, self.log_transitions(), self.parent_FF)
        others_NHS = (total_LNHFS - score_LNHFS)[..., 0, :].mean(0)
        root_NHS = self._scores(posterior.mean, posterior.log_var.exp())[..., 0, :]
        expected_NHK = (root_NHS + others_NHS)[..., : self.n_components]
        return self._own_head(-gaussian_entropy(posterior.log_var).unsqueeze(-1) - expected_NHK)

    def log_facets(self, z_NM: Tensor) -> Tensor:
        """Return log p(y_f|z), (N, F, S): each facet's partition of the rows; a facet without dimensions has none."""
        log_root_S = self.log_weights().new_full((self.mean_SM.shape[0],), -torch.inf)
        log_root_S[: self.n_components] = self.log_weights()
        transitions_FSS = self.log_transitions()
        total_NFS = messages(self._scores(z_NM), transitions_FSS, self.parent_FF)
        return marginals(total_NFS, log_root_S, transitions_FSS, self.parent_FF)

    def used_facets(self) -> list[int]:
        """Return the numbers of the facets that have dimensions."""
        return [int(facet) for facet in self.facet_FM.any(1).nonzero()[:, 0]]

    def describe(self, facet: int) -> str:
        """Return a facet's number of states, its dimensions from 1 and its parent, in words."""
        dimensions = ", ".join(str(int(m) + 1) for m in self.facet_FM[facet].nonzero()[:, 0])
        above = f"below facet {int(self.parent_FF[facet].argmax())}" if facet else "the clusters"
        return f"facet {facet} ({above}): {int(self.size_F[facet])} states, latent dimensions {dimensions}"

    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Draw the states from the root to the leaves, and the latents from their Gaussians."""
        transitions_FSS = self.log_transitions().exp()
        root_R = torch.full((n_rows,), component, device=self.mean_SM.device)
        states = [root_R]
        for facet in range(1, self.n_facets):
            parent_R = states[int(self.parent_FF[facet].argmax())]
            states.append(torch.multinomial(transitions_FSS[facet, parent_R], 1, generator=generator)[:, 0])
        state_RM = torch.stack(states, dim=1)[:, self.facet_FM.argmax(0)]
        noise_RM = torch.randn(state_RM.shape, generator=generator, device=root_R.device, dtype=self.mean_SM.dtype)
        return self.mean_SM.gather(0, state_RM) + noise_RM * (0.5 * self.log_var_SM.gather(0, state_RM)).exp()

    @torch.no_grad()
    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        """Adopt the clusters' moments, with all dimensions in the root's facet."""
        self._forget_facets()
        self.mean_SM[: self.n_components] = components.mean
        self.log_var_SM[: self.n_components] = components.log_var
        self.logit_K.copy_(weight_K.log())

    @torch.no_grad()
    def place_on(self, start: PriorPlacement) -> None:
        """Learn the facets and their tree from the latents of the rows and their initial clusters."""
        self.place(start.components, start.weight_K)
        label_N, z_NM, weight_N = without_noise(start.label_N, start.z_NM.double(), start.weight_N)
        row_S = torch.arange(0, len(z_NM), math.ceil(len(z_NM) / MOST_ROWS), device=z_NM.device)
        weight_S = torch.ones_like(z_NM[row_S, 0]) if weight_N is None else weight_N[row_S].to(z_NM.dtype)
        rows = Rows(z_NM[row_S], label_N[row_S], weight_S / weight_S.mean(), self.n_components)
        facets = learn_facets(rows, self.n_facets, self.n_states)
        order, parents = tree_order(facets, rows.weight_N)
        for place in range(1, len(order)):
            self._adopt(place, facets[order[place]], parents[place], facets[order[parents[place]]], rows.weight_N)

    def _adopt(self, place: int, facet: Facet, parent: int, above: Facet, weight_N: Tensor) -> None:
        """Make a learned facet number `place` of the tree, below number `parent`, which is the facet `above`."""
        n_states = len(facet.mean_SG)
        self.size_F[place] = n_states
        self.parent_FF[place] = 0.0
        self.parent_FF[place, parent] = 1.0
        self.facet_FM[:, facet.dimensions] = 0.0
        self.facet_FM[place, facet.dimensions] = 1.0
        log_SS = transition(above.r_NS, weight_N[:, None] * facet.r_NS).log()
        self.logit_FSS[place, : len(log_SS), :n_states] = log_SS.to(self.logit_FSS.dtype)
        self.mean_SM[:n_states, facet.dimensions] = facet.mean_SG.to(self.mean_SM.dtype)
        self.log_var_SM[:n_states, facet.dimensions] = facet.variance_SG.log().to(self.log_var_SM.dtype)
