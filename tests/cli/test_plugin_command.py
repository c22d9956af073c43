"""`deepmix plugin new` and `deepmix plugin check`."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from deepmix.cli.scaffold import KINDS, write_plugin
from deepmix.contracts import API_VERSION
from tests.cli.conftest import TINY, refuses
from tests.cli.test_plugins import make_distribution

ROLES = ("encoder", "decoder", "prior", "posterior", "init", "head", "dataset")
NAMES = {"init": "initializer"}


def installed(folder: Path, parent: Path) -> str:
    """Write the metadata that pip would write for a distribution of this folder, and return its path."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    information = parent / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in project["entry-points"].items()
    )
    (information / "entry_points.txt").write_text(groups)
    return str(folder)


@pytest.fixture
def author(command, tmp_path):
    """Return the command, run in processes of its own where one new plugin of each kind is installed."""
    (tmp_path / "site").mkdir()
    folders = [installed(write_plugin(f"my-{kind}", kind, tmp_path), tmp_path / "site") for kind in KINDS]
    path = os.pathsep.join([str(tmp_path / "site"), *folders, os.environ.get("PYTHONPATH", "")])
    return lambda *words, **env: command(*words, env={"PYTHONPATH": path, **env})


def test_new_plugins_of_every_kind_work_as_they_are(author, tmp_path):
    checked = author("plugin", "check", "--fast", "--json")
    assert checked.returncode == 0, checked.stderr + checked.stdout
    results = json.loads(checked.stdout)
    assert {result["name"] for result in results} == {f"my-{kind}" for kind in KINDS if kind != "format"}
    assert {result["clause"] for result in results if result["state"] == "skipped"} <= {"gradients", "devices"}
    parts = [word for role in ROLES for word in (f"--{role}", f"my-{NAMES.get(role, role)}")]
    words = [*parts, "--set", "likelihood=my-likelihood", "--track", "my-tracker", "--out", "parts", *TINY[2:]]
    trained = author("train", *words)
    assert trained.returncode == 0, trained.stderr
    resolved = json.loads((tmp_path / "parts" / "config.json").read_text())["resolved"]
    assert resolved["prior"] == {"variance": 1.0}
    assert resolved["data"]["rings"] == 3
    events = [json.loads(line)["event"] for line in (tmp_path / "parts" / "my-tracker.jsonl").read_text().splitlines()]
    assert events == ["started", *["epoch"] * 4, "finished"]
    assert json.loads((tmp_path / "parts" / "metrics.json").read_text())["heads"]["my-head"]["test"]["my-metric"] > 0.0
    counted = author("my-command", "parts")
    assert counted.stdout.startswith("0: "), counted.stderr


def test_a_plugin_that_breaks_its_contract_fails_the_check_with_the_cure(stranger, site):
    source = """
import torch
from deepmix.contracts import Prior
from deepmix.maths import MixtureParameters

class Heavy(Prior):
    def __init__(self, dims, options):
        super().__init__()
        self.log_weight_K = torch.zeros(dims.n_components)

    def forward(self):
        return MixtureParameters(None, self.log_weight_K)

    def place(self, components, weight_K): ...
"""
    make_distribution(site, "heavy", "[deepmix.priors]\nheavy = heavy:Heavy\n", source)
    process = stranger("plugin", "check", "heavy", "--fast", "--json")
    assert process.returncode == 1
    failed = {row["clause"]: row["text"] for row in json.loads(process.stdout) if row["state"] == "failed"}
    assert "the sum of the new weights and 1 must agree, but differ by 3" in failed["contract"]
    assert "prior Heavy has no docstring. Cure: begin the docstring" in failed["summary"]
    assert "Cure: create tensors with device=x.device" in failed["devices"]


def test_a_new_plugin_refuses_names_and_folders_that_are_taken(deepmix, tmp_path):
    assert deepmix("plugin", "new", "my-prior", "--kind", "prior").returncode == 0
    before = sorted(tmp_path.rglob("*"))
    for name, words in {
        "mixture": "prior 'mixture' exists already, in deepmix; choose another name",
        "my-prior": "exists; choose another name, or delete the folder first",
        "My": "'My' can't be the name of a plugin; use lower-case letters",
        "none": "'none' can't be the name of a plugin",
        "builtins": "a package 'deepmix_builtins' is installed already",
    }.items():
        refuses(deepmix("plugin", "new", name, "--kind", "prior"), 2, words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plugin_that_is_not_installed_yet_is_not_unknown(deepmix):
    assert deepmix("plugin", "new", "my-prior", "--kind", "prior").returncode == 0
    for name in ("my-prior", "deepmix-my-prior", "./deepmix-my-prior/"):
        words = (f"'{name}' is not installed; install it with: pip install", "--editable deepmix-my-prior")
        refuses(deepmix("plugin", "check", name), 2, *words)


def test_api_versions_and_the_environment_decide_which_plugins_load(stranger, site, tmp_path):
    source = "from deepmix_builtins.mixture.priors import MixturePrior as Prior"
    later = API_VERSION + 1
    make_distribution(site, "later", f"[deepmix.priors]\nlater = later:Prior\n[deepmix.api]\n{later} = later\n", source)
    make_distribution(site, "sound", "[deepmix.priors]\nsound = sound:Prior\n", source)
    refuses(
        stranger("train", "--prior", "later", "--out", "run"),
        1,
        f"later 1.0 is not loaded: it is written for version {later} of the plugin API, and this deepmix has version "
        f"{API_VERSION}; install a release of later for version {API_VERSION}, or another deepmix",
    )
    refuses(
        stranger("train", "--prior", "sound", "--out", "run", DEEPMIX_PLUGINS="none"),
        1,
        "sound 1.0 is not loaded: DEEPMIX_PLUGINS=none leaves it out; add sound to DEEPMIX_PLUGINS, or unset it",
    )
    assert not (tmp_path / "run").exists()
    listed = stranger("plugins", "--check", "--json", DEEPMIX_PLUGINS="Sound")
    states = {row["name"]: row["state"] for row in json.loads(listed.stdout)}
    assert states["sound"] == "ok"
    assert states["later"].startswith("refused: DEEPMIX_PLUGINS=Sound leaves it out")
