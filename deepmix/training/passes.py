"""Passes over all rows without gradients."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

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


@torch.no_grad()
def evaluate_rows(model: Model, rows: Rows, precision: str, seed: int) -> tuple[Inference, dict[str, float]]:
    """Return q(y|x) and the MAP latents of all rows, and the mean ELBO and its parts in nats per row."""
    model.eval()
    generator = torch.Generator(rows.device).manual_seed(epoch_seed(seed, "evaluate", 0))
    log_q, latents = [], []
    sums: dict[str, float] = {}
    for x_ND in rows.in_order(EVALUATION_ROWS):
        with autocast(rows.device, precision):
            log_q_NK, latent_NM = model.infer(Batch(x_ND))
            loss: Loss = model(Batch(x_ND, generator))
        log_q.append(log_q_NK.float().cpu())
        latents.append(latent_NM.float().cpu())
        for name, value_N in {"elbo": loss.elbo_N, **loss.terms}.items():
            sums[name] = sums.get(name, 0.0) + float(value_N.sum())
    inference = Inference(torch.cat(log_q).numpy(), torch.cat(latents).numpy())
    if not math.isfinite(sums["elbo"]) or np.isnan(inference.log_q_NK).any():
        raise diverged("in the last update")
    return inference, {name: total / rows.n_rows for name, total in sums.items()}
