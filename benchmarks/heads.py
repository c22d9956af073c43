"""Time EM for Gaussian mixtures: deepmix.GaussianMixture beside scikit-learn, plain PyTorch, pomegranate and torchgmm.

All start from the same parameters, run the same number of iterations (tol 0) in turn on 2 threads, and the table has
medians. deepmix does not depend on the other tools; the rows of those that are not installed are left out.

    pip install --no-deps --target peers pomegranate torchgmm pytorch-lightning torchmetrics lightning-utilities
    PYTHONPATH=$PYTHONPATH:peers python benchmarks/heads.py --json benchmarks/results/DATE-heads.json
"""

from __future__ import annotations

import os

THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "2"))

import argparse  # noqa: E402  # the number of threads must be set before NumPy is imported
import datetime  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from unittest.mock import MagicMock  # noqa: E402

import numpy as np  # noqa: E402
import sklearn.cluster  # noqa: E402
import sklearn.mixture  # noqa: E402
import torch  # noqa: E402

import deepmix  # noqa: E402
from deepmix import kernels  # noqa: E402

REGULARIZATION = 1e-6
LONGEST = 60.0
"""A tool whose fit takes longer, in seconds, runs once."""


Fit = Callable[[], float]
"""Runs EM and returns the mean log-likelihood before the last M-step, in nats per row."""


def clustered_rows(n_rows: int, n_features: int, n_components: int) -> np.ndarray:
    """Return rows of overlapping groups with correlated columns, float32."""
    random = np.random.default_rng(0)
    means = 2.0 * random.normal(size=(n_components, n_features))
    mixing = random.normal(size=(n_components, n_features, n_features)) / math.sqrt(n_features)
    rows = np.empty((n_rows, n_features), np.float32)
    for k in range(n_components):
        rows[k::n_components] = means[k] + random.normal(size=rows[k::n_components].shape) @ mixing[k]
    return rows


def start_of(rows: np.ndarray, n_components: int, family: str) -> dict[str, np.ndarray]:
    """Return weights, means and precisions from every hundredth row as a mean and the spread of all rows."""
    means = rows[:: max(1, len(rows) // n_components)][:n_components].astype(np.float64)
    sample = rows[:20_000].astype(np.float64)
    precision = np.linalg.inv(np.cov(sample.T)) if family == "full" else 1.0 / sample.var(axis=0)
    precisions = np.repeat(precision[None], n_components, axis=0)
    weights = np.full(n_components, 1.0 / n_components)
    return {"weights_init": weights, "means_init": means, "precisions_init": precisions}


def fit_of(
    make: Callable[..., Any], rows: np.ndarray, start: dict[str, Any], family: str, iterations: int, **further: Any
) -> Fit:
    """Return the fit of an estimator with scikit-learn's interface; `further` are more of its parameters."""
    settings = {"covariance_type": family, "tol": 0.0, "reg_covar": REGULARIZATION, "max_iter": iterations, **further}

    def fit() -> float:
        return float(make(len(start["weights_init"]), **settings, **start).fit(rows).lower_bound_)

    return fit


def gemm_loop(rows: np.ndarray, start: dict[str, Any], family: str, iterations: int, device: str) -> Fit:
    """Return EM in plain PyTorch, float32, whose matrix products expand the squares."""
    x_NM = torch.from_numpy(rows).to(device)
    n_rows, n_features = x_NM.shape
    constant = n_features * math.log(2.0 * math.pi)

    def diagonal() -> float:
        weight_K, mean_KM, precision_KM = (torch.from_numpy(value).float().to(device) for value in start.values())
        square_NM = x_NM.square()
        for _ in range(iterations):
            offset_K = weight_K.log() - 0.5 * (
                constant - precision_KM.log().sum(1) + (mean_KM.square() * precision_KM).sum(1)
            )
            log_joint_NK = torch.addmm(offset_K, square_NM, precision_KM.T, alpha=-0.5)
            log_joint_NK.addmm_(x_NM, (mean_KM * precision_KM).T)
            log_prob_N = log_joint_NK.logsumexp(1)
            r_NK = log_joint_NK.sub_(log_prob_N.unsqueeze(1)).exp_()
            count_K1 = r_NK.sum(0).unsqueeze(1)
            weight_K, mean_KM = count_K1.squeeze(1) / n_rows, (r_NK.T @ x_NM) / count_K1
            precision_KM = 1.0 / ((r_NK.T @ square_NM) / count_K1 - mean_KM.square() + REGULARIZATION)
        return float(log_prob_N.double().mean())

    def full() -> float:
        weight_K, mean_KM, precision_KMM = (torch.from_numpy(value).float().to(device) for value in start.values())
        cholesky_KMM = torch.linalg.cholesky(precision_KMM)
        eye_MM = REGULARIZATION * torch.eye(n_features, device=device)
        for _ in range(iterations):
            offset_KM = -(mean_KM.unsqueeze(1) @ cholesky_KMM).flatten()
            y_NKM = torch.addmm(offset_KM, x_NM, cholesky_KMM.permute(1, 0, 2).reshape(n_features, -1))
            distance_NK = y_NKM.square_().view(n_rows, -1, n_features).sum(2)
            log_determinant_K = cholesky_KMM.diagonal(dim1=1, dim2=2).log().sum(1)
            log_joint_NK = weight_K.log() + log_determinant_K - 0.5 * (constant + distance_NK)
            log_prob_N = log_joint_NK.logsumexp(1)
            r_NK = log_joint_NK.sub_(log_prob_N.unsqueeze(1)).exp_()
            count_K = r_NK.sum(0)
            weight_K, mean_KM = count_K / n_rows, (r_NK.T @ x_NM) / count_K.unsqueeze(1)
            second_KMM = torch.stack([(r_NK[:, k : k + 1] * x_NM).T @ x_NM for k in range(len(count_K))])
            covariance_KMM = second_KMM / count_K.view(-1, 1, 1) - mean_KM.unsqueeze(2) * mean_KM.unsqueeze(1) + eye_MM
            cholesky_KMM = torch.linalg.cholesky(torch.linalg.inv(covariance_KMM))
        return float(log_prob_N.double().mean())

    return full if family == "full" else diagonal


def pomegranates(rows: np.ndarray, start: dict[str, Any], family: str, iterations: int) -> Fit | None:
    """Return pomegranate's fit, or None where it is not installed."""
    sys.modules.setdefault("apricot", MagicMock())  # it chooses rows for starts, which are not used here
    try:
        from pomegranate.distributions import Normal
        from pomegranate.gmm import GeneralMixtureModel
    except ImportError:
        return None
    x_NM = torch.from_numpy(rows)
    invert = np.linalg.inv if family == "full" else np.reciprocal
    covariances = invert(start["precisions_init"]).astype(np.float32)

    def fit() -> float:
        parts = [
            Normal(mean, covariance, covariance_type=family, check_data=False)
            for mean, covariance in zip(start["means_init"].astype(np.float32), covariances, strict=True)
        ]
        priors = start["weights_init"].astype(np.float32)
        model = GeneralMixtureModel(parts, priors=priors, max_iter=iterations, tol=-math.inf, check_data=False)
        model.fit(x_NM)
        return float(model.log_probability(x_NM[:20_000]).double().mean())

    return fit


def torchgmms(rows: np.ndarray, start: dict[str, Any], family: str, iterations: int) -> Fit | None:
    """Return torchgmm's fit, or None where it is not installed; it estimates its first covariances itself."""
    for name in ("anndata", "session_info"):
        sys.modules.setdefault(name, MagicMock())
    try:
        from torchgmm.bayes import GaussianMixture
    except ImportError:
        return None
    x_NM, means = torch.from_numpy(rows), torch.from_numpy(start["means_init"]).float()

    def fit() -> float:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        mixture = GaussianMixture(
            len(means),
            covariance_type=family,
            init_means=means,
            convergence_tolerance=0.0,
            covariance_regularization=REGULARIZATION,
            trainer_params={**quiet, "max_epochs": iterations, "enable_checkpointing": False},
        )
        return -float(mixture.fit(x_NM).nll_)

    return fit


def versus(
    n_rows: int, n_features: int, n_components: int, iterations: int, rounds: int, device: str
) -> list[dict[str, Any]]:
    """Time all tools on one shape, in turn; on a GPU only deepmix and plain PyTorch, whose rows move there first."""
    rows = clustered_rows(n_rows, n_features, n_components)
    table = []
    for family in ("full", "diag"):
        start = start_of(rows, n_components, family)
        theirs, ours = sklearn.mixture.GaussianMixture, deepmix.GaussianMixture
        double = rows.astype(np.float64)
        fits: dict[str, Fit | None] = {
            "deepmix float32": fit_of(ours, rows, start, family, iterations, device=device),
            "deepmix float64": fit_of(ours, double, start, family, iterations, device=device),
            "plain PyTorch, GEMM": gemm_loop(rows, start, family, iterations, device),
        }
        if device == "cpu":
            fits |= {
                "pomegranate": pomegranates(rows, start, family, iterations),
                "torchgmm": torchgmms(rows, start, family, iterations),
                "scikit-learn float32": fit_of(theirs, rows, start, family, iterations),
                "scikit-learn float64": fit_of(theirs, double, start, family, iterations),
            }
        seconds: dict[str, list[float]] = {name: [] for name, fit in fits.items() if fit is not None}
        values: dict[str, float] = {}
        fit_of(ours, rows, start, family, 1, device=device)()  # loads the kernels
        for _ in range(rounds):
            for name in seconds:
                fit = fits[name]
                assert fit is not None
                if max(seconds[name], default=0.0) > LONGEST:
                    continue
                started = time.perf_counter()
                values[name] = fit()
                seconds[name].append(time.perf_counter() - started)
        base = statistics.median(seconds["deepmix float32"])
        for name, times in seconds.items():
            median = statistics.median(times)
            row = {"covariance": family, "rows": n_rows, "features": n_features, "components": n_components}
            row |= {"iterations": iterations, "tool": name, "seconds": median, "all_seconds": times}
            table.append({**row, "times_deepmix_float32": median / base, "log_likelihood": values[name]})
            print(f"{family:5} {name:22} {median:8.3f} s  {median / base:6.1f}x  {values[name]:.6f}", flush=True)
    return table


def scaling(rounds: int, shapes: list[tuple[str, int, int, int]], device: str) -> list[dict[str, Any]]:
    """Time one iteration of EM of each shape, with the kernels and without."""
    table = []
    for family, n_rows, n_features, n_components in shapes:
        rows = clustered_rows(n_rows, n_features, n_components)
        fit = fit_of(
            deepmix.GaussianMixture,
            rows,
            start_of(rows, n_components, family),
            family,
            1,
            device=device,
            reg_covar=1e-2,
        )
        fit()
        times: dict[str, list[float]] = {"kernel": [], "plain": []}
        for _ in range(rounds):
            started = time.perf_counter()
            fit()
            times["kernel"].append(time.perf_counter() - started)
            with kernels.reference_only():
                started = time.perf_counter()
                fit()
                times["plain"].append(time.perf_counter() - started)
        row = {"covariance": family, "rows": n_rows, "features": n_features, "components": n_components}
        table.append(row | {f"{name}_seconds": statistics.median(values) for name, values in times.items()})
        print(table[-1], flush=True)
    return table


def k_means(rounds: int, iterations: int, shapes: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Time an iteration of scikit-learn's k-means beside one of our EM with spherical covariances, float32.

    A k-means on the kernels would take such a pass: the distances of each row to all means, and the sums of the rows.
    """
    table = []
    for n_rows, n_features, n_components in shapes:
        rows = clustered_rows(n_rows, n_features, n_components)
        start = start_of(rows, n_components, "diag") | {"precisions_init": np.ones(n_components)}
        means = start["means_init"].astype(np.float32)
        estimator = sklearn.cluster.KMeans(
            n_components, init=means, n_init=1, max_iter=iterations, tol=0.0, algorithm="lloyd"
        )
        fit = fit_of(deepmix.GaussianMixture, rows, start, "spherical", iterations)
        fit()
        times: dict[str, list[float]] = {"scikit-learn": [], "em": []}
        for _ in range(rounds):
            started = time.perf_counter()
            n_done = estimator.fit(rows).n_iter_
            times["scikit-learn"].append((time.perf_counter() - started) / n_done)
            started = time.perf_counter()
            fit()
            times["em"].append((time.perf_counter() - started) / iterations)
        row = {"rows": n_rows, "features": n_features, "components": n_components}
        table.append(row | {f"{name}_seconds": statistics.median(values) for name, values in times.items()})
        print(table[-1], flush=True)
    return table


MEMORY = """
import sys, numpy as np, torch, deepmix, warnings
from deepmix import kernels
warnings.simplefilter("ignore")
family, n_rows, M, K = sys.argv[1], int(sys.argv[2]), 10, 10
kernels.kernel_devices()
def megabytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024
tiny = np.random.default_rng(0).normal(size=(100, M)).astype(np.float32)
deepmix.GaussianMixture(K, covariance_type=family, max_iter=1, random_state=0).fit(tiny)
x = np.empty((n_rows, M), np.float32)
random = np.random.default_rng(0)
for start in range(0, n_rows, 100_000):
    x[start : start + 100_000] = random.normal(size=(len(x[start : start + 100_000]), M)) + 3 * random.integers(0, 4)
before = megabytes("VmRSS")
precision = np.repeat(np.eye(M)[None], K, 0) if family == "full" else np.ones((K, M))
deepmix.GaussianMixture(K, covariance_type=family, max_iter=3, tol=0.0, means_init=x[:K].copy(),
                        weights_init=np.full(K, 1 / K), precisions_init=precision).fit(x)
print(megabytes("VmHWM") - before)
"""


def memory(n_rows: int) -> list[dict[str, Any]]:
    """Return the memory that fits of many rows add to the rows themselves."""
    table = []
    for family in ("full", "diag"):
        command = [sys.executable, "-c", MEMORY, family, str(n_rows)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        table.append({"covariance": family, "rows": n_rows, "added_megabytes": float(output.split()[-1])})
        print(table[-1], flush=True)
    return table


def machine(device: str) -> dict[str, Any]:
    """Return the machine and the versions."""
    with open("/proc/cpuinfo") as lines:
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor,
        "cpus": os.cpu_count(),
        "threads": THREADS,
        "load_before": os.getloadavg()[0],
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "kernels": kernels.loader.load_kernels().path,
        "gpu": torch.cuda.get_device_name() if device != "cpu" else None,
    }


SCALING = [
    ("full", 100_000, 10, 10),
    ("full", 200_000, 10, 10),
    ("full", 400_000, 10, 10),
    ("full", 100_000, 10, 40),
    ("diag", 100_000, 10, 10),
    ("diag", 400_000, 10, 10),
    ("diag", 100_000, 10, 40),
    ("diag", 10_000, 128, 1000),
    ("full", 2_000, 64, 100),
    ("full", 1_000, 128, 100),
]


K_MEANS = [(100_000, 10, 10), (100_000, 10, 40), (10_000, 128, 100)]


def main() -> None:
    """Print the tables and, with --json, write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="number of times that every tool runs, in turn")
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--memory-rows", type=int, default=10_000_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["versus", "scaling", "k-means", "memory"], help="run one part")
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    facts, parts = machine(arguments.device), {}
    if arguments.only in (None, "versus"):
        parts["versus"] = versus(arguments.rows, 10, 10, arguments.iterations, arguments.rounds, arguments.device)
    if arguments.only in (None, "scaling"):
        parts["scaling"] = scaling(arguments.rounds, SCALING, arguments.device)
    if arguments.only in (None, "k-means") and arguments.device == "cpu":
        parts["k-means"] = k_means(arguments.rounds, arguments.iterations, K_MEANS)
    if arguments.only in (None, "memory") and arguments.device == "cpu":
        parts["memory"] = memory(arguments.memory_rows)
    if arguments.json:
        facts["load_after"] = os.getloadavg()[0]
        arguments.json.write_text(json.dumps({"machine": facts, **parts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
