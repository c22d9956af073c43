"""The choice of the device for a run."""

from __future__ import annotations

import torch

from deepmix.errors import UsageError, option


def choose_device(name: str) -> torch.device:
    """Return the device of this name; 'auto' is the GPU where there is one.

    Raises:
        UsageError: this machine has no such device.

    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.Generator(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{name}' can't be used here; try {option('device', 'cpu')}") from error
    return device
