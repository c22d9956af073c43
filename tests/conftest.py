from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from deepmix.experiment import stability


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Use one thread: small tensors gain nothing from more, and results are the same on every machine."""
    torch.set_num_threads(1)


ALL_REFITS = stability.REFITS


@pytest.fixture(autouse=True, scope="session")
def _few_refits() -> Iterator[None]:
    """Measure the stability of a run's clusters with 3 refits: 20 take longer than most runs of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stability, "REFITS", 3)
        yield


@pytest.fixture
def all_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the stability as everybody else does, for one test."""
    monkeypatch.setattr(stability, "REFITS", ALL_REFITS)
