"""The checksum in the header of a safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

CHECKSUM = "checksum"
"""Key of the checksum in the header."""


def checksum(meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of what else a file's header holds and of the names, types, shapes and bits of its tensors."""
    digest = hashlib.blake2b(json.dumps(meta).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
