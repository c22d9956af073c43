"""Image features from a network trained elsewhere: ResNet-50, for STL-10 (VaDE section 4.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from deepmix.errors import DeepmixError, UsageError
from deepmix.maths import Array

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel of images in 0..1, with which torchvision's weights were trained."""


POOL = 3
"""VaDE pools 3 x 3, which is the whole of the last feature map of a 96 x 96 image."""


BATCH = 64
"""Images per pass: 64 of 96 x 96 need about 300 MB."""


def require_torchvision(instead: str) -> Any:
    """Return torchvision's models; where it can't be imported, raise a UsageError that offers `instead`."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: it was built for another torch
        raise UsageError(
            f"STL-10's features are computed by torchvision, which can't be imported ({error}); install the build "
            f"for this torch with pip install 'deepmix[stl10]', or {instead}"
        ) from error
    return models


@torch.no_grad()
def resnet50_features(images: Array, network: nn.Module) -> Array:
    """Return the average-pooled last feature map, (N, 2048) float32, of images (N, 3, 96, 96) uint8."""
    trunk = nn.Sequential(*list(network.children())[:-2]).eval()  # all but the pooling and the classifier
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    rows = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).float() / 255.0
        rows.append(functional.avg_pool2d(trunk((batch - mean) / std), POOL).flatten(1).numpy())
    return np.concatenate(rows)


def load_resnet50(models: Any, weights: Path) -> nn.Module:
    """Return torchvision's ResNet-50 with weights from a safetensors file."""
    network: nn.Module = models.resnet50()
    try:
        network.load_state_dict(safetensors.torch.load_file(weights))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise DeepmixError(f"'{weights}' does not hold a ResNet-50; remove it, and it will be fetched again") from error
    return network
