"""`consensus` without a network: new rows, certainty, the density of its Gaussians, missing values, and a saved run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import make_moons

from deepmix import DeepMixture, load
from deepmix.contracts import Batch
from deepmix.metrics import clustering_accuracy
from tests.losses import loss_of

K, D = 4, 6


def placed(small_model, n_rows: int = 60, **settings):
    random = np.random.default_rng(0)
    label_N = np.arange(n_rows) % K
    rows = 5.0 * np.eye(K, D)[label_N] + random.normal(size=(n_rows, D))
    model = small_model("consensus", likelihood="gaussian", stored_rows="40", **settings).double()
    model.place(torch.from_numpy(rows), torch.zeros(n_rows), torch.from_numpy(label_N))
    return model, rows, label_N


def test_moons_are_followed_and_new_rows_are_predicted():
    rows, moon_N = make_moons(600, noise=0.05, random_state=0)
    model = DeepMixture(2, model="consensus").fit(rows[:400])
    assert clustering_accuracy(moon_N[:400], model.labels_) == 1.0
    assert clustering_accuracy(moon_N[400:], model.predict(rows[400:])) >= 0.99
    certainty = model.predict_proba(rows).max(axis=1)
    assert certainty.min() >= 0.5
    assert 0.8 < certainty.mean() <= 1.0


def test_rows_that_methods_disagree_on_are_less_certain():
    random = np.random.default_rng(0)
    rows = np.concatenate([random.normal(size=(150, 2)), random.normal([4.0, 0.0], size=(150, 2))])
    model = DeepMixture(2, model="consensus", settings={"scale": "none"}).fit(rows)
    certainty = model.predict_proba(np.array([[-1.0, 0.0], [2.0, 0.0], [5.0, 0.0]])).max(axis=1)
    assert certainty[1] < 0.9 < min(certainty[0], certainty[2])


def test_the_bound_is_the_log_density_of_the_rows_gaussians(small_model):
    model, rows, _ = placed(small_model)
    share_MK, width_M = model.log_share_MK.exp().numpy(), model.log_width_M.exp().numpy()
    assert share_MK.sum() == pytest.approx(1.0)
    density_NM = np.stack(
        [
            multivariate_normal(row, width**2).pdf(rows)
            for row, width in zip(model.row_MD.numpy(), width_M, strict=True)
        ],
        axis=1,
    )
    joint_NK = density_NM @ share_MK
    bound = loss_of(model, torch.from_numpy(rows), torch.Generator(), beta=1.0)
    np.testing.assert_allclose(bound.elbo_N.numpy(), np.log(joint_NK.sum(axis=1)), rtol=1e-9)
    np.testing.assert_allclose(bound.log_q_NK.exp().numpy(), joint_NK / joint_NK.sum(1, keepdims=True), atol=1e-9)


def test_samples_belong_to_their_component(small_model):
    model, rows, label_N = placed(small_model)
    q_NK = model.infer(Batch(torch.from_numpy(rows)))[0].exp().numpy()
    assert (q_NK.argmax(axis=1) == label_N).all()
    sample = model.sample(500, 2, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(sample.mean(0).numpy(), rows[label_N == 2].mean(axis=0), atol=0.6)


def test_missing_values_are_integrated_out(small_model):
    model, rows, _ = placed(small_model)
    holed = rows[:8].copy()
    holed[:, 0] = np.nan
    log_q_NK, latent_NF = model.infer(Batch(torch.from_numpy(holed)))
    share_MK, width_M = model.log_share_MK.exp().numpy(), model.log_width_M.exp().numpy()
    parts = zip(model.row_MD.numpy(), width_M, strict=True)
    density_NM = np.stack([multivariate_normal(row[1:], width**2).pdf(rows[:8, 1:]) for row, width in parts], axis=1)
    joint_NK = density_NM @ share_MK
    np.testing.assert_allclose(log_q_NK.exp().numpy(), joint_NK / joint_NK.sum(1, keepdims=True), atol=1e-9)
    best_N = joint_NK.argmax(axis=1)
    weight_NM = density_NM * share_MK[:, best_N].T
    expected_N = weight_NM @ model.row_MD.numpy()[:, 0] / weight_NM.sum(axis=1)
    np.testing.assert_allclose(latent_NF[:, 0].numpy(), expected_N, rtol=1e-9)
    np.testing.assert_array_equal(latent_NF[:, 1:].numpy(), rows[:8, 1:])


def test_a_table_with_gaps():
    random = np.random.default_rng(0)
    group_N = np.arange(120) % 2
    frame = pd.DataFrame(random.normal(size=(120, 3)) + 6.0 * group_N[:, None], columns=["a", "b", "c"])
    holed = frame.mask(random.random(frame.shape) < 0.2)
    holed["a"] = holed["a"].where(holed.notna().any(axis=1), frame["a"])
    model = DeepMixture(2, model="consensus").fit(holed)
    assert clustering_accuracy(group_N, model.labels_) >= 0.98


def test_a_saved_run_predicts_the_same(tmp_path):
    rows, _ = make_moons(300, noise=0.05, random_state=0)
    model = DeepMixture(2, model="consensus").fit(rows)
    model.save(tmp_path / "run")
    again = load(tmp_path / "run")
    np.testing.assert_array_equal(model.predict_proba(rows), again.predict_proba(rows))


def test_stored_rows_must_be_two_at_least():
    with pytest.raises(ValueError, match=r"settings=\{'stored_rows': ...\} must be at least 2, got 1"):
        DeepMixture(2, model="consensus", settings={"model.stored_rows": 1}).fit(np.zeros((9, 2)))
