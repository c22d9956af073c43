"""A new loss term, prior, head or option takes one file outside the core to be trained, logged, saved and reused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmix.contracts import registry
from deepmix.experiment import ExperimentConfig, prepare_experiment, run_experiment
from deepmix.inference import open_run
from deepmix.runs import RunFolder
from deepmix.training import SilentReporter

SMALL = {
    "latent_dim": "2",
    "epochs": "2",
    "pretrain_epochs": "1",
    "encoder.hidden": "8",
    "decoder.hidden": "8",
    "components": "3",
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a module as a separate distribution, with entry points, for this test."""

    def call(source: str, **entry_points: str) -> None:
        site = tmp_path / "site"
        information = site / "newcomer-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: newcomer\nVersion: 1.0\n")
        groups = "".join(f"[deepmix.{kind}]\n{entry}\n" for kind, entry in entry_points.items())
        (information / "entry_points.txt").write_text(groups)
        (site / "newcomer.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        registry.read_entry_points.cache_clear()

    yield call
    sys.modules.pop("newcomer", None)
    registry.read_entry_points.cache_clear()


@pytest.fixture
def rows(tmp_path) -> Path:
    """A file of three groups in four columns."""
    random = np.random.default_rng(0)
    path = tmp_path / "rows.npy"
    np.save(path, (np.eye(3, 4)[np.arange(60) % 3] * 9.0 + random.normal(size=(60, 4))).astype(np.float32))
    return path


def trained(folder: Path, rows: Path, settings: dict[str, str] | None = None, **options) -> RunFolder:
    config = ExperimentConfig(dataset=str(rows), init="kmeans", settings={**SMALL, **(settings or {})}, **options)
    store = RunFolder.create(folder, overwrite=False)
    run_experiment(prepare_experiment(config), store, SilentReporter())
    return store


LOSS_TERM = '''
"""EM-V2 whose latents are drawn to the origin."""
from dataclasses import dataclass, field
from deepmix.contracts import LossTerm
from deepmix.models import Recipe

@dataclass(frozen=True)
class ShrinkOptions:
    strength: float = field(default=0.5, metadata={"help": "weight of the squared latents"})

class Shrink(LossTerm):
    """The squared length of the latents."""
    name = "shrink"
    Options = ShrinkOptions

    def __init__(self, options):
        super().__init__()
        self.options = options

    def forward(self, step):
        return self.options.strength * step.latents.posterior.mean.square().sum(-1).mean(-1)

SHRUNK = Recipe("EM-V2, shrunk", posterior="ratio", prior="mixture", encoder_heads="per-component", terms=(Shrink,))
'''


def test_a_loss_term_is_trained_logged_and_weighted(tmp_path, install, rows):
    install(LOSS_TERM, models="shrunk = newcomer:SHRUNK")
    means = {}
    for strength in ("0.0", "20.0"):
        settings = {"term.shrink.strength": strength, "epochs": "40", "lr": "0.02"}
        store = trained(tmp_path / f"run-{strength}", rows, settings, model="shrunk")
        last = json.loads((store.path / "metrics.jsonl").read_text().splitlines()[-1])
        terms = last["terms"]
        assert terms["shrink"] == 0.0 if strength == "0.0" else terms["shrink"] > 0.0
        bound = terms["reconstruction"] - terms["kl_latent"] - terms["kl_assignment"]
        assert last["objective"] == pytest.approx(bound - terms["anchor"] - terms["shrink"], rel=1e-5)
        run = open_run(store.path)
        means[strength] = float(np.square(run.infer(run.prepare(np.load(rows))).latent_NM).mean())
    assert means["20.0"] < 0.9 * means["0.0"]


PRIOR = '''
"""K unit Gaussians on the first axis."""
from dataclasses import dataclass, field
import torch
from deepmix.contracts import Prior
from deepmix.maths import Gaussian, MixtureParameters

@dataclass(frozen=True)
class LineOptions:
    gap: float = field(default=2.0, metadata={"help": "distance between neighbours"})

class Line(Prior):
    """K unit Gaussians on a line."""
    Options = LineOptions

    def __init__(self, dims, options):
        super().__init__()
        mean = torch.zeros(dims.n_components, dims.latent_dim)
        mean[:, 0] = options.gap * torch.arange(dims.n_components)
        self.register_buffer("mean_KM", mean)

    def forward(self):
        weight = torch.full((len(self.mean_KM),), 1.0 / len(self.mean_KM))
        return MixtureParameters(Gaussian(self.mean_KM, torch.zeros_like(self.mean_KM)), weight.log())

    def place(self, components, weight_K):
        pass
'''


def test_a_prior_and_its_option(tmp_path, install, rows):
    install(PRIOR, priors="line = newcomer:Line")
    store = trained(tmp_path / "run", rows, {"gap": "3.5"}, prior="line")
    model = open_run(store.path).model
    assert torch.equal(model.prior().components.mean[:, 0], torch.tensor([0.0, 3.5, 7.0]))


HEAD = '''
"""A head that sorts rows by the sign of their first latent."""
from dataclasses import dataclass, field
import numpy as np
from deepmix.contracts import ClusteringHead

@dataclass(frozen=True)
class SignOptions:
    axis: int = field(default=0, metadata={"help": "which latent"})

class Sign(ClusteringHead):
    """The side of the median on one latent axis."""
    Options = SignOptions

    def __init__(self, options):
        self.axis = options.axis

    def fit(self, inference, n_clusters, seed):
        self.median = np.median(inference.latent_NM[:, self.axis])

    def predict(self, inference):
        return (inference.latent_NM[:, self.axis] > self.median).astype(np.int64)

    def state(self):
        return {"median": np.array(self.median)}

    def restore(self, state):
        self.median = float(state["median"])
'''


def test_a_head_and_its_option(tmp_path, install, rows):
    install(HEAD, heads="sign = newcomer:Sign")
    store = trained(tmp_path / "run", rows, {"axis": "1"}, heads=("sign",))
    run = open_run(store.path)
    inference = run.infer(run.prepare(np.load(rows)))
    expected = inference.latent_NM[:, 1] > float(run.head("sign").state()["median"])
    assert np.array_equal(run.clusters(inference), expected)
    assert 20 <= expected.sum() <= 40
