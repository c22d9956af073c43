from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.conftest import TINY

ROOT = Path(__file__).parents[2]


def make_distribution(folder: Path, name: str, entry_points: str, source: str = "") -> None:
    """Write an installed distribution: metadata and a module."""
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points)
    (folder / f"{name}.py").write_text(source)


def test_listing_names_every_built_in_part(deepmix):
    rows = json.loads(deepmix("plugins", "--json").stdout)
    assert {row["state"] for row in rows} == {"ok"}
    assert all(row["summary"] for row in rows)
    by_kind: dict[str, set[str]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], set()).add(row["name"])
    assert {"vae", "vade", "k-dvae", "k-dvae-shared", "mvae", "mvae-emv1", "mvae-emv2"} < by_kind["model"]
    assert by_kind["prior"] >= {"standard", "mixture"}
    assert by_kind["head"] >= {"gmm", "gmm-random", "kmeans", "posterior"}
    assert by_kind["initializer"] >= {"gmm", "graph", "kmeans"}
    assert "mvae-emv2" in deepmix("plugins").stdout


def test_broken_plugin_stops_only_those_who_ask_for_it(command, tmp_path):
    make_distribution(
        tmp_path / "site", "cracked", "[deepmix.priors]\ncracked = cracked:Prior\n", "raise RuntimeError('no licence')"
    )
    env = {"PYTHONPATH": str(tmp_path / "site")}
    row = next(row for row in json.loads(command("plugins", "--json", env=env).stdout) if row["name"] == "cracked")
    assert "no licence" in row["state"]
    assert command("train", "--out", "run", *TINY, env=env).returncode == 0
    done = command("train", "--prior", "cracked", *TINY, env=env)
    assert done.returncode == 1
    assert "cracked 1.0 can't be loaded (RuntimeError: no licence)" in " ".join(done.stderr.split())


BROKEN = """
from deepmix.contracts import ClusteringHead, Decoder, Initializer, NoOptions
from deepmix_builtins.networks.decoders import MlpDecoder
import torch

class NoDecoder(torch.nn.Module):
    def __init__(self, dims, options): super().__init__()

class Raising(Decoder):
    def __init__(self, dims, options): raise KeyError("width")
    def forward(self, z, counts): ...
    def place(self, n_components): ...

class Narrow(MlpDecoder):
    def forward(self, z, counts): return super().forward(z, counts)[:, 1:]

class Wordy(ClusteringHead):
    def __init__(self, options): pass
    def fit(self, inference, n_clusters, seed): pass
    def predict(self, inference): return ["a"] * len(inference.log_q_NK)
    def state(self): return None
    def restore(self, state): pass

class Beyond(Initializer):
    def __init__(self, options): pass
    def initial_labels(self, x, code, n_components, seed): return [n_components] * len(code)

class Unpredictable:
    def fit(self, x): return self
"""


@pytest.mark.parametrize(
    ("kind", "name", "option", "words"),
    [
        ("decoders", "NoDecoder", "--decoder", "not a subclass of deepmix.contracts.Decoder"),
        ("decoders", "Raising", "--decoder", "can't be built (KeyError: 'width')"),
        ("decoders", "Narrow", "--decoder", "decoder 'part' of broken breaks its contract (ValueError"),
        ("heads", "Wordy", "--head", "head 'part' must give"),
        ("heads", "Unpredictable", "--head", "a head needs fit and predict"),
        ("initializers", "Beyond", "--init", "initializer Beyond must give 1527 whole numbers in 0..9"),
        ("models", "NoDecoder", "--model", "not a subclass of deepmix.contracts.Model"),
    ],
)
def test_a_plugin_that_breaks_its_contract_is_named(command, tmp_path, kind, name, option, words):
    make_distribution(tmp_path / "site", "broken", f"[deepmix.{kind}]\npart = broken:{name}\n", BROKEN)
    done = command("train", *TINY, option, "part", "--out", "run", env={"PYTHONPATH": str(tmp_path / "site")})
    assert done.returncode == 1
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run").exists() == (kind in ("heads", "initializers")), "only what is asked later may write"


def test_two_distributions_with_one_name_must_be_told_apart(command, tmp_path):
    source = "from deepmix_builtins.mixture.priors import StandardPrior as Prior"
    for name in ("first", "second"):
        make_distribution(tmp_path / "site", name, f"[deepmix.priors]\ntwin = {name}:Prior\n", source)
    env = {"PYTHONPATH": str(tmp_path / "site")}
    done = command("train", "--prior", "twin", *TINY, env=env)
    assert done.returncode == 2
    assert "claimed by first and second" in " ".join(done.stderr.split())
    assert command("train", "--prior", "second:twin", "--out", "run", *TINY, env=env).returncode == 0


@pytest.fixture(scope="module")
def example_environment(tmp_path_factory) -> Path:
    """A fresh virtual environment with the example plugin installed by pip, on top of the packages in use here."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site) / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, ROOT / "plugins" / "deepmix-example"], check=True)
    return python


def test_example_plugin_installs_and_trains(example_environment, tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [example_environment, "-m", "deepmix"]
    listed = subprocess.run([*command, "plugins", "--json"], env=env, capture_output=True, text=True, check=True)
    rows = {(row["kind"], row["name"]): row for row in json.loads(listed.stdout)}
    assert rows["prior", "ring"]["distribution"] == "deepmix-example"
    assert rows["head", "birch"]["state"] == "ok"
    options = ["--prior", "ring", "--set", "radius=2.5", "--head", "birch", "--out", tmp_path / "run", *TINY]
    done = subprocess.run([*command, "train", *options], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["resolved"]["prior"] == {"radius": 2.5}
    assert "birch" in json.loads((tmp_path / "run" / "metrics.json").read_text())["heads"]


def test_example_plugin_passes_its_own_tests(example_environment):
    tests = ROOT / "plugins" / "deepmix-example" / "tests"
    command = [example_environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
