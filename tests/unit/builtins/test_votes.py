"""The votes of many methods on samples of the rows."""

from __future__ import annotations

import numpy as np
from deepmix_builtins.clustering.votes import vote_shares


def blobs(distance: float) -> tuple[np.ndarray, np.ndarray]:
    label_N = np.arange(120) % 3
    rows = np.random.default_rng(0).normal(size=(120, 2)) + distance * np.array([[0, 0], [1, 0], [0, 1]])[label_N]
    return rows, label_N


def test_clusters_that_every_method_finds_have_all_votes():
    rows, label_N = blobs(30.0)
    np.testing.assert_allclose(vote_shares(rows, label_N, 3, 0, n_samples=2), np.eye(3)[label_N], atol=1e-12)


def test_clusters_that_overlap_share_votes_and_keep_their_rows():
    rows, label_N = blobs(3.0)
    share_NK = vote_shares(rows, label_N, 3, 0, n_samples=2)
    np.testing.assert_allclose(share_NK.sum(axis=1), 1.0)
    assert (share_NK.argmax(axis=1) == label_N).all()
    own_N = share_NK[np.arange(120), label_N]
    assert own_N.mean() < 0.98
    middle = np.linalg.norm(rows - [1.5, 0.0], axis=1) < 1.0
    assert own_N[middle].mean() < own_N[~middle].mean()


def test_numbers_of_clusters_do_not_matter():
    rows, label_N = blobs(6.0)
    share_NK = vote_shares(rows, label_N, 3, 0, n_samples=2)
    np.testing.assert_allclose(vote_shares(rows, 2 - label_N, 3, 0, n_samples=2), share_NK[:, ::-1], atol=1e-12)


def test_rows_in_no_sample_have_their_own_cluster(monkeypatch):
    monkeypatch.setattr("deepmix_builtins.clustering.votes.SAMPLE_ROWS", 60)
    rows, label_N = blobs(3.0)
    share_NK = vote_shares(rows, label_N, 3, 0, n_samples=1)
    certain_N = share_NK[np.arange(120), label_N] == 1.0
    sample = np.random.default_rng(0).choice(120, 60, replace=False)
    assert np.delete(certain_N, sample).all()
    assert not certain_N[sample].all()
