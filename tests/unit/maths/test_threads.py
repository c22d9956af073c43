"""UMAP and pynndescent start numba's threads, whose number OpenMP then takes for torch too; OpenBLAS has its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from deepmix_builtins.clustering.auto import AutoInitializer
from threadpoolctl import ThreadpoolController

from deepmix import DeepMixture
from deepmix.experiment import component_count, run
from deepmix.experiment.baselines import plain_methods
from deepmix.maths import own_threads, single_blas_thread
from deepmix.maths.threads import FEW_VALUES
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


def blas_threads() -> list[int]:
    return [
        library["num_threads"] for library in ThreadpoolController().info() if library["internal_api"] == "openblas"
    ]


@pytest.fixture
def two_blas_threads() -> Iterator[None]:
    """Let OpenBLAS have two threads."""
    if not blas_threads():
        pytest.skip("NumPy and SciPy do not use OpenBLAS here")
    with ThreadpoolController().select(internal_api="openblas").limit(limits=2):
        yield


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


def test_linear_algebra_of_few_values_has_one_thread_and_its_threads_afterwards(two_blas_threads):
    with single_blas_thread(FEW_VALUES):
        assert set(blas_threads()) == {1}
    with single_blas_thread(FEW_VALUES + 1):
        assert set(blas_threads()) == {2}
    assert set(blas_threads()) == {2}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one epoch makes poor clusters
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (AutoInitializer, "initial_labels"),
        (run, "fit_heads"),
        (run, "measure_stability"),
        (component_count, "find_valleys"),
    ],
)
def test_a_run_on_few_rows_clusters_with_one_thread_of_linear_algebra(two_blas_threads, monkeypatch, owner, name):
    seen, own = set(), getattr(owner, name)

    def spy(*arguments: object, **named: object) -> object:
        seen.update(blas_threads())
        return own(*arguments, **named)

    monkeypatch.setattr(owner, name, spy)
    random = np.random.default_rng(0)
    rows = (random.normal(size=(60, 3)) + 9.0 * random.integers(2, size=(60, 1))).astype(np.float32)
    DeepMixture(2, epochs=1, pretrain_epochs=1).fit(rows)
    assert seen == {1}
    assert set(blas_threads()) == {2}
