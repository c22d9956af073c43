"""Measure which fraction of the rows that a cluster generates the model assigns to it, for every recipe and prior.

    python benchmarks/generated_clusters.py --json OUT.json              # on Digits, seed 0; half an hour
    python benchmarks/generated_clusters.py --model mvae-emv2 --prior standard

Each line has the mean and the least fraction over the clusters with rows, first for rows generated as `deepmix sample`
does, then at z drawn from p(z|y), and at z drawn from Gaussians fitted to the latents of the cluster's training rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from deepmix import runs
from deepmix.contracts import registry
from deepmix.experiment import ExperimentConfig, fit_cluster_latents, prepare_experiment, run_experiment
from deepmix.inference import LoadedRun
from deepmix.models import ClusterLatents, Recipe, generate_means
from deepmix.training import SilentReporter

N_ROWS = 200
"""Rows that each cluster generates."""


def assigned_back(run: LoadedRun, latents: ClusterLatents | None, used: list[int]) -> tuple[float, float]:
    """Return the mean and the least fraction of a component's generated rows that are assigned to it."""
    fractions = []
    for k in used:
        rows = generate_means(run.model, latents, N_ROWS, k, torch.Generator(run.device).manual_seed(k))
        fractions.append(float(np.mean(run.infer(rows.cpu().numpy()).map_N == k)))
    return round(float(np.mean(fractions)), 3), round(min(fractions), 3)


def measure(model: str, prior: str, seed: int) -> dict[str, object]:
    """Train on Digits and measure."""
    config = ExperimentConfig(model=model, prior=prior, seed=seed)
    experiment, store = prepare_experiment(config), runs.MemoryRun()
    training = run_experiment(experiment, store, SilentReporter(), report=False).inferences["train"]
    run = LoadedRun(store, "cpu")
    used = np.unique(training.map_N).tolist()
    fitted = fit_cluster_latents(run.model, experiment.split, training, run.device, "fp32")
    return {
        "model": model,
        "prior": prior,
        "clusters": len(used),
        "accuracy": run.metrics.heads["posterior"]["test"].scores["acc"],
        "as_sampled": assigned_back(run, run.latents, used),
        "from_prior": assigned_back(run, None, used),
        "from_rows": assigned_back(run, fitted, used),
    }


def main() -> None:
    """Measure every recipe with both priors, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="may be repeated; default: every recipe with a mixture")
    parser.add_argument("--prior", action="append", choices=["standard", "mixture"], help="default: both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = options.model
    if models is None:
        loaded = {name: registry.load_plugin("models", name) for name in registry.names("models")}
        models = [name for name, one in loaded.items() if isinstance(one, Recipe) and not one.single_component]
    figures = []
    for model in models:
        for prior in options.prior or ("standard", "mixture"):
            figures.append(measure(model, prior, options.seed))
            print(json.dumps(figures[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
