from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Use one thread: small tensors gain nothing from more, and results are the same on every machine."""
    torch.set_num_threads(1)
