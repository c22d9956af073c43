"""The precision in which networks compute; densities are always float32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

LARGE_LAYER = 2**19
"""Weights of a layer from which on bfloat16 saves more time than the conversions take."""


def autocast(device: torch.device, precision: str | None) -> AbstractContextManager[Any]:
    """Return the context in which networks run; None is float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def update_precision(precision: str | None, model: nn.Module, device: torch.device) -> str:
    """Return the precision of the updates: the requested one or, for None, the faster one of this model and device."""
    if precision is not None:
        return precision
    is_large = any(one.requires_grad and one.dim() == 2 and one.numel() >= LARGE_LAYER for one in model.parameters())
    return "bf16" if is_large and device.type == "cpu" and has_bfloat16() else "fp32"


def has_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
