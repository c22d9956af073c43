"""Other people's formats, metrics, sections, trackers, commands and broken parts, through the command line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from deepmix.contracts import registry
from deepmix.experiment import declare_installed
from deepmix.metrics import METRICS
from tests.cli.conftest import TINY, WITH_REPORT, refuses
from tests.cli.strangers import ENTRY_POINTS, SOURCE
from tests.cli.test_plugins import make_distribution


@pytest.fixture(autouse=True)
def _strangers(tmp_path, monkeypatch):
    """Install the distribution for one test, in this process."""
    make_distribution(tmp_path / "site", "strange_parts", ENTRY_POINTS, SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    declared = dict(METRICS)
    for cached in (registry.read_entry_points, declare_installed):
        cached.cache_clear()
    yield
    METRICS.clear()
    METRICS.update(declared)
    sys.modules.pop("strange_parts", None)
    for cached in (registry.read_entry_points, declare_installed):
        cached.cache_clear()


@pytest.fixture
def rows(tmp_path) -> str:
    """Return a file of three groups in four columns, with labels, in the strangers' format."""
    random = np.random.default_rng(0)
    label_N = np.arange(90) % 3
    x_ND = np.eye(3, 4)[label_N] * 9.0 + random.normal(size=(90, 4))
    np.savetxt(tmp_path / "blobs.rows", np.column_stack([x_ND, label_N]))
    return "blobs.rows"


SMALL = ("--components", "3", "--set", "encoder.hidden=16", "--set", "decoder.hidden=16", "--no-baselines")


def test_a_run_with_a_part_of_every_kind_and_noise(deepmix, tmp_path, rows):
    parts = ["--prior", "laplace", "--init", "unsure", "--head", "unsure", "--set", "factor=2"]
    parts += ["--track", "memo", "--track", "offline"]
    words = [*parts, "--set", "tracker.memo.file=notes.txt", "--dataset", rows, "--label-column", "y", *SMALL]
    options = [word for word in WITH_REPORT if word not in ("--init", "kmeans", "--quiet")]
    result = deepmix("train", *words, *options, "--out", "run")
    assert result.returncode == 0, result.stderr
    assert "tracker 'offline' failed (ConnectionError: no network) and is off" in result.stderr
    notes = "start mvae-emv2; pretrain 1; pretrain 2; train 1; train 2; end ['unsure'] True"
    assert (tmp_path / "notes.txt").read_text() == notes
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["parts"]["format"]["distribution"] == "strange-parts"
    assert (config["resolved"]["format"], config["trackers"]) == ({"factor": 2.0}, ["memo", "offline"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    figures = metrics["heads"]["unsure"]["train"]
    assert sum(figures["sizes"]) == 76 - 16, "every fifth of 76 training rows is noise, and in no cluster"
    assert figures["largest"] == figures["strange-parts:acc"] == figures["sizes"][0] / 76
    assert figures["cracked"] is None
    assert 0.0 < figures["acc"] <= 60 / 76, "noise counts as wrong"
    assert any("'cracked' could not be computed (ZeroDivisionError" in text for text in metrics["warnings"])
    report = (tmp_path / "run" / "report.html").read_text()
    assert "3 &lt;clusters&gt;" in report
    assert "could not be written (RuntimeError: no ink)" in report
    table = (tmp_path / "run" / "assignments.csv").read_text().splitlines()
    assert table[0].startswith("row,name,split,unsure,")
    predicted = deepmix("predict", "run", rows).stdout.splitlines()
    assert [line.split(",")[:3] for line in predicted[:2]] == [["row", "name", "cluster"], ["1", "r0", "-1"]]
    assert len(predicted) == 91


def test_a_head_that_fails_is_left_out_and_another_can_be_given(deepmix, tmp_path, rows):
    result = deepmix("train", "--head", "late", "--dataset", rows, *SMALL, *TINY, "--out", "run")
    assert result.returncode == 0, result.stderr
    assert "head 'late' failed and is left out (ValueError: too many rows)" in " ".join(result.stdout.split())
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert ",posterior," in (tmp_path / "run" / "assignments.csv").read_text()
    refuses(deepmix("train", "--resume", "--out", "run", "--head", "nobody"), 2, "unknown head 'nobody'")
    assert deepmix("train", "--resume", "--out", "run", "--head", "gmm", "--quiet", "--no-report").returncode == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert ",gmm," in (tmp_path / "run" / "assignments.csv").read_text().splitlines()[0]
    assert set(json.loads((tmp_path / "run" / "config.json").read_text())["heads"]) == {"gmm"}


@pytest.mark.parametrize(
    ("words", "clause"),
    [
        (["--prior", "heavy"], "prior 'heavy' of strange-parts breaks its contract: the sum of the new weights and 1"),
        (["--dataset", "gap"], "data set 'gap' of strange-parts breaks its contract: x must be finite, but row 7"),
        (["--dataset", "crash"], "data set 'crash' of strange-parts can't be loaded (KeyError: 'x')"),
        (["--dataset", "twice"], "train and test must hold every row number once"),
        (["--encoder", "strange-parts:mlp"], "is not a subclass of deepmix.contracts.Encoder"),
        (["--prior", "other-parts:box"], "prior 'box' of other-parts is not installed; install it with: pip install"),
        (["--likelihood", "strange"], "unknown likelihood 'strange'"),
    ],
    ids=lambda value: "-" if isinstance(value, str) else value[1],
)
def test_a_broken_part_ends_in_one_sentence_before_there_is_a_folder(deepmix, tmp_path, rows, words, clause):
    given = [*words, *([] if "--dataset" in words else ["--dataset", rows])]
    result = deepmix("train", *given, *SMALL, *TINY, "--out", "run")
    refuses(result, 2 if "install" in clause or "unknown" in clause else 1, clause)
    assert not (tmp_path / "run").exists()


def test_commands_of_others_are_listed_and_called_and_cannot_take_a_name(deepmix):
    listing = deepmix("--help").stdout
    assert "A command of strange-parts." in listing
    assert "strange-parts:train" in listing
    assert deepmix("greet", "you").stdout == "hello you\n"
    assert deepmix("strange-parts:train", "me").stdout == "hello me\n"
    refuses(deepmix("fail"), 1, "command 'fail' of strange-parts failed (ValueError: bang)")
    listed = json.loads(deepmix("plugins", "--check", "--json").stdout)
    states = {row["name"]: row["state"] for row in listed if row["distribution"] == "strange-parts"}
    assert states["mlp"] == "broken: 1 is not a subclass of deepmix.contracts.Encoder"
    assert states["train"] == "ok"
    assert states["acc"] == "ok"
    assert {row["state"] for row in listed if (row["name"], row["distribution"]) == ("mlp", "deepmix")} == {"ok"}
