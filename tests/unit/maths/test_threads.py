"""UMAP and pynndescent start numba's threads, whose number OpenMP then takes for torch too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

from deepmix.experiment.baselines import plain_methods
from deepmix.maths import own_threads
from deepmix.report import analysis


class UMAP:
    """A layout of two columns that leaves torch with three threads."""

    def __init__(self, **options: object) -> None:
        pass

    def fit_transform(self, rows: np.ndarray) -> np.ndarray:
        torch.set_num_threads(3)
        return rows[:, :2]


@pytest.fixture
def rows_ND(monkeypatch: pytest.MonkeyPatch) -> Iterator[np.ndarray]:
    """Return rows, with UMAP in the place of the library's."""
    module = ModuleType("umap")
    module.UMAP = UMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    assert torch.get_num_threads() == 1
    yield np.random.default_rng(0).normal(size=(60, 3))
    torch.set_num_threads(1)


def test_torch_gets_its_threads_back_also_after_an_error():
    def fail() -> None:
        with own_threads():
            torch.set_num_threads(3)
            raise ValueError("of the layout")

    with pytest.raises(ValueError, match="of the layout"):
        fail()
    assert torch.get_num_threads() == 1


def test_the_baseline_by_umap_leaves_torch_its_threads(rows_ND):
    plain_methods(rows_ND, 2, 0, None, with_umap=True)["UMAP + GMM"]()
    assert torch.get_num_threads() == 1


def test_the_reports_map_by_umap_leaves_torch_its_threads(rows_ND):
    assert [one.name for one in analysis.projections(rows_ND, 0, with_umap=True)] == ["PCA", "t-SNE", "UMAP"]
    assert torch.get_num_threads() == 1
