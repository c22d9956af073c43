"""Compare settings of the t-SNE layout that `--init graph` cuts up to 5,000 rows.

    python benchmarks/layouts.py                        # ten samples of scikit-learn's digits
    python benchmarks/layouts.py --data FOLDER          # and three of usps, mnist and fashion-mnist, 3,000 rows each

Each sample is laid out by t-SNE with each setting and cut by Ward's method and by a Gaussian mixture; a line has the
mean and the least accuracy over the samples and the CPU seconds of one layout. `graph` uses 500 iterations, angle 0.8
and Ward's method.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE
from sklearn.mixture import GaussianMixture

from deepmix.data import narrow
from deepmix.maths import Array
from deepmix.metrics import clustering_accuracy

SETTINGS = ((500, 0.8), (1000, 0.8), (1000, 0.5), (2000, 0.8))
"""Iterations and angle."""

DIGITS_ROWS, IMAGE_ROWS = 1527, 3000
DIGITS_SAMPLES, IMAGE_SAMPLES = 10, 3
MIXTURE_STARTS = 5


def compare(name: str, x_ND: Array, label_N: Array, n_rows: int, n_samples: int) -> None:
    """Print a line for each setting and cut."""
    n_clusters = len(np.unique(label_N))
    accuracies, seconds = defaultdict(list), defaultdict(list)
    for seed in range(n_samples):
        sample = np.random.default_rng(seed).choice(len(x_ND), n_rows, replace=False)
        rows, labels = narrow(x_ND[sample], seed), label_N[sample]
        for iterations, angle in SETTINGS:
            started = time.process_time()
            layout = TSNE(max_iter=iterations, angle=angle, random_state=seed).fit_transform(rows)
            seconds[iterations, angle].append(time.process_time() - started)
            mixture = GaussianMixture(n_clusters, n_init=MIXTURE_STARTS, random_state=seed)
            for cut, clusters in (
                ("Ward", AgglomerativeClustering(n_clusters).fit_predict(layout)),
                ("mixture", mixture.fit_predict(layout.astype(np.float64))),
            ):
                accuracies[iterations, angle, cut].append(clustering_accuracy(labels, clusters))
    for (iterations, angle, cut), scores in accuracies.items():
        print(
            f"{name}: {iterations} iterations, angle {angle}, {cut:7}  mean {np.mean(scores):.3f}  "
            f"least {min(scores):.3f}  {np.mean(seconds[iterations, angle]):.1f} s",
            flush=True,
        )


def main() -> None:
    """Compare on digits, and on the images of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with usps.npz, mnist.npz and fashion_mnist.npz")
    folder = parser.parse_args().data
    x_ND, label_N = load_digits(return_X_y=True)
    compare("digits", x_ND / 16.0, label_N, DIGITS_ROWS, DIGITS_SAMPLES)
    for name in ("usps", "mnist", "fashion_mnist") if folder else ():
        with np.load(folder / f"{name}.npz", allow_pickle=False) as images:
            x_ND = images["x"].astype(np.float32)
            compare(name, x_ND / x_ND.max(), images["y"], IMAGE_ROWS, IMAGE_SAMPLES)


if __name__ == "__main__":
    main()
