"""What the mathematics of tables promises: exact bounds with gaps, weights as copies, conditions, honest intervals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from deepmix import DeepMixture
from deepmix.contracts import Batch, Phase
from deepmix.data import Rows, TableOptions
from tests.tables import mixed_table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


SETTINGS = {"encoder.hidden": "24", "decoder.hidden": "24"}


@pytest.fixture(scope="module")
def fitted() -> DeepMixture:
    frame = mixed_table().drop(columns=["group", "weight", "site"])
    estimator = DeepMixture(3, init="kmeans", epochs=4, pretrain_epochs=4, batch_size=16, settings=SETTINGS)
    return estimator.fit(frame)


def batch_of(estimator: DeepMixture, frame: pd.DataFrame) -> Batch:
    """Return all rows of a frame as one batch."""
    rows, _ = estimator.run_.encode(frame)
    return Batch.of(next(Rows(rows, np.arange(len(frame)), torch.device("cpu")).in_order(len(frame))))


@pytest.mark.parametrize("name", ["length", "spend", "visits", "plan", "member", "joined"])
def test_the_bound_of_a_gap_is_that_of_the_other_columns(fitted, name):
    """With the encoder's input as it is, a missing cell takes its own log-density from the bound and nothing else."""
    frame = mixed_table().drop(columns=["group", "weight", "site"])
    frame = frame[frame.notna().all(axis=1)].head(20)
    model, schema = fitted.run_.model.double(), fitted.run_.schema
    whole = batch_of(fitted, frame)
    whole = dataclasses.replace(whole, x_ND=whole.x_ND.double(), cells_NC=whole.cells_NC.double())
    of_column = torch.tensor([column == name for column in schema.cell_columns])
    gap = dataclasses.replace(whole, cells_NC=whole.cells_NC.masked_fill(of_column, torch.nan))
    try:
        with torch.no_grad():
            component_N, z_NM = model.posterior_sample(whole)
            outputs_NP = model.decode(z_NM, component_N)
            cells_NC = model.likelihood.cell_log_prob(whole.cells_NC, outputs_NP)
            without_NC = model.likelihood.cell_log_prob(gap.cells_NC, outputs_NP)
            hold = Phase("train", hold=True)  # one component per row, so that the bound is in closed form
            bounds = [
                model.training_loss(dataclasses.replace(batch, phase=hold, label_N=component_N)).elbo_N
                for batch in (whole, gap)
            ]
    finally:
        fitted.run_.model.float()
    assert cells_NC[:, of_column].abs().min() > 0.0
    assert torch.equal(without_NC, cells_NC.masked_fill(of_column, 0.0))
    assert (bounds[0] - bounds[1]).numpy() == pytest.approx(cells_NC[:, of_column].sum(-1).numpy(), rel=1e-9)


def test_a_weighted_step_is_that_of_repeated_rows():
    frame = mixed_table(40).drop(columns=["group", "site"])
    estimator = DeepMixture(
        3, init="kmeans", epochs=1, pretrain_epochs=1, settings={**SETTINGS, "noise": "false", "hold": "0"},
        columns=TableOptions(weight_column="weight"),
    ).fit(frame)  # fmt: skip
    model = estimator.run_.model.double()
    rows, _ = estimator.run_.encode(frame)
    weights = rows.weights.astype(int)
    repeats = np.repeat(np.arange(40), weights)
    assert len(repeats) > 60

    def gradients(numbers: np.ndarray, weight_N: torch.Tensor | None) -> dict[str, np.ndarray]:
        batch = batch_of(estimator, frame.iloc[numbers])
        labels = torch.from_numpy(estimator.labels_[numbers])
        batch = dataclasses.replace(
            batch, x_ND=batch.x_ND.double(), cells_NC=batch.cells_NC.double(), weight_N=None, label_N=labels,
            phase=Phase("train", anchor=1.0),
        )  # fmt: skip
        model.zero_grad()
        objective_N = model(batch).objective_N
        (-(objective_N if weight_N is None else objective_N * weight_N).mean()).backward()
        return {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}

    weight_N = torch.from_numpy(weights / weights.mean())
    weighted, repeated = gradients(np.arange(40), weight_N), gradients(repeats, None)
    plain = gradients(np.arange(40), None)
    assert len(weighted) > 10
    for name, gradient in weighted.items():
        np.testing.assert_allclose(gradient, repeated[name], rtol=1e-6, atol=1e-9)
    assert any(not np.allclose(weighted[name], plain[name], rtol=1e-3) for name in weighted)


def sites_table() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return rows of three groups at two sites that shift every column more than the groups do, groups and sites."""
    random = np.random.default_rng(0)
    group, site = np.arange(300) % 3, random.integers(2, size=300)
    centres = np.array([[3.0, 0, 0, 3, 0, 0], [0, 3, 0, 0, 3, 0], [0, 0, 3, 0, 0, 3]])
    x = centres[group] + np.outer(site, [6.0, 5, 6, 5, 6, 5]) + 0.5 * random.normal(size=(300, 6))
    frame = pd.DataFrame(x, columns=list("abcdef")).assign(site=np.where(site == 1, "south", "north"))
    return frame, group, site


def test_clusters_do_not_encode_a_condition():
    frame, group, site = sites_table()
    parameters = {"epochs": 40, "pretrain_epochs": 40, "batch_size": 32, "settings": SETTINGS, "latent_dim": 4}
    with_site = DeepMixture(3, columns=TableOptions(conditions=("site",)), **parameters).fit(frame).labels_
    assert abs(adjusted_rand_score(site, with_site)) < 0.1
    assert adjusted_rand_score(group, with_site) > 0.9
    without = DeepMixture(3, columns=TableOptions(drop=("site",)), **parameters).fit(frame).labels_
    assert adjusted_rand_score(group, without) < 0.7
    assert adjusted_rand_score(site, without) > 0.2


def test_intervals_hold_hidden_values_at_their_rate():
    """Three groups and a common factor, a part of whose cells is hidden; the margin is 0.1 for so short a training."""
    random = np.random.default_rng(0)
    n_rows, group = 600, np.arange(600) % 3
    factor = random.normal(size=n_rows)
    loadings = np.array([1.0, -1.0, 0.8, -0.6, 0.9, 0.7])
    x = 4.0 * np.eye(3, 6)[group] + np.outer(factor, loadings) + 0.5 * random.normal(size=(n_rows, 6))
    truth = pd.DataFrame(x, columns=list("abcdef"))
    hidden = random.random(x.shape) < 0.15
    holes = truth.mask(hidden)
    estimator = DeepMixture(3, epochs=50, pretrain_epochs=25, batch_size=32, settings=SETTINGS, latent_dim=2).fit(holes)
    for interval in (0.5, 0.8, 0.95):
        imputation = estimator.impute(holes, interval=interval)
        inside = (imputation.low.to_numpy(float) <= x) & (x <= imputation.high.to_numpy(float))
        assert inside[hidden].mean() == pytest.approx(interval, abs=0.1)
    errors, of_the_mean = np.abs(imputation.frame.to_numpy() - x)[hidden], np.abs(x - holes.mean().to_numpy())[hidden]
    assert errors.mean() < 0.75 * of_the_mean.mean()
