"""The kits of what clusters rows: heads and initial clusterings."""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np
from scipy import sparse

from deepmix.contracts import ClusteringHead, TrainingRows
from deepmix.maths import Array, Inference
from deepmix.testing.clauses import PluginKit, clause
from deepmix.testing.contract_checks import check_head, check_initializer

N_ROWS, N_CLUSTERS = 60, 3


def _groups(width: int) -> Array:
    """Return three well-separated groups of rows, (N, width) float32."""
    noise = np.random.default_rng(0).normal(size=(N_ROWS, width))
    return (np.repeat(np.eye(N_CLUSTERS, width) * 9.0, N_ROWS // N_CLUSTERS, axis=0) + noise).astype(np.float32)


class HeadKit(PluginKit):
    """The kit of a clustering head: set `part` to a ClusteringHead, or to what makes a scikit-learn clusterer."""

    kind = "heads"

    def train_words(self, name: str) -> list[str]:
        """Return the words that choose the head."""
        return ["--model", "mvae-emv2", "--init", "kmeans", "--head", name]

    def can_predict(self) -> bool:
        """Whether the head can be stored; clusterers of scikit-learn may or may not."""
        return self._is_head() and self.fitted_once().state() is not None

    def inference(self, weight_N: Array | None = None) -> Inference:
        """Return a trained model's output for three groups of rows."""
        q_NK = np.repeat(np.eye(N_CLUSTERS) * 0.97 + 0.01, N_ROWS // N_CLUSTERS, axis=0)
        inference = Inference(np.log(q_NK), _groups(3), weight_N)
        for array in (inference.log_q_NK, inference.latent_NM):
            array.flags.writeable = False
        return inference

    def fitted(self, inference: Inference) -> Any:
        """Return the head, fitted."""
        head = self.part(self.options())
        head.fit(inference, N_CLUSTERS, seed=1)
        return head

    def fitted_once(self) -> Any:
        """Return a head that clauses share, fitted to `inference()`; some heads take seconds to fit."""
        if "_fitted" not in vars(type(self)):
            setattr(type(self), "_fitted", self.fitted(self.inference()))  # noqa: B010 - not declared
        return vars(type(self))["_fitted"]

    def _is_head(self) -> bool:
        return isinstance(self.part, type) and issubclass(self.part, ClusteringHead)

    def _only_heads(self) -> None:
        if not self._is_head():
            raise unittest.SkipTest("deepmix wraps scikit-learn's clusterers and keeps this clause itself")

    @clause("compare with the docstrings of deepmix.contracts.ClusteringHead")
    def test_contract(self) -> None:
        """Predict returns (N,) whole numbers, and a head restored from state() predicts the same."""
        check_head(self.part)

    @clause("draw all random numbers from a generator of `seed`, and change no array in place")
    def test_seeds(self) -> None:
        """The same seed gives the same clusters, and the arrays of the inference stay as they are."""
        self._only_heads()
        inference = self.inference()
        first, second = self.fitted_once(), self.fitted(inference)
        if not np.array_equal(first.predict(inference), second.predict(inference)):
            raise AssertionError("two fits with one seed gave different clusters")

    @clause("pass inference.weight_N on to the algorithm where it is not None")
    def test_weights(self) -> None:
        """Rows with weights can be clustered too."""
        self._only_heads()
        inference = self.inference(np.linspace(0.5, 2.0, N_ROWS))
        if self.fitted(inference).predict(inference).shape != (N_ROWS,):
            raise AssertionError(f"predict must return ({N_ROWS},) clusters for rows with weights")

    @clause("fit in fit() only, and assign each row alone in predict(); a head that can't sets `refits = True`")
    def test_one_row(self) -> None:
        """A row alone gets the cluster that it gets among others."""
        self._only_heads()
        if self.part.refits:
            raise unittest.SkipTest("this head fits the rows that it clusters (`refits`)")
        inference = self.inference()
        head = self.fitted_once()
        alone = head.predict(Inference(inference.log_q_NK[:1], inference.latent_NM[:1]))
        if not np.array_equal(alone, head.predict(inference)[:1]):
            raise AssertionError("one row alone got another cluster than among others")

    @clause("return arrays of numbers from state(), or None if that is impossible")
    def test_state(self) -> None:
        """state() returns arrays of numbers, or None."""
        self._only_heads()
        for name, value in (self.fitted_once().state() or {}).items():
            if np.asarray(value).dtype.kind not in "iufb":
                raise AssertionError(f"'{name}' of state() is of type {np.asarray(value).dtype}")


class InitializerKit(PluginKit):
    """The kit of an initial clustering: set `part` to the class."""

    kind = "initializers"

    def train_words(self, name: str) -> list[str]:
        """Return the words that choose the initial clustering."""
        return ["--model", "mvae-emv2", "--init", name]

    def labels(self, rows: TrainingRows, seed: int = 1) -> Array:
        """Return the initial clusters of rows."""
        labels: Array = self.part(self.options()).initial_labels(rows, N_CLUSTERS, seed)
        return labels

    @clause("compare with the docstring of deepmix.contracts.Initializer")
    def test_contract(self) -> None:
        """initial_labels returns (N,) int64 in [0, K), the same for one seed, with weights too; no step goes back."""
        check_initializer(self.part)

    @clause("convert rows.x_ND with .toarray(), or use rows.code_NM, which is always dense")
    def test_sparse_rows(self) -> None:
        """The rows may be a sparse CSR matrix."""
        x_ND = _groups(5)
        labels = self.labels(TrainingRows(sparse.csr_matrix(x_ND), x_ND[:, :4].copy()))
        if labels.shape != (N_ROWS,):
            raise AssertionError(f"initial_labels must return ({N_ROWS},) for sparse rows, got {labels.shape}")

    @clause("copy arrays before changing them")
    def test_arrays_stay(self) -> None:
        """The rows are not changed."""
        x_ND = _groups(5)
        rows = TrainingRows(x_ND, x_ND[:, :4].copy())
        self.labels(rows)
        if not np.array_equal(x_ND, _groups(5)) or not np.array_equal(rows.code_NM, _groups(5)[:, :4]):
            raise AssertionError("initial_labels changed the rows or their codes")
