"""What benchmarks/tables.py compares deepmix with: clusterings and imputations by scikit-learn and packages from PyPI.

    pip install kmodes gower kmedoids prince

A method whose packages are not installed is skipped by name. All get the table without the columns that name rows;
numbers are standardised where a method does not do so itself.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from table_data import has_levels

if TYPE_CHECKING:
    import pandas as pd

FAMD_COMPONENTS = 5
"""FactoMineR's own default, `ncp = 5`."""
STARTS = 10
"""Number of starts of k-means and of GMMs, of which the best counts; K-prototypes does as many by default."""


class NotApplicableError(Exception):
    """A method that has nothing to do on this table; the message says why."""


@dataclass(frozen=True)
class Rival:
    """A method of another tool."""

    name: str
    packages: Mapping[str, str]
    """The distributions that it needs, and the module of each that it imports."""
    run: Callable[..., Any]
    """`run(frame, n_clusters, seed)` returns clusters, (N,); `run(frame, seed)` of an imputation returns a frame."""
    seeded: bool = True
    """Whether the result depends on the seed."""

    def import_packages(self) -> list[str]:
        """Import the packages, so that no run is timed with its imports; return the names of those that are absent."""
        absent = []
        for package, module in self.packages.items():
            try:
                importlib.import_module(module)
            except ImportError:
                absent.append(package)
        return absent


def version_of(package: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class Encoding:
    """The map between a frame and numbers: numbers standardised, levels one-hot, NaN where a value is missing.

    Args:
        frame: the table whose means, standard deviations and levels are used.
        n_omitted: 1 to leave out the column of each first level, so that no column is a function of the others.

    """

    def __init__(self, frame: pd.DataFrame, n_omitted: int = 0) -> None:
        self.n_omitted = n_omitted
        self.levels = {name: sorted(frame[name].dropna().unique()) for name in frame if has_levels(frame[name])}
        self.numbers = [name for name in frame if name not in self.levels]
        values = frame[self.numbers].astype(float)
        self.mean, self.std = values.mean(), values.std(ddof=0).replace(0.0, 1.0)

    def encode(self, frame: pd.DataFrame) -> Any:
        """Return (N, F) float64."""
        parts = [((frame[self.numbers].astype(float) - self.mean) / self.std).to_numpy()]
        for name, levels in self.levels.items():
            column = frame[name].astype(object).where(frame[name].notna(), None)
            block = np.stack([(column == level).to_numpy(dtype=float) for level in levels], axis=1)
            block[column.isna().to_numpy()] = np.nan
            parts.append(block[:, self.n_omitted :])
        return np.concatenate(parts, axis=1)

    def fill(self, frame: pd.DataFrame, encoded_NF: Any) -> pd.DataFrame:
        """Return the frame with its missing cells filled: a level is the one whose column is greatest."""
        import pandas as pd

        start = len(self.numbers)
        values = encoded_NF[:, :start] * self.std.to_numpy() + self.mean.to_numpy()
        filled = pd.DataFrame(values, columns=self.numbers, index=frame.index)
        for name, levels in self.levels.items():
            stop = start + len(levels) - self.n_omitted
            block = encoded_NF[:, start:stop]
            if self.n_omitted:
                block = np.column_stack([1.0 - block.sum(axis=1), block])
            filled[name] = np.array(levels, dtype=object)[block.argmax(axis=1)]
            start = stop
        return frame.astype(object).where(frame.notna(), filled[list(frame.columns)])


def k_prototypes(frame: pd.DataFrame, n_clusters: int, seed: int) -> Any:
    """Return the clusters of K-prototypes with its defaults, numbers standardised."""
    encoding = Encoding(frame)
    if not encoding.levels:
        raise NotApplicableError("the table has no levels, so that it is k-means")
    if not encoding.numbers:
        raise NotApplicableError("the table has no numbers, so that it is k-modes")
    from kmodes.kprototypes import KPrototypes

    scaled = frame.astype(object)
    scaled[encoding.numbers] = (frame[encoding.numbers].astype(float) - encoding.mean) / encoding.std
    places = [number for number, name in enumerate(frame) if name in encoding.levels]
    model = KPrototypes(n_clusters, n_init=STARTS, random_state=seed)
    return model.fit_predict(scaled.to_numpy(), categorical=places)


def gower_pam(frame: pd.DataFrame, n_clusters: int, seed: int) -> Any:
    """Return the clusters of PAM, with its BUILD start, on Gower's distances; nothing in it is random."""
    import gower
    import kmedoids

    levels = [has_levels(frame[name]) for name in frame]
    plain = frame.astype({name: object if level else float for name, level in zip(frame, levels, strict=True)})
    distances = gower.gower_matrix(plain, cat_features=levels)
    return kmedoids.pam(distances, n_clusters, init="build").labels.astype(int)


def famd_gmm(frame: pd.DataFrame, n_clusters: int, seed: int) -> Any:
    """Return the clusters of a GMM on the first components of FAMD, which is PCA where there are no levels."""
    levels = [has_levels(frame[name]) for name in frame]
    if all(levels):
        raise NotApplicableError("the table has no numbers, so that it is MCA")
    import prince

    method = prince.FAMD if any(levels) else prince.PCA
    n_components = min(FAMD_COMPONENTS, len(frame.columns))
    model = method(n_components=n_components, random_state=seed).fit(frame)
    return _gmm(model.row_coordinates(frame).to_numpy(dtype=float), n_clusters, seed)


def one_hot_gmm(frame: pd.DataFrame, n_clusters: int, seed: int) -> Any:
    """Return the clusters of a GMM on standardised numbers and one-hot levels."""
    return _gmm(Encoding(frame).encode(frame), n_clusters, seed)


def one_hot_k_means(frame: pd.DataFrame, n_clusters: int, seed: int) -> Any:
    """Return the clusters of k-means on standardised numbers and one-hot levels."""
    from sklearn.cluster import KMeans

    return KMeans(n_clusters, n_init=STARTS, random_state=seed).fit_predict(Encoding(frame).encode(frame))


def _gmm(x_NF: Any, n_clusters: int, seed: int) -> Any:
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(n_clusters, n_init=STARTS, random_state=seed).fit_predict(x_NF)


def fill_mean_mode(frame: pd.DataFrame, seed: int) -> Any:
    """Fill numbers with their column's mean and levels with the most frequent one (of several, the first in order)."""
    values = {name: frame[name].mode().iloc[0] if has_levels(frame[name]) else frame[name].mean() for name in frame}
    return frame.astype(object).fillna(values)


def fill_knn(frame: pd.DataFrame, seed: int) -> Any:
    """Fill by scikit-learn's KNNImputer with its defaults, on standardised numbers and one-hot levels."""
    from sklearn.impute import KNNImputer

    encoding = Encoding(frame)
    return encoding.fill(frame, KNNImputer(keep_empty_features=True).fit_transform(encoding.encode(frame)))


def fill_iterative(frame: pd.DataFrame, seed: int) -> Any:
    """Fill by scikit-learn's IterativeImputer with its defaults, on standardised numbers and one-hot levels.

    Each first level has no column. With all of them, whose sum is 1, the regressions predict a level's column from the
    others of the same cell, so that they never change the frequencies that they start from.
    """
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (its import is what makes the next one work)
    from sklearn.impute import IterativeImputer

    encoding = Encoding(frame, n_omitted=1)
    imputer = IterativeImputer(random_state=seed, keep_empty_features=True)
    return encoding.fill(frame, imputer.fit_transform(encoding.encode(frame)))


CLUSTERINGS = (
    Rival("K-prototypes", {"kmodes": "kmodes.kprototypes"}, k_prototypes),
    Rival("Gower + PAM", {"gower": "gower", "kmedoids": "kmedoids"}, gower_pam, seeded=False),
    Rival("FAMD + GMM", {"prince": "prince"}, famd_gmm),
    Rival("GMM, one-hot", {"scikit-learn": "sklearn.mixture"}, one_hot_gmm),
    Rival("k-means, one-hot", {"scikit-learn": "sklearn.cluster"}, one_hot_k_means),
)
IMPUTATIONS = (
    Rival("mean/mode", {"pandas": "pandas"}, fill_mean_mode),
    Rival("kNN", {"scikit-learn": "sklearn.impute"}, fill_knn),
    Rival("IterativeImputer", {"scikit-learn": "sklearn.impute"}, fill_iterative),
)
"""Each sees other hidden cells with each seed, so that all of them run with every seed."""
