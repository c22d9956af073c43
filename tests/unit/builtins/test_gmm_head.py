"""The head `gmm`: Gaussians on the latents, with q(y|x) as the weights of each row."""

from __future__ import annotations

import numpy as np
import pytest
from deepmix_builtins.clustering.heads import GmmHead
from scipy.stats import multivariate_normal

from deepmix.contracts import NoOptions
from deepmix.maths import Inference


def log_q(label_N: np.ndarray, n_components: int, largest: float) -> np.ndarray:
    """Return log q(y|x) whose largest entry is the same in every row."""
    rest = (1.0 - largest) / (n_components - 1)
    return np.log(np.where(np.eye(n_components)[label_N] > 0, largest, rest)).astype(np.float32)


def stretched(n_rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return latents whose two Gaussians of largest likelihood lie across the two clusters, and the clusters."""
    random = np.random.default_rng(0)
    label_N = np.arange(n_rows) % 2
    place_N = np.where(random.random(n_rows) < 0.5, 6.0, -6.0)
    latent_NM = np.column_stack([place_N, 1.5 * label_N]) + 0.5 * random.normal(size=(n_rows, 2))
    return latent_NM.astype(np.float32), label_N


def test_certain_rows_stay_in_the_models_clusters():
    latent_NM, label_N = stretched()
    rows = Inference(log_q(label_N, 2, 0.999), latent_NM)
    head, shared = GmmHead(NoOptions()), GmmHead(NoOptions(), by_row=False)
    for one in (head, shared):
        one.fit(rows, 2, seed=0)
    assert np.mean(head.predict(rows) == label_N) == 1.0
    assert np.mean(shared.predict(rows) == label_N) < 0.99


def test_latents_decide_where_q_is_unsure():
    random = np.random.default_rng(1)
    label_N = np.arange(300) % 3
    latent_NM = (8.0 * np.eye(3)[label_N] + random.normal(size=(300, 3))).astype(np.float32)
    log_q_NK = log_q(label_N, 3, 0.9)
    log_q_NK[:20] = log_q((label_N[:20] + 1) % 3, 3, 0.4)
    rows = Inference(log_q_NK, latent_NM)
    head = GmmHead(NoOptions())
    head.fit(rows, 3, seed=0)
    assert np.array_equal(head.predict(rows), label_N)


def test_prediction_is_the_largest_of_q_times_the_density():
    latent_NM, label_N = stretched()
    rows = Inference(log_q(label_N, 2, 0.7), latent_NM)
    head = GmmHead(NoOptions())
    head.fit(rows, 2, seed=0)
    state = head.state()
    density_NK = [
        multivariate_normal(mean, cov).logpdf(latent_NM)
        for mean, cov in zip(state["means"], state["covariances"], strict=True)
    ]
    assert np.array_equal(head.predict(rows), (np.stack(density_NK, axis=1) + rows.log_q_NK).argmax(axis=1))


def test_restored_heads_predict_the_same_and_heads_of_earlier_versions_share_weights():
    latent_NM, label_N = stretched()
    rows = Inference(log_q(label_N, 2, 0.7), latent_NM)
    head, shared = GmmHead(NoOptions()), GmmHead(NoOptions(), by_row=False)
    for one in (head, shared):
        one.fit(rows, 2, seed=0)
        again = GmmHead(NoOptions())
        again.restore(one.state())
        assert np.array_equal(again.predict(rows), one.predict(rows))
    earlier = GmmHead(NoOptions())
    earlier.restore({name: value for name, value in shared.state().items() if name != "by_row"})
    assert np.array_equal(earlier.predict(rows), shared.predict(rows))


@pytest.mark.parametrize("n_components", [1, 4])
def test_a_model_of_other_components_has_a_mixture_with_shared_weights(n_components):
    latent_NM, _ = stretched()
    rows = Inference(np.full((len(latent_NM), n_components), -np.log(n_components), np.float32), latent_NM)
    head = GmmHead(NoOptions())
    head.fit(rows, 2, seed=0)
    assert not head.state()["by_row"]
    assert len(np.unique(head.predict(rows))) == 2
