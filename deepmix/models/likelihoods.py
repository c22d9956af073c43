"""The observation model p(x|z) of whole rows, composed of one likelihood for each block of neighbouring cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from deepmix.contracts import Likelihood

NOISE_ROWS = 4096
"""Number of evenly spaced rows on which the effect of noise is measured."""


STAND_IN = 1.0
"""Value that stands for a missing cell, whose log-density is left out: every likelihood has a finite density there."""


class Composite(nn.Module):
    """p(x|z) of rows: the product of the likelihoods of their blocks of cells.

    R rows have C cells and P decoder outputs; both lie side by side in the order of the blocks.
    """

    def __init__(self, blocks: Iterable[Likelihood], *, masked: bool = False) -> None:
        """Compose likelihoods.

        Args:
            blocks: the likelihoods, in the order of their cells.
            masked: whether the rows are those of a table, whose missing cells are NaN. Arrays have no missing cells.

        """
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.masked = masked
        self.n_cells = sum(block.block.n_cells for block in self._blocks())
        self.n_outputs = sum(block.n_outputs for block in self._blocks())
        self.register_load_state_dict_pre_hook(_read_older_weights)  # type: ignore[no-untyped-call]

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log p(x|z) of rows in nats, (R,): the sum over the cells that are not missing."""
        return self.cell_log_prob(x_RC, outputs_RP).sum(-1)

    def cell_log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log p(x|z) of each cell in nats, (R, C); 0 where it is missing."""
        if not self.masked:
            return self._cell_log_prob(x_RC, outputs_RP)
        missing_RC = x_RC.isnan()
        return self._cell_log_prob(x_RC.masked_fill(missing_RC, STAND_IN), outputs_RP).masked_fill(missing_RC, 0.0)

    def _cell_log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        parts = self._parts(x_RC, outputs_RP)
        return _side_by_side([block.log_prob(x, outputs) for block, x, outputs in parts])

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return E[x|z], (R, C); for levels, the number of the most probable one."""
        return _side_by_side([block.mean(outputs) for block, outputs in self._output_parts(outputs_RP)])

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return rows drawn from p(x|z), (R, C); all random numbers come from the generator."""
        return _side_by_side([block.sample(outputs, generator) for block, outputs in self._output_parts(outputs_RP)])

    @property
    def starts_from_rows(self) -> bool:
        """Whether `start` has an effect."""
        return any(type(block).start is not Likelihood.start for block in self._blocks())

    @torch.no_grad()
    def start(self, x_NC: Tensor) -> None:
        """Set what is known of the cells before pretraining, from all training rows, (N, C); NaN: missing."""
        for block, x in zip(self._blocks(), _split(x_NC, self._cell_counts()), strict=True):
            block.start(x)

    def clustering_view(self, x_ND: Any) -> Any:
        """Return an array's rows as initial clusterings should see them, dense or CSR."""
        (block,) = self._blocks()
        return block.clustering_view(x_ND)

    def squared_error(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return the squared error of the decoded rows, (R,), averaged over cells.

        For arrays, the error is that of the mean. For tables, it is the residual of the cells whose variance `place`
        sets, missing ones left out; 0 for a row without any such cell.
        """
        if not self.masked:
            return (x_RC - self.mean(outputs_RP)).square().mean(-1)
        parts = [(x, block.residual(x, outputs)) for block, x, outputs in self._parts(x_RC, outputs_RP)]
        with_variance = [(x, residual) for x, residual in parts if residual is not None]
        if not with_variance:
            return outputs_RP.new_zeros(len(outputs_RP))
        missing_RC = _side_by_side([x for x, _ in with_variance]).isnan()
        residual_RC = _side_by_side([residual for _, residual in with_variance]).masked_fill(missing_RC, 0.0)
        return residual_RC.square().sum(-1) / (~missing_RC).sum(-1).clamp_min(1)

    @torch.no_grad()
    def place(self, residual_variance: float) -> None:
        """Set the variances to their maximum-likelihood value, the mean squared error at the start of training."""
        for block in self._blocks():
            block.place(residual_variance)

    @torch.no_grad()
    def noise_error(self, decode: Callable[[Tensor], Tensor], z_NM: Tensor, log_var: float) -> float:
        """Return the mean squared error that noise of this log-variance on the latents adds.

        Without it a lossless autoencoder, such as any with as many latent dimensions as columns, would make p(x|z) so
        narrow that it would outweigh every other term in training. It is 0 where `place` sets no variance.
        """
        sample_NM = z_NM[:: math.ceil(len(z_NM) / NOISE_ROWS)]
        centre_NC = self._location(decode(sample_NM))
        if centre_NC is None:
            return 0.0
        generator = torch.Generator(z_NM.device).manual_seed(0)
        noise_NM = torch.randn(sample_NM.shape, generator=generator, device=z_NM.device, dtype=z_NM.dtype)
        noisy_NC = self._location(decode(sample_NM + math.exp(0.5 * log_var) * noise_NM))
        return 0.0 if noisy_NC is None else float((noisy_NC - centre_NC).square().mean())

    def _location(self, outputs_RP: Tensor) -> Tensor | None:
        """Return the centres of the cells whose variance `place` sets, side by side; None if there are none."""
        centres = [block.location(outputs) for block, outputs in self._output_parts(outputs_RP)]
        with_variance = [centre for centre in centres if centre is not None]
        return _side_by_side(with_variance) if with_variance else None

    def _blocks(self) -> Iterator[Likelihood]:
        return (cast(Likelihood, block) for block in self.blocks)

    def _cell_counts(self) -> list[int]:
        return [block.block.n_cells for block in self._blocks()]

    def _output_parts(self, outputs_RP: Tensor) -> Iterator[tuple[Likelihood, Tensor]]:
        """Yield each block with its outputs."""
        counts = [block.n_outputs for block in self._blocks()]
        return zip(self._blocks(), _split(outputs_RP, counts), strict=True)

    def _parts(self, x_RC: Tensor, outputs_RP: Tensor) -> Iterator[tuple[Likelihood, Tensor, Tensor]]:
        """Yield each block with its cells and its outputs."""
        parts = zip(self._output_parts(outputs_RP), _split(x_RC, self._cell_counts()), strict=True)
        return ((block, x, outputs) for (block, outputs), x in parts)


def _split(values: Tensor, counts: list[int]) -> Sequence[Tensor]:
    """Return the parts of the last axis; a single part is the tensor itself."""
    return [values] if len(counts) == 1 else values.split(counts, -1)


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Return the parts concatenated along the last axis; a single part is returned as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _read_older_weights(module: nn.Module, state_dict: dict[str, Any], prefix: str, *unused: object) -> None:
    """Move the fixed variance of weights saved before there were blocks to the only block, or drop it if it has none.

    Every likelihood saved `log_var` then, though only the Gaussian with one variance used it.
    """
    log_var = state_dict.pop(f"{prefix}log_var", None)
    if log_var is not None and "blocks.0.log_var" in module.state_dict():
        state_dict[f"{prefix}blocks.0.log_var"] = log_var
