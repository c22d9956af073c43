"""The graph term: its formula, its place in the objective, the neighbours, and exact resuming."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from deepmix.data import Rows
from deepmix.errors import UsageError
from deepmix.maths import Gaussian, jensen_shannon
from deepmix.models import MixtureOptions
from tests.losses import loss_of
from tests.unit.training.test_trainer import PowerCutError, run, small_experiment

WIDTHS = {"encoder.hidden": "8-7", "decoder.hidden": "8-7"}


def log_posteriors(seed: int, sharpness: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(20, 5, generator=generator, dtype=torch.float64)).log_softmax(-1)


def test_divergence_is_scipys():
    p, q = log_posteriors(0), log_posteriors(1)
    expected = jensenshannon(p.exp().numpy(), q.exp().numpy(), axis=1) ** 2
    np.testing.assert_allclose(jensen_shannon(p, q).numpy(), expected, rtol=1e-10)
    assert torch.equal(jensen_shannon(p, q), jensen_shannon(q, p))


def test_divergence_of_likes_is_nothing_and_of_strangers_log_two():
    certain = torch.full((2, 3), -800.0, dtype=torch.float64)
    certain[0, 0] = certain[1, 1] = 0.0
    assert torch.equal(jensen_shannon(certain, certain), torch.zeros(2).double())
    actual = jensen_shannon(certain[:1], certain[1:])
    assert float(actual) == pytest.approx(math.log(2.0))


def test_divergence_has_the_right_gradient():
    logits = [log_posteriors(seed)[:4].clone().requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(lambda p, q: jensen_shannon(p.log_softmax(-1), q.log_softmax(-1)), logits)


@pytest.mark.parametrize("name", ["dgg", "mvae", "mvae-emv1", "mvae-emv2", "k-dvae"])
def test_objective_loses_the_weighted_divergence_of_every_recipe(small_model, name):
    model = small_model(name, graph_weight="2.5", **WIDTHS).double()
    generator = torch.Generator().manual_seed(0)
    x, neighbour = torch.rand(2, 9, 6, generator=generator, dtype=torch.float64).unbind()
    if model.prior().components is not None:
        with torch.no_grad():
            model.prior.place(Gaussian(*torch.randn(2, 4, 2, generator=generator).double()), torch.full((4,), 0.25))
    alone = loss_of(model, x, torch.Generator().manual_seed(5), beta=0.7)
    beside = loss_of(model, x, torch.Generator().manual_seed(5), beta=0.7, neighbours=neighbour)
    after = torch.Generator().manual_seed(5)
    loss_of(model, x, after, beta=0.7)  # leaves the generator where the neighbours' noise is drawn
    theirs = loss_of(model, neighbour, after, beta=0.7).log_q_NK
    expected = alone.objective_N - 2.5 * jensen_shannon(alone.log_q_NK, theirs)
    torch.testing.assert_close(beside.objective_N, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(beside.elbo_N, alone.elbo_N)
    assert (alone.objective_N - beside.objective_N).max() > 1e-3


def test_neighbours_are_the_nearest_other_training_rows():
    x = np.array([[0.0], [1.0], [1.1], [3.0], [9.0], [0.1]], dtype=np.float32)
    actual = Rows(x, np.array([0, 1, 3, 4, 5]), torch.device("cpu")).nearest(2)
    assert [set(row) for row in actual.tolist()] == [{4, 1}, {4, 0}, {1, 4}, {2, 1}, {0, 1}]
    assert Rows(x, np.array([0, 1]), torch.device("cpu")).nearest(7).tolist() == [[1], [0]]


@pytest.mark.parametrize("stops", [(1,), (4,), (1, 3)], ids=str)
def test_resumed_run_with_a_graph_has_the_bits_of_the_whole_one(tmp_path, stops, monkeypatch):
    monkeypatch.setattr("deepmix.training.trainer.CHECKPOINT_SECONDS", 0.0)
    of = small_experiment(graph_weight="3.0", graph_neighbours="4")
    run(tmp_path / "whole", of)
    for index, stop in enumerate(stops):
        with pytest.raises(PowerCutError):
            run(tmp_path / "cut", of, resume=index > 0, stop_after=stop)
    run(tmp_path / "cut", of, resume=True)
    for name in ("model.safetensors", "assignments.csv", "checkpoint/neighbours.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    run(tmp_path / "without", small_experiment())
    assert not (tmp_path / "without" / "checkpoint" / "neighbours.safetensors").exists()
    assert (tmp_path / "without" / "model.safetensors").read_bytes() != (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("bad", [{"graph_weight": -1.0}, {"graph_weight": math.inf}, {"graph_neighbours": 0}])
def test_bad_options(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        MixtureOptions(**bad)


def test_digits_by_dgg_from_k_means(train):
    """Few updates; the graph draws neighbours into one cluster. A guess gets 0.1."""
    settings = {"epochs": "10", "pretrain_epochs": "20", "anchor": "0"}
    results = train("dgg", init="kmeans", settings=settings)
    assert results["heads"]["posterior"]["test"]["acc"] >= 0.6
