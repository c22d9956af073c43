"""The adjusted Rand index that a classifier still reaches when cells are hidden, though it knows the true classes.

    python benchmarks/hidden_ceiling.py --data DIR

A Gaussian per class is fitted to the complete rows of a numeric table by the true classes. It then classifies all rows,
by the densities of the values that each row has, before and after the cells that `benchmarks/tables.py impute` hides
with the same seed. No clustering can be expected to lose less than this does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import positive
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score
from table_data import SOURCES, read_table as read
from table_scores import hide_cells
from tables import FRACTION

TABLES = ("penguins-measurements", "olive-region", "olive-area", "wine", "breast_cancer")
RIDGE = 1e-6
"""Added to the variances of standardised columns."""


def classify(rows_ND: np.ndarray, means: list[np.ndarray], covariances: list[np.ndarray], log_prior: list[float]):
    """Return each row's most probable class, (N,), from the values that it has."""
    scores = []
    for row in rows_ND:
        seen = ~np.isnan(row)
        scores.append(
            [
                prior + (multivariate_normal(m[seen], s[np.ix_(seen, seen)]).logpdf(row[seen]) if seen.any() else 0.0)
                for m, s, prior in zip(means, covariances, log_prior, strict=True)
            ]
        )
    return np.argmax(scores, axis=1)


def main() -> None:
    """Print the index of each table before and after cells are hidden, mean over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of CSV files, which go before the packages")
    parser.add_argument("--seeds", type=positive, default=5)
    options = parser.parse_args()
    for source in SOURCES:
        if source.name not in TABLES:
            continue
        table = read(source, options.data)
        known, class_N = table.frame[table.columns], pd.factorize(table.labels)[0]
        mean_D, spread_D = known.mean().to_numpy(), known.std().to_numpy()
        complete_ND = (known.to_numpy(dtype=float) - mean_D) / spread_D
        own = [complete_ND[(class_N == k) & table.complete] for k in range(class_N.max() + 1)]
        ridge = RIDGE * np.eye(len(mean_D))
        model = ([o.mean(0) for o in own], [np.cov(o.T) + ridge for o in own], [np.log(len(o)) for o in own])
        before = adjusted_rand_score(class_N, classify(complete_ND, *model))
        after = []
        for seed in range(options.seeds):
            holed = hide_cells(table.frame, table.columns, FRACTION, seed)[0][table.columns]
            rows_ND = (holed.astype("Float64").to_numpy(dtype=float, na_value=np.nan) - mean_D) / spread_D
            after.append(adjusted_rand_score(class_N, classify(rows_ND, *model)))
        values = " ".join(f"{value:.3f}" for value in after)
        print(f"{source.name:24s} complete {before:.3f}  hidden {np.mean(after):.3f}  ({values})")


if __name__ == "__main__":
    main()
