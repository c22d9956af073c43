"""Encoders: `mlp` (one trunk, H heads) and `grouped-mlp` (K whole networks)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from deepmix.contracts import Encoder
from deepmix.maths import Dims, Gaussian
from deepmix.models import SMALL_TRUNK, TrunkEncoder, check_hidden, check_widths, mlp, trunk_widths

from .layers import (
    NARROW_DATA_FEATURES,
    NARROW_LR_FACTOR,
    NARROW_TRUNK,
    GroupedLinear,
    copy_first_group,
    grouped_layers,
)


@dataclass(frozen=True)
class MlpOptions:
    """Options of the fully connected networks."""

    hidden: str = field(
        default="auto",
        metadata={
            "help": "hidden widths, data side first, such as 500-500-2000; auto: 256-256 below 128 columns, and those "
            f"of `narrow` below {NARROW_DATA_FEATURES} columns of an array"
        },
    )
    narrow: str = field(
        default=NARROW_TRUNK,
        metadata={
            "help": f"hidden widths of auto below {NARROW_DATA_FEATURES} columns of an array, where smaller networks "
            "are faster and give the same clusters; a table's missing cells are imputed better by larger ones",
            "before": SMALL_TRUNK,
        },
    )

    def __post_init__(self) -> None:
        check_hidden(self.hidden)
        check_widths("narrow", self.narrow)

    def is_narrow(self, dims: Dims) -> bool:
        """Whether the widths are those of `narrow`."""
        return self.hidden == "auto" and dims.n_features < NARROW_DATA_FEATURES and dims.cell_of_feature is None

    def widths(self, dims: Dims) -> tuple[int, ...]:
        """Return the hidden widths, data side first."""
        return trunk_widths(self.narrow if self.is_narrow(dims) else self.hidden, dims.n_features)


@final
class MlpEncoder(TrunkEncoder):
    """One fully connected trunk with a mean and a log-variance head per component (supplement's Table 2)."""

    Options = MlpOptions

    def __init__(self, dims: Dims, options: MlpOptions) -> None:
        widths = options.widths(dims)
        super().__init__(dims, mlp((dims.n_features, *widths)), widths[-1])
        if options.is_narrow(dims) and options.narrow != SMALL_TRUNK:
            self.lr_factor = NARROW_LR_FACTOR


@dataclass(frozen=True)
class GroupedMlpOptions:
    """Options of the K whole networks."""

    hidden: str = field(
        default="500-100",
        metadata={"help": "hidden widths of each network, data side first (k-DVAE section 4.2: 500-100)"},
    )

    def __post_init__(self) -> None:
        check_hidden(self.hidden)


@final
class GroupedMlpEncoder(Encoder):
    """K whole encoders, D-500-100-M, evaluated with one batched product per layer (k-DVAE, section 4.2)."""

    Options = GroupedMlpOptions

    def __init__(self, dims: Dims, options: GroupedMlpOptions) -> None:
        super().__init__()
        widths = (dims.n_features, *trunk_widths(options.hidden, dims.n_features))
        n_heads = dims.n_heads
        self.n_heads = n_heads
        self.trunk = grouped_layers(n_heads, widths)
        self.mean = GroupedLinear(n_heads, widths[-1], dims.latent_dim)
        self.log_var = GroupedLinear(n_heads, widths[-1], dims.latent_dim)

    def forward(self, x_ND: Tensor) -> Gaussian:
        """Return the outputs of every network on every row."""
        features = x_ND.unsqueeze(0).expand(self.n_heads, -1, -1)
        for layer in self.trunk:
            features = layer(features).relu()
        return Gaussian(self.mean(features).transpose(0, 1), self.log_var(features).transpose(0, 1))

    def code(self, x_ND: Tensor) -> Tensor:
        """Return the first network's mean."""
        first = torch.zeros(1, dtype=torch.long, device=x_ND.device)
        features = x_ND.unsqueeze(0)
        for layer in self.trunk:
            features = layer(features, first).relu()
        mean_1NM: Tensor = self.mean(features, first)
        return mean_1NM[0]

    @torch.no_grad()
    def place(self, shift_M: Tensor, scale_M: Tensor, log_var: float) -> None:
        """Standardise the first network and copy it to all."""
        for layer in (*self.trunk, self.mean):
            copy_first_group(layer)
        self.mean.weight_KIO.div_(scale_M)
        self.mean.bias_KO.sub_(shift_M).div_(scale_M)
        self.log_var.weight_KIO.zero_()
        self.log_var.bias_KO.fill_(log_var)
