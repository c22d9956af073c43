"""deepmix bench and deepmix doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from deepmix.bench import timing
from deepmix.bench.timing import machine
from deepmix.cli import main
from deepmix.kernels import loader

TIMES = {f"{form}_us" for form in ("kernel", "eager", "distributions", "gemm", "compiled")}


FIGURES = {"speedup_vs_eager", "speedup_vs_best", "gbs", "fraction_of_copy", "max_rel_err"}


KEYS = {"op", "device", "dtype", "pass", "N", "K", "M"} | TIMES | FIGURES


@pytest.mark.filterwarnings("ignore:plain PyTorch runs")
def test_bench_writes_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="--plot needs matplotlib")
    if loader.load_kernels().path == "reference":
        pytest.skip(f"no kernels to time: {loader.load_kernels().reason}")
    monkeypatch.setattr(timing, "QUICK_SECONDS", 0.01)
    file, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    result = CliRunner().invoke(
        main,
        [
            "bench",
            "--quick",
            "--model",
            "vae",
            "--model",
            "gmm",
            "--model",
            "m2",
            "--json",
            str(file),
            "--plot",
            str(picture),
        ],
    )
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    (results,) = json.loads(file.read_text())
    rows: list[dict[str, Any]] = results["rows"]
    assert {row["op"] for row in rows} == {
        "mixture_posterior",
        "sampled_mixture_posterior",
        "component_kl",
        "component_log_prob",
        "component_log_prob_full",
    }
    for row in rows:
        assert set(row) >= KEYS
        assert row["max_rel_err"] < 1e-4
        assert row["bytes"] > 0
    assert [row["model"] for row in results["training_steps"]] == ["vae", "m2"], "gmm has no training step"


def test_the_machine_of_figures_on_a_gpu_names_its_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(timing, "DRIVER", tmp_path / "version")
    assert machine(torch.device("cuda"))["driver"] is None
    timing.DRIVER.write_text("NVRM version: 580.65\nGCC version: 12\n")
    facts = machine(torch.device("cuda"))
    assert (facts["device"], facts["driver"]) == ("a GPU", "NVRM version: 580.65")


def test_bench_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = CliRunner().invoke(main, ["bench", "--device", "cuda"])
    assert result.exit_code == 2
    assert "--device cpu" in result.output


def test_bench_names_an_unknown_model() -> None:
    result = CliRunner().invoke(main, ["bench", "--model", "mvea"])
    assert result.exit_code == 2
    assert "unknown model 'mvea'; choose one of: ae, beta-mvae-emv2" in " ".join(result.output.split())


def test_bench_refuses_a_missing_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "--json", str(tmp_path / "none" / "bench.json")])
    assert result.exit_code == 2
    assert "create it first" in result.output


def test_bench_refuses_a_picture_of_another_kind(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "--plot", str(tmp_path / "bench.xyz")])
    assert result.exit_code == 2
    assert "use one of: .png" in result.output


def test_doctor_says_which_path_and_why() -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.output
    for name in ("torch", "DEEPMIX_BUILD", "kernels", "because", "devices", "compiler", "CUDA"):
        assert f"\n{name:<14} " in f"\n{result.output}"


@pytest.mark.parametrize(
    ("has_it", "says"), [(True, "in updates of large networks"), (False, "not used: the processor")]
)
def test_doctor_says_whether_bfloat16_is_used(has_it, says, monkeypatch) -> None:
    monkeypatch.setattr("deepmix.training.has_bfloat16", lambda: has_it)
    assert f"bfloat16       {says}" in CliRunner().invoke(main, ["doctor"]).output
