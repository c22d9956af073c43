"""LDMGI: local discriminative models and global integration (Yang, Xu, Nie, Yan and Zhuang 2010).

Each row and its nearest neighbours form a local clique of k rows. How badly a clustering agrees with the best linear
discriminant of a clique is a quadratic form of the clique's cluster indicators. Summed over the cliques it is
tr(G^T L G), where G holds the indicators of the clusters, scaled to length 1, and

    L = sum_i S_i L_i S_i^T,    L_i = H (H X_i^T X_i H + r I)^-1 H,    H = I - 1 1^T / k.

The rows of the clique are the columns of X_i, and S_i places them among all rows. G is relaxed to the K eigenvectors
of L with the smallest eigenvalues, and rounded by a spectral rotation (Yu and Shi 2003) as in the paper, or by k-means.
L has at most N k^2 entries that are not 0, and is kept sparse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from deepmix.errors import UsageError
from deepmix.maths import Array

from .carrying import NeighbourHead, NeighbourInitializer, PlaceOptions, without_limit

CLIQUES_AT_ONCE = 4096
"""Cliques whose matrices are inverted together."""

DENSE_ROWS = 2000
"""Up to this many rows, all eigenvectors of the dense matrix take about a second."""

BASIS, TOLERANCE = 200, 1e-4
"""Size of Lanczos' basis, which must be large because the smallest eigenvalues are close, and relative accuracy."""

STARTS = 10
"""Random starts of the rotation and of k-means."""

ROTATIONS = 100
"""Most steps of one start of the rotation; it stops when a step gains nothing, usually after about ten."""

SMALL = 1e-12
"""Added to lengths, so that none is 0."""


@dataclass(frozen=True)
class LdmgiHeadOptions:
    """Options of the method."""

    clique: int = field(default=5, metadata={"help": "rows of a local clique, the row itself included (the paper: 5)"})
    ridge: float = field(
        default=1.0, metadata={"help": "regularisation r of the discriminants, in units of a clique's mean variance"}
    )
    rounding: Literal["auto", "rotation", "k-means"] = field(
        default="auto",
        metadata={"help": "from eigenvectors to clusters: spectral rotation, k-means, or auto, the lower objective"},
    )

    def __post_init__(self) -> None:
        if self.clique < 2:
            raise UsageError(f"clique must be at least 2, got {self.clique}")
        if self.ridge <= 0.0:
            raise UsageError(f"ridge must be above 0, got {self.ridge}")


@dataclass(frozen=True)
class LdmgiInitializerOptions(PlaceOptions, LdmgiHeadOptions):
    """Options of the initial clustering."""

    def __post_init__(self) -> None:
        PlaceOptions.__post_init__(self)
        LdmgiHeadOptions.__post_init__(self)


@final
class LdmgiInitializer(NeighbourInitializer):
    """LDMGI: discriminants of local cliques, integrated into one spectral clustering (Yang et al. 2010)."""

    Options = LdmgiInitializerOptions

    def clusters(self, row_ND: Array, n_clusters: int, seed: int) -> Array:
        """Return K clusters."""
        return ldmgi(row_ND, n_clusters, seed, self.options)


@final
class LdmgiHead(NeighbourHead):
    """LDMGI on the latents; a new row joins the cluster of its nearest training row."""

    Options = LdmgiHeadOptions

    def clusters(self, row_NM: Array, n_clusters: int, seed: int) -> tuple[Array, Array]:
        """Return K clusters; a new row joins that of its nearest row, however far."""
        return without_limit(ldmgi(row_NM, n_clusters, seed, self.options))


def ldmgi(row_ND: Array, n_clusters: int, seed: int, options: LdmgiHeadOptions) -> Array:
    """Return LDMGI's clusters of the rows, (N,) int64 in [0, K)."""
    if n_clusters == 1 or len(row_ND) <= n_clusters:
        return np.arange(len(row_ND), dtype=np.int64) % n_clusters
    clique_Nk = cliques(row_ND, options.clique)
    laplacian_NN = integrated_laplacian(row_ND, clique_Nk, options.ridge * mean_variance(row_ND, clique_Nk))
    vector_NK = smallest_eigenvectors(laplacian_NN, n_clusters, seed)
    unit_NK = vector_NK / np.maximum(np.linalg.norm(vector_NK, axis=1, keepdims=True), SMALL)
    rounded = []
    if options.rounding != "k-means":
        rounded.append(spectral_rotation(unit_NK, seed))
    if options.rounding != "rotation":
        rounded.append(KMeans(n_clusters, n_init=STARTS, random_state=seed).fit_predict(unit_NK).astype(np.int64))
    return min(rounded, key=lambda label_N: objective(laplacian_NN, label_N))


def cliques(row_ND: Array, size: int) -> Array:
    """Return the numbers of the rows of each row's clique, (N, k): its k nearest rows, itself included."""
    return np.asarray(
        NearestNeighbors(n_neighbors=min(size, len(row_ND))).fit(row_ND).kneighbors(row_ND, return_distance=False)
    )


def _centred(row_ND: Array, clique_nk: Array) -> Array:
    """Return the rows of cliques less their mean, (n, k, D)."""
    clique_nkD = row_ND[clique_nk]
    return np.asarray(clique_nkD - clique_nkD.mean(axis=1, keepdims=True))


def mean_variance(row_ND: Array, clique_Nk: Array) -> float:
    """Return the mean squared distance of a clique's rows from their mean, summed over columns."""
    parts = [clique_Nk[start : start + CLIQUES_AT_ONCE] for start in range(0, len(clique_Nk), CLIQUES_AT_ONCE)]
    total = sum(float(np.square(_centred(row_ND, part)).sum()) for part in parts)
    return max(total / clique_Nk.size, SMALL)


def integrated_laplacian(row_ND: Array, clique_Nk: Array, ridge: float) -> sparse.csr_matrix:
    """Return L, (N, N), times r: the sum over cliques of r H (H X^T X H + r I)^-1 H. Multiplied by r it has no unit."""
    n_rows, size = clique_Nk.shape
    identity_kk = np.eye(size)
    centring_kk = identity_kk - 1.0 / size
    local_Nkk = np.empty((n_rows, size, size))
    for start in range(0, n_rows, CLIQUES_AT_ONCE):
        chunk = slice(start, start + CLIQUES_AT_ONCE)
        clique_nkD = _centred(row_ND, clique_Nk[chunk])
        gram_nkk = clique_nkD @ clique_nkD.swapaxes(1, 2) / ridge
        local_Nkk[chunk] = centring_kk @ np.linalg.inv(gram_nkk + identity_kk) @ centring_kk
    first = np.broadcast_to(clique_Nk[:, :, None], local_Nkk.shape)
    second = np.broadcast_to(clique_Nk[:, None, :], local_Nkk.shape)
    return sparse.csr_matrix((local_Nkk.ravel(), (first.ravel(), second.ravel())), shape=(n_rows, n_rows))


def smallest_eigenvectors(laplacian_NN: sparse.csr_matrix, n_vectors: int, seed: int) -> Array:
    """Return the eigenvectors of the smallest eigenvalues, (N, K)."""
    n_rows = laplacian_NN.shape[0]
    if n_rows <= DENSE_ROWS:
        return np.asarray(np.linalg.eigh(laplacian_NN.toarray())[1][:, :n_vectors])
    start_N = np.random.default_rng(seed).normal(size=n_rows)
    basis = min(n_rows, max(BASIS, 2 * n_vectors + 1))
    return np.asarray(eigsh(laplacian_NN, n_vectors, which="SA", v0=start_N, ncv=basis, tol=TOLERANCE)[1])


def objective(laplacian_NN: sparse.csr_matrix, label_N: Array) -> float:
    """Return tr(G^T L G) for the indicators of clusters, each scaled to length 1."""
    size_K = np.bincount(label_N)
    member_NK = sparse.csr_matrix((1.0 / np.sqrt(size_K[label_N]), (np.arange(len(label_N)), label_N)))
    return float((member_NK.T @ laplacian_NN @ member_NK).trace())


def spectral_rotation(unit_NK: Array, seed: int) -> Array:
    """Return the clusters whose indicators are nearest to a rotation of the eigenvectors (Yu and Shi 2003).

    Rotation and clusters are improved in turn, from several starts: K rows of the eigenvectors, as orthogonal to one
    another as can be, the first chosen at random.

    Args:
        unit_NK: the eigenvectors, each row scaled to length 1.
        seed: draws the starts.

    """
    n_rows, n_clusters = unit_NK.shape
    best_N, best_fit = np.zeros(n_rows, dtype=np.int64), -np.inf
    for first in np.random.default_rng(seed).integers(n_rows, size=STARTS):
        rotation_KK, overlap_N = np.zeros((n_clusters, n_clusters)), np.zeros(n_rows)
        rotation_KK[:, 0] = unit_NK[first]
        for k in range(1, n_clusters):
            overlap_N += np.abs(unit_NK @ rotation_KK[:, k - 1])
            rotation_KK[:, k] = unit_NK[overlap_N.argmin()]
        fit = -np.inf
        for _ in range(ROTATIONS):
            label_N = (unit_NK @ rotation_KK).argmax(axis=1)
            sum_KK = np.stack([unit_NK[label_N == k].sum(axis=0) for k in range(n_clusters)])
            left_KK, value_K, right_KK = np.linalg.svd(sum_KK)
            if value_K.sum() <= fit:
                break
            fit = value_K.sum()
            rotation_KK = (left_KK @ right_KK).T
        if fit > best_fit:
            best_N, best_fit = label_N, fit
    return best_N
