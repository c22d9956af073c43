"""Time the main job against ClustPy 0.0.3's VaDE with its defaults, on Digits, run in turn on this machine.

ClustPy's own requirements pull in torchvision and another torch, so give it a separate environment:

    python3 -m venv clustpy-env
    clustpy-env/bin/pip install torch==2.13.0 numpy scipy scikit-learn pandas matplotlib tqdm
    clustpy-env/bin/pip install --no-deps clustpy==0.0.3
    python benchmarks/versus_clustpy.py --clustpy-python clustpy-env/bin/python

Both are timed as whole processes, imports included, on the same rows: they train on 1,527 rows, and their accuracy
is measured on the 270 test rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLUSTPY_JOB = """
import sys, importlib.abc, importlib.machinery, json, types
from unittest.mock import MagicMock

class Absent(types.ModuleType):  # torchvision serves images and ResNets, which are not used here
    __path__ = []
    def __getattr__(self, name):
        return MagicMock() if name[0] != "_" else super().__getattribute__(name)

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Absent(spec.name)
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Finder())
import numpy as np, torch
from scipy.optimize import linear_sum_assignment
from clustpy.deep import VaDE
archive = np.load(sys.argv[1])
x, y, n_train = archive["x"].astype(np.float32), archive["y"], int(archive["n_train"])
torch.manual_seed(int(sys.argv[2]))
model = VaDE(n_clusters=10, random_state=int(sys.argv[2])).fit(x[:n_train])
clusters = model.predict(x[n_train:])
table = np.zeros((10, 10), dtype=int)
np.add.at(table, (clusters, y[n_train:]), 1)
rows, columns = linear_sum_assignment(table, maximize=True)
print(json.dumps({"acc": table[rows, columns].sum() / table.sum()}))
"""


def timed(command: list[str]) -> tuple[float, str]:
    """Run a command; return its wall time in seconds and its output."""
    started = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        sys.exit(f"{command[:3]} failed:\n{process.stderr}")
    return time.perf_counter() - started, process.stdout


def main() -> None:
    """Run both in turn and print their times and accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clustpy-python", required=True, help="Python of the environment that has ClustPy")
    parser.add_argument("--rounds", type=int, default=1, help="number of times both are run, in turn")
    arguments = parser.parse_args()

    import numpy as np

    from deepmix.contracts import registry
    from deepmix.data import SplitOptions

    split = registry.load_plugin("datasets", "digits")(SplitOptions()).load(None)
    order = np.concatenate([split.train, split.test])
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "digits.npz"
        np.savez(archive, x=split.x[order], y=split.labels[order], n_train=len(split.train))
        job = Path(folder) / "job.py"
        job.write_text(CLUSTPY_JOB)
        times: dict[str, list[float]] = {"deepmix": [], "clustpy": []}
        for seed in range(arguments.rounds):
            run = Path(folder) / f"run-{seed}"
            flags = ["--model", "mvae-emv2", "--prior", "standard", "--head", "gmm", "--head", "posterior", "--quiet"]
            command = [sys.executable, "-m", "deepmix", "train", *flags, "--seed", str(seed), "--out", str(run)]
            seconds, _ = timed(command)
            times["deepmix"].append(seconds)
            heads = json.loads((run / "metrics.json").read_text())["heads"]
            accuracies = ", ".join(f"{head} {sides['test']['acc']:.4f}" for head, sides in heads.items())
            print(f"seed {seed}: deepmix mvae-emv2 {seconds:7.1f} s  ACC {accuracies}", flush=True)
            seconds, output = timed([arguments.clustpy_python, "-W", "ignore", str(job), str(archive), str(seed)])
            times["clustpy"].append(seconds)
            accuracy = json.loads(output.strip().splitlines()[-1])["acc"]
            print(f"seed {seed}: ClustPy VaDE      {seconds:7.1f} s  ACC {accuracy:.4f}", flush=True)
        ratio = statistics.median(b / a for a, b in zip(times["deepmix"], times["clustpy"], strict=True))
        print(f"ClustPy takes {ratio:.1f} times as long (median of {arguments.rounds} round(s), run in turn)")


if __name__ == "__main__":
    main()
