"""Decoders: `mlp` (one for all components) and `grouped-mlp` (K whole networks)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from deepmix.contracts import Decoder
from deepmix.maths import Dims
from deepmix.models import mlp, trunk_widths

from .encoders import GroupedMlpOptions, MlpOptions
from .layers import GroupedLinear, copy_first_group, grouped_layers


class SharedDecoder(Decoder):
    """One network for all components: a linear layer, a trunk and an output layer of any kind."""

    def __init__(self, first: nn.Linear, trunk: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.first, self.trunk, self.output = first, trunk, output

    def forward(self, z_RM: Tensor, counts_H: list[int]) -> Tensor:
        """Decode the rows; which head they come from makes no difference."""
        outputs: Tensor = self.output(self.trunk(self.first(z_RM).relu()))
        return outputs

    @torch.no_grad()
    def place(self, shift_M: Tensor, scale_M: Tensor) -> None:
        """Fold the affine map into the first layer."""
        self.first.bias.add_(self.first.weight @ shift_M)
        self.first.weight.mul_(scale_M)


@final
class MlpDecoder(SharedDecoder):
    """The mirror image of the encoder's trunk, shared by all components."""

    Options = MlpOptions

    def __init__(self, dims: Dims, options: MlpOptions) -> None:
        widths = options.widths(dims)[::-1]
        first = nn.Linear(dims.latent_dim, widths[0])
        super().__init__(first, mlp(widths), nn.Linear(widths[-1], dims.n_outputs))


@final
class GroupedMlpDecoder(Decoder):
    """K whole decoders, M-100-500-D, with one batched product per layer (k-DVAE, section 4.2)."""

    Options = GroupedMlpOptions

    def __init__(self, dims: Dims, options: GroupedMlpOptions) -> None:
        super().__init__()
        widths = (dims.latent_dim, *trunk_widths(options.hidden, dims.n_features)[::-1], dims.n_outputs)
        self.first = GroupedLinear(dims.n_heads, *widths[:2])
        self.trunk = grouped_layers(dims.n_heads, widths[1:-1])
        self.output = GroupedLinear(dims.n_heads, *widths[-2:])

    def forward(self, z_RM: Tensor, counts_H: list[int]) -> Tensor:
        """Decode each head's rows with its own network; groups are padded to the longest."""
        rows_by_head = [(head, count) for head, count in enumerate(counts_H) if count]
        if not rows_by_head:
            return z_RM.new_zeros(0, self.output.bias_KO.shape[-1])
        heads, counts = zip(*rows_by_head, strict=True)
        groups = torch.tensor(heads, device=z_RM.device) if len(heads) < len(counts_H) else None
        even = min(counts) == max(counts)
        rows = z_RM.split(counts)  # stacked, not reshaped: torch.export can't prove that a reshape fits
        hidden = torch.stack(rows) if even else pad_sequence(list(rows), batch_first=True)
        for layer in (self.first, *self.trunk):
            hidden = layer(hidden, groups).relu()
        outputs: Tensor = self.output(hidden, groups)
        if even:
            return outputs.flatten(0, 1)
        return torch.cat([rows[:count] for rows, count in zip(outputs, counts, strict=True)])

    @torch.no_grad()
    def place(self, shift_M: Tensor, scale_M: Tensor) -> None:
        """Copy the first network to all and fold the affine map into the first layer."""
        for layer in (self.first, *self.trunk, self.output):
            copy_first_group(layer)
        self.first.bias_KO.add_(shift_M @ self.first.weight_KIO)
        self.first.weight_KIO.mul_(scale_M.unsqueeze(-1))
