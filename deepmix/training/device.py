"""The choice of the device for a run."""

from __future__ import annotations

import torch

from deepmix.errors import UsageError, option
from deepmix.training.ranks import ALONE, Ranks


def choose_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """Return the device of this name; 'auto' is the GPU where there is one.

    Each of several processes on one machine gets a GPU of its own.

    Raises:
        UsageError: this machine has no such device.

    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks.size > 1:
        name = f"cuda:{ranks.local}"
    try:
        device = torch.device(name)
        torch.Generator(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{name}' can't be used here; try {option('device', 'cpu')}") from error
    if device.type == "cuda" and ranks.size > 1:
        torch.cuda.set_device(device)
    return device
