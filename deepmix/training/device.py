"""The device a run uses."""

from __future__ import annotations

import torch

from deepmix.errors import UsageError, option


def choose_device(name: str) -> torch.device:
    """Return the device to run on; 'auto' is the GPU where there is one.

    Raises:
        UsageError: there is no such device here.

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
