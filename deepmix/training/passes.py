"""Passes over all rows without gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from deepmix.contracts import Batch, Loss, Model
from deepmix.data import Rows, RowTensors
from deepmix.maths import Array, Inference
from deepmix.training.diagnosis import diverged
from deepmix.training.precision import autocast
from deepmix.training.ranks import ALONE, Ranks, Share
from deepmix.training.schedule import epoch_seed

EVALUATION_ROWS = 1024
"""Rows per batch where no gradients are computed."""


MOST_LOST = 0.01
"""Fraction of the rows for which the model may have no finite answer; above it, training is said to have diverged."""


def weighted(value_N: Tensor, weight_N: Tensor | None) -> Tensor:
    """Return each row's value times its weight, (N,)."""
    return value_N if weight_N is None else value_N * weight_N


def blocks(rows: Rows, ranks: Ranks) -> Iterator[tuple[Share, RowTensors]]:
    """Yield this rank's share of each block of `EVALUATION_ROWS` rows, in order."""
    if ranks.size == 1:
        for tensors in rows.in_order(EVALUATION_ROWS):
            yield ranks.share(len(tensors.x_ND)), tensors
        return
    for start in range(0, rows.n_rows, EVALUATION_ROWS):
        share = ranks.share(min(EVALUATION_ROWS, rows.n_rows - start))
        yield share, rows.batch(torch.arange(start + share.first, start + share.last, device=rows.device))


def collect(parts: Sequence[Tensor], n_rows: int, ranks: Ranks) -> Tensor:
    """Return what was computed of the rows of `blocks`, (N, ...), in their order, on every rank.

    Args:
        parts: the results for this rank's share of each block.
        n_rows: N.
        ranks: the ranks.

    """
    if ranks.size == 1:
        return torch.cat(list(parts))
    whole = torch.zeros((n_rows, *parts[0].shape[1:]), dtype=parts[0].dtype, device=parts[0].device)
    for start, part in zip(range(0, n_rows, EVALUATION_ROWS), parts, strict=True):
        share = ranks.share(min(EVALUATION_ROWS, n_rows - start))
        if share.counts:
            whole[start + share.first : start + share.last] = part
    return ranks.sum(whole)


@torch.no_grad()
def infer_rows(
    model: Model, rows: Rows, precision: str | None, *, bound: bool = True, ranks: Ranks = ALONE
) -> Inference:
    """Return q(y|x), the MAP latents and, with `bound`, each row's bound at the mean of q(z|y,x); deterministic.

    Each rank takes some of the batches that one process would take, so that the numbers have the same bits. The first
    rank gets the inference on all rows, and the others get the one on their own.

    A row so strange that the model's numbers overflow gets q(y|x) = 1/K, latents of 0 and a bound of minus infinity.
    """
    model.eval()
    log_q, latents, bounds = [], [], []
    own = ranks.blocks_of(rows.n_rows, EVALUATION_ROWS)
    n_own = own.stop - own.start
    first = own.start if n_own else 0  # a rank without rows infers one, which does not count, for the shapes
    for tensors in rows.in_order(EVALUATION_ROWS, first, first + max(n_own, 1)):
        batch = Batch.of(tensors)
        with autocast(rows.device, precision):
            log_q_NK, latent_NM = model.infer(batch)
            elbo_N = model(batch).elbo_N if bound else None
        log_q_NK, latent_NM = log_q_NK.float(), latent_NM.float()
        lost_N = log_q_NK.isnan().any(-1) | ~latent_NM.isfinite().all(-1)
        log_q.append(log_q_NK.masked_fill(lost_N.unsqueeze(-1), -math.log(log_q_NK.shape[-1])).cpu())
        latents.append(latent_NM.masked_fill(lost_N.unsqueeze(-1), 0.0).cpu())
        if elbo_N is not None:
            bounds.append(torch.where(lost_N | ~elbo_N.isfinite(), -math.inf, elbo_N.float()).cpu())

    def joined(parts: list[Tensor]) -> Array:
        return ranks.joined(torch.cat(parts)[:n_own], rows.n_rows, EVALUATION_ROWS).numpy()

    return Inference(joined(log_q), joined(latents), bound_N=joined(bounds) if bound else None)


@torch.no_grad()
def evaluate_rows(
    model: Model, rows: Rows, precision: str | None, seed: int, ranks: Ranks = ALONE
) -> tuple[Inference, dict[str, float]]:
    """Return the inference of the rows, see `infer_rows`, and the weighted mean ELBO and its parts in nats per row.

    Rows without a finite bound are left out of the means.

    Raises:
        DeepmixError: more than a hundredth of the rows have no finite bound.

    """
    inference = infer_rows(model, rows, precision, ranks=ranks)
    generator = torch.Generator(rows.device).manual_seed(epoch_seed(seed, "evaluate", 0))
    assert inference.bound_N is not None
    lost_at_mean = int(np.isneginf(inference.bound_N).sum()) if ranks.is_first else 0
    sums = {"lost": torch.zeros((), dtype=torch.float64), "lost at mean": torch.tensor(lost_at_mean)}
    for share, tensors in blocks(rows, ranks):
        with autocast(rows.device, precision), share.draws(generator):
            loss: Loss = model(Batch.of(tensors, generator=generator))
        if not share.counts:
            continue
        finite_N = loss.elbo_N.isfinite()
        sums["lost"] += int((~finite_N).sum())
        for name, value_N in {"elbo": loss.elbo_N, **loss.terms}.items():
            total = weighted(value_N, tensors.weight_N)
            total = (total if finite_N.all() else total[finite_N]).sum().cpu().double()
            sums[name] = sums[name] + total if name in sums else total
    means = {name: float(value) for name, value in ranks.sums(sums).items()}
    n_lost = int(max(means.pop("lost"), means.pop("lost at mean")))
    if n_lost > max(MOST_LOST * rows.n_rows, 1):
        raise diverged("in the last update")
    return inference, {name: total / (rows.n_rows - n_lost) for name, total in means.items()}
