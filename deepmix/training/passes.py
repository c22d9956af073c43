"""Passes over all rows without gradients."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepmix.contracts import Batch, Loss, Model
from deepmix.data import Rows
from deepmix.maths import Inference
from deepmix.training.diagnosis import diverged
from deepmix.training.schedule import epoch_seed

EVALUATION_ROWS = 1024
"""Rows per batch where no gradients are computed."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which networks run."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


MOST_LOST = 0.01
"""Fraction of the rows for which the model may have no finite answer; above it, training is said to have diverged."""


def weighted(value_N: Tensor, weight_N: Tensor | None) -> Tensor:
    """Return each row's value times its weight, (N,)."""
    return value_N if weight_N is None else value_N * weight_N


@torch.no_grad()
def infer_rows(model: Model, rows: Rows, precision: str, *, bound: bool = True) -> Inference:
    """Return q(y|x), the MAP latents and, with `bound`, each row's bound at the mean of q(z|y,x); deterministic.

    A row so strange that the model's numbers overflow gets q(y|x) = 1/K, latents of 0 and a bound of minus infinity.
    """
    model.eval()
    log_q, latents, bounds = [], [], []
    for tensors in rows.in_order(EVALUATION_ROWS):
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
    bound_N = torch.cat(bounds).numpy() if bound else None
    return Inference(torch.cat(log_q).numpy(), torch.cat(latents).numpy(), bound_N=bound_N)


@torch.no_grad()
def evaluate_rows(model: Model, rows: Rows, precision: str, seed: int) -> tuple[Inference, dict[str, float]]:
    """Return the inference of all rows, and the weighted mean ELBO and its parts in nats per row.

    Rows without a finite bound are left out of the means.

    Raises:
        DeepmixError: more than a hundredth of the rows have no finite bound.

    """
    inference = infer_rows(model, rows, precision)
    generator = torch.Generator(rows.device).manual_seed(epoch_seed(seed, "evaluate", 0))
    sums: dict[str, float] = {}
    n_lost = 0
    for tensors in rows.in_order(EVALUATION_ROWS):
        with autocast(rows.device, precision):
            loss: Loss = model(Batch.of(tensors, generator=generator))
        finite_N = loss.elbo_N.isfinite()
        n_lost += int((~finite_N).sum())
        for name, value_N in {"elbo": loss.elbo_N, **loss.terms}.items():
            total = weighted(value_N, tensors.weight_N)
            total = total if finite_N.all() else total[finite_N]
            sums[name] = sums.get(name, 0.0) + float(total.sum())
    assert inference.bound_N is not None
    n_lost = max(n_lost, int(np.isneginf(inference.bound_N).sum()))
    if n_lost > max(MOST_LOST * rows.n_rows, 1):
        raise diverged("in the last update")
    return inference, {name: total / (rows.n_rows - n_lost) for name, total in sums.items()}
