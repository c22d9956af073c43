"""A distribution of somebody else's parts, one of each kind that is not a part of a model, and some that are broken."""

ENTRY_POINTS = """
[deepmix.formats]
rows = strange_parts:RowsFormat
csv = strange_parts:RowsFormat
[deepmix.trackers]
memo = strange_parts:Memo
offline = strange_parts:Offline
[deepmix.metrics]
largest = strange_parts:LARGEST
cracked = strange_parts:CRACKED
acc = strange_parts:LARGEST
[deepmix.sections]
greeting = strange_parts:greeting
inkless = strange_parts:inkless
[deepmix.commands]
greet = strange_parts:greet
fail = strange_parts:fail
train = strange_parts:greet
[deepmix.encoders]
mlp = strange_parts:ONE
[deepmix.priors]
laplace = strange_parts:Laplace
heavy = strange_parts:Heavy
[deepmix.heads]
unsure = strange_parts:Unsure
late = strange_parts:Late
[deepmix.initializers]
unsure = strange_parts:UnsureStart
[deepmix.datasets]
gap = strange_parts:Gap
crash = strange_parts:Crash
twice = strange_parts:Twice
"""

SOURCE = """
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import nn

from deepmix.contracts import ClusteringHead, Dataset, DensityPrior, FileRows, Format, Initializer, Prior, Tracker
from deepmix.data import Split
from deepmix.maths import MixtureParameters
from deepmix.metrics import Metric
from deepmix.report import Section, paragraph

ONE = 1


@dataclass(frozen=True)
class RowsOptions:
    factor: float = field(default=1.0, metadata={"help": "what values are multiplied by"})


class RowsFormat(Format):
    "Numbers divided by blanks, the last of which is a label."

    Options = RowsOptions

    def __init__(self, options):
        self.options = options

    def read(self, path, label_column):
        x = np.loadtxt(path)
        names = [f"r{n}" for n in range(len(x))]
        labels = x[:, -1].astype(int) if label_column else None
        return FileRows(x[:, :-1] * self.options.factor, labels, row_names=names)


@dataclass(frozen=True)
class MemoOptions:
    file: str = field(default="memo.txt", metadata={"help": "where the notes go"})


class Memo(Tracker):
    "Takes notes."

    Options = MemoOptions

    def __init__(self, options):
        self.lines, self.options = [], options

    def run_started(self, config, folder):
        self.lines.append(f"start {config['model']}")

    def epoch(self, stage, record):
        self.lines.append(f"{stage} {record['epoch']}")

    def finished(self, metrics, folder):
        self.lines.append(f"end {sorted(metrics['heads'])} {(folder / 'report.html').is_file()}")
        Path(self.options.file).write_text("; ".join(self.lines))


class Offline(Memo):
    "Has no network."

    def epoch(self, stage, record):
        raise ConnectionError("no network")


def largest(clustering):
    return (clustering.cluster_N == 0).mean()


LARGEST = Metric("any", "first cluster", "fraction of the rows in cluster 0", largest, needs_labels=False)
CRACKED = Metric("any", "cracked", "fails", lambda clustering: 1 / 0, needs_labels=False)


def greeting(material):
    "A greeting."
    return Section("Greeting", paragraph(f"{material.n_clusters} <clusters>"))


def inkless(material):
    "Fails."
    raise RuntimeError("no ink")


@click.command()
@click.argument("name")
def greet(name):
    "Greet somebody."
    click.echo(f"hello {name}")


@click.command()
def fail():
    "Fail."
    raise ValueError("bang")


class Laplace(DensityPrior):
    "Laplace around learned centres."

    def __init__(self, dims, options):
        super().__init__()
        self.mean_KM = nn.Parameter(torch.randn(dims.n_components, dims.latent_dim))

    def log_weights(self):
        return self.mean_KM.new_zeros(len(self.mean_KM)).log_softmax(0)

    def log_prob(self, z_LNHM):
        return torch.distributions.Laplace(self.mean_KM, 1.0).log_prob(z_LNHM).sum(-1)

    def sample(self, n_rows, component, generator):
        half = torch.rand(n_rows, self.mean_KM.shape[1], generator=generator) - 0.5
        return self.mean_KM[component] - half.sign() * torch.log1p(-2 * half.abs())

    @torch.no_grad()
    def place(self, components, weight_K):
        self.mean_KM.copy_(components.mean)


class Heavy(Prior):
    "Weights that sum to K."

    def __init__(self, dims, options):
        super().__init__()
        self.n_components = dims.n_components

    def forward(self):
        return MixtureParameters(None, torch.zeros(self.n_components))

    def place(self, components, weight_K):
        pass


class Unsure(ClusteringHead):
    "The most probable component, and noise in every fifth row."

    def __init__(self, options):
        pass

    def fit(self, inference, n_clusters, seed):
        pass

    def predict(self, inference):
        cluster_N = inference.map_N.copy()
        cluster_N[::5] = -1
        return cluster_N

    def state(self):
        return {}

    def restore(self, state):
        pass


class Late(Unsure):
    "Breaks on more than sixty rows."

    def fit(self, inference, n_clusters, seed):
        if len(inference.latent_NM) > 60:
            raise ValueError("too many rows")


class UnsureStart(Initializer):
    "k-means, and noise in every seventh row."

    def __init__(self, options):
        pass

    def initial_labels(self, rows, n_components, seed):
        label_N = KMeans(n_components, n_init=3, random_state=seed).fit_predict(rows.code_NM).astype(np.int64)
        label_N[::7] = -1
        return label_N


class Gap(Dataset):
    "Has a gap in row 7."

    def __init__(self, options):
        pass

    def load(self, data_dir):
        x = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
        x[6, 2] = np.nan
        return Split(x, np.arange(80), np.arange(80, 100), None, "gaussian", "none")


class Crash(Gap):
    "Fails."

    def load(self, data_dir):
        raise KeyError("x")


class Twice(Gap):
    "Has all rows on both sides."

    def load(self, data_dir):
        return Split(np.zeros((9, 4), np.float32), np.arange(9), np.arange(9), None, "gaussian", "none")
"""
