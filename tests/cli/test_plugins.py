from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, refuses

ROOT = Path(__file__).parents[2]


def make_distribution(folder: Path, name: str, entry_points: str, source: str = "") -> None:
    """Write the metadata and the module of an installed distribution."""
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points)
    (folder / f"{name}.py").write_text(source)


def test_listing_names_every_built_in_part(deepmix):
    rows = json.loads(deepmix("plugins", "--json").stdout)
    assert all(row["summary"] for row in rows)
    assert {tuple(row) for row in rows} == {("kind", "name", "distribution", "version", "summary")}
    by_kind: dict[str, set[str]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], set()).add(row["name"])
    assert {"vae", "vade", "k-dvae", "k-dvae-shared", "mvae", "mvae-emv1", "mvae-emv2"} < by_kind["model"]
    assert by_kind["prior"] >= {"standard", "mixture"}
    assert by_kind["head"] >= {"gmm", "gmm-random", "kmeans", "posterior"}
    assert by_kind["initializer"] >= {"gmm", "graph", "kmeans"}
    assert "mvae-emv2" in deepmix("plugins").stdout


def test_check_imports_every_built_in_part_and_finds_what_the_listing_says(deepmix):
    listed = json.loads(deepmix("plugins", "--json").stdout)
    assert json.loads(deepmix("plugins", "--check", "--json").stdout) == [row | {"state": "ok"} for row in listed]


def row_of(listing: subprocess.CompletedProcess[str], name: str) -> dict[str, str]:
    return next(row for row in json.loads(listing.stdout) if row["name"] == name)


def test_broken_plugin_stops_only_those_who_ask_for_it(stranger, site):
    source = "raise RuntimeError('no licence')"
    make_distribution(site, "cracked", "[deepmix.priors]\ncracked = cracked:Prior\n", source)
    assert row_of(stranger("plugins", "--json"), "cracked") == {
        "kind": "prior",
        "name": "cracked",
        "distribution": "cracked",
        "version": "1.0",
        "summary": None,
    }
    assert "No valid description of some plugins of cracked:" in stranger("plugins").stdout
    assert row_of(stranger("plugins", "--check", "--json"), "cracked")["state"] == "broken: RuntimeError('no licence')"
    row = next(line for line in stranger("plugins", "--check").stdout.splitlines() if "cracked" in line)
    assert re.split("  +", row) == ["prior", "cracked", "cracked", "1.0", "broken", "RuntimeError('no licence')"]
    assert stranger("train", "--out", "run", *TINY).returncode == 0
    result = stranger("train", "--prior", "cracked", *TINY)
    assert result.returncode == 1
    assert "cracked 1.0 can't be loaded (RuntimeError: no licence)" in " ".join(result.stderr.split())


def test_a_plugin_that_prints_and_exits_when_imported_ends_and_spoils_nothing(stranger, site):
    source = "print('hello')\nraise SystemExit(3)"
    make_distribution(site, "rude", "[deepmix.heads]\nrude = rude:Head\n", source)
    listing = stranger("plugins", "--check", "--json")
    assert listing.returncode == 0
    assert row_of(listing, "rude")["state"] == "broken: SystemExit(3)"
    assert "hello" in listing.stderr
    refuses(stranger("train", "--head", "rude", *TINY), 1, "rude 1.0 can't be loaded (SystemExit: 3)")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[console_scripts]\na = b:c\na = d:e\n", "option 'a' in section 'console_scripts' already exists"),
        ("a = b:c\n", "File contains no section headers."),
        ("[deepmix.priors]\nodd = not a module\n", "entry point 'odd = not a module' of odd 1.0"),
    ],
)
def test_malformed_entry_points_of_others_are_skipped_and_named(stranger, site, text, reason):
    make_distribution(site, "odd", text)
    make_distribution(site, "sound", "[deepmix.priors]\nsound = sound:Prior\n", "class Prior:\n    'A prior.'")
    listing = stranger("plugins")
    assert listing.returncode == 0
    assert "Traceback" not in listing.stderr
    last = listing.stdout.splitlines()[-1]
    assert last.startswith("Passed over: ")
    assert last.endswith("; reinstall or remove odd")
    assert reason in last
    as_json = stranger("plugins", "--json")
    assert row_of(as_json, "sound")["distribution"] == "sound"
    assert as_json.stderr.strip() == last
    assert "sound" in stranger("train", "--help").stdout


PACKAGE = """
from dataclasses import dataclass, field
from deepmix.contracts import Prior
from deepmix.data import SplitOptions

@dataclass(frozen=True)
class Options:
    turns: int = field(default=3, metadata={"help": "how often"})

class Spiral(Prior):
    'A spiral.'
    Options = Options
"""


def test_a_described_plugin_is_listed_and_helped_until_its_sources_change(stranger, site):
    make_distribution(site, "winding", "[deepmix.priors]\nspiral = winding.parts:Spiral\n")
    (site / "winding.py").unlink()
    (site / "winding").mkdir()
    (site / "winding" / "__init__.py").touch()
    source = site / "winding" / "parts.py"
    source.write_text(PACKAGE)
    assert row_of(stranger("plugins", "--json"), "spiral")["summary"] is None
    result = stranger("plugins", "--describe", "Winding")
    assert result.stdout == f"Written: {site / 'winding' / 'deepmix_plugins.json'}\n", result.stderr
    assert row_of(stranger("plugins", "--json"), "spiral")["summary"] == "A spiral."
    source.write_bytes(PACKAGE.replace("\n", "\r\n").encode())
    assert row_of(stranger("plugins", "--json"), "spiral")["summary"] == "A spiral."
    words = ("train", "--model", "vade", "--prior", "spiral", "--help")
    described = stranger(*words).stdout
    assert "turns=3  how often [a whole number]" in described
    source.write_text(PACKAGE.replace("default=3", "default=4"))
    assert row_of(stranger("plugins", "--json"), "spiral")["summary"] is None
    assert stranger(*words).stdout == described.replace("turns=3", "turns=4")


def test_describe_refuses_what_it_cannot_describe(stranger, site):
    make_distribution(site, "flat", "[deepmix.priors]\nflat = flat:Prior\n", "class Prior: pass")
    refuses(stranger("plugins", "--describe", "none"), 2, "unknown distribution of plugins 'none'", "deepmix, flat")
    refuses(stranger("plugins", "--describe", "flat"), 1, "the single module 'flat'; descriptions need a package")
    refuses(stranger("plugins", "--describe", "flat", "--check"), 2, "--check and --describe exclude each other")


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
    def initial_labels(self, rows, n_components, seed): return [n_components] * len(rows.code_NM)

class Unpredictable:
    def fit(self, x): return self
"""


@pytest.mark.parametrize(
    ("kind", "name", "option", "words"),
    [
        ("decoders", "NoDecoder", "--decoder", "not a subclass of deepmix.contracts.Decoder"),
        ("decoders", "Raising", "--decoder", "decoder 'part' of broken breaks its contract: KeyError: 'width'"),
        ("decoders", "Narrow", "--decoder", "decoder(z, counts) must have shape"),
        ("heads", "Wordy", "--head", "predict must return (N,) integers, got (60,) <U1"),
        ("heads", "Unpredictable", "--head", "a head needs fit and predict"),
        ("initializers", "Beyond", "--init", "initializer 'part' of broken breaks its contract: initial_labels must"),
        ("models", "NoDecoder", "--model", "not a subclass of deepmix.contracts.Model"),
    ],
)
def test_a_plugin_that_breaks_its_contract_is_named(stranger, site, tmp_path, kind, name, option, words):
    make_distribution(site, "broken", f"[deepmix.{kind}]\npart = broken:{name}\n", BROKEN)
    refuses(stranger("train", *TINY, option, "part", "--out", "run"), 1, words)
    assert not (tmp_path / "run").exists()


def test_two_distributions_with_one_name_must_be_told_apart(stranger, site):
    source = "from deepmix_builtins.mixture.priors import StandardPrior as Prior"
    for name in ("first", "second"):
        make_distribution(site, name, f"[deepmix.priors]\ntwin = {name}:Prior\n", source)
    refuses(stranger("train", "--prior", "twin", *TINY), 2, "claimed by first and second")
    assert row_of(stranger("plugins", "--check", "--json"), "twin")["state"] == "clash: use first:twin"
    assert stranger("train", "--prior", "second:twin", "--out", "run", *TINY).returncode == 0


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
    copy = shutil.copytree(ROOT / "plugins" / "deepmix-example", folder.parent / "copy")  # building writes into it
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, copy], check=True)
    return python


def test_example_plugin_installs_and_trains(example_environment, tmp_path):
    """It is listed with its summary, so its description is in the wheel; the suite runs its own tests too."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [example_environment, "-m", "deepmix"]
    listed = subprocess.run([*command, "plugins", "--json"], env=env, capture_output=True, text=True, check=True)
    rows = {(row["kind"], row["name"]): row for row in json.loads(listed.stdout)}
    assert rows["prior", "ring"]["distribution"] == rows["head", "birch"]["distribution"] == "deepmix-example"
    assert rows["prior", "ring"]["summary"].startswith("K fixed")
    options = ["--prior", "ring", "--set", "radius=2.5", "--head", "birch", "--out", tmp_path / "run", *TINY]
    result = subprocess.run([*command, "train", *options], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["resolved"]["prior"] == {"radius": 2.5}
    assert "birch" in json.loads((tmp_path / "run" / "metrics.json").read_text())["heads"]


def test_a_distribution_run_from_its_sources_has_the_version_of_its_metadata(site, stranger):
    """Their folder is called NAME.egg-info, without the version that others have in the name."""
    make_distribution(site, "checkout", "[deepmix.heads]\nthirds = checkout:Thirds\n")
    (site / "checkout-1.0.dist-info").rename(site / "checkout.egg-info")
    (site / "checkout.egg-info" / "METADATA").rename(site / "checkout.egg-info" / "PKG-INFO")
    rows = json.loads(stranger("plugins", "--json").stdout)
    assert [row["version"] for row in rows if row["distribution"] == "checkout"] == ["1.0"]
