"""Runs written by earlier versions open, predict the same bits and report, whatever today's defaults are."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepmix import runs
from deepmix.contracts import NoOptions, registry
from deepmix.experiment import ExperimentConfig, assembly, read_parts
from deepmix.experiment.parts import Parts, SizeOptions
from deepmix.models import MixtureOptions, ObjectiveOptions, Recipe
from deepmix.runs import RunFolder
from deepmix.training import TrainingOptions, schedule
from tests.cli.conftest import refuses

FORMAT_1 = Path(__file__).parents[1] / "saved_runs" / "format-1"
"""Two runs of format 1, with the rows they were trained on and their predictions for other rows."""


ROWS = {"table": "new.csv", "images": "images.npz"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a folder with copies of the runs; the paths in them are relative to it."""
    shutil.copytree(FORMAT_1, tmp_path, dirs_exist_ok=True)
    return tmp_path


def other_value(name: str, hint: Any, default: Any) -> Any:
    """Return a valid value of an option that is not its default."""
    if typing.get_origin(hint) is typing.Literal:
        return next(choice for choice in typing.get_args(hint) if choice != default)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if hint is bool:
        return not default
    if hint is str:
        texts = {"hidden": "5-5", "narrow": "5-5", "image_shape": "2x2", "likelihood": "gaussian-learned"}
        return {**texts, "cache_dir": "cache"}[name]
    return (default or 0) + 3 if hint is int else (default or 0.0) / 2 + 0.01


def change_defaults(monkeypatch: pytest.MonkeyPatch, kind: type, values: dict[str, Any]) -> None:
    """Give a dataclass other defaults, as if its source had them."""
    fields = [field for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING]
    init: Any = kind.__init__
    default_names = [f.name for f in dataclasses.fields(kind)][-len(init.__defaults__ or ()) :]
    new = dict(zip(default_names, init.__defaults__ or (), strict=True)) | {
        name: values[name] for name in values if name in default_names
    }
    monkeypatch.setattr(init, "__defaults__", tuple(new.values()))
    for field in fields:
        monkeypatch.setattr(field, "default", values.get(field.name, field.default))
        monkeypatch.setattr(kind, field.name, values.get(field.name, field.default), raising=False)


def change_every_default(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> int:
    """Change the default of every option of a run's parts, its recipe and the configuration; return their number."""
    kinds = {SizeOptions, TrainingOptions, ObjectiveOptions, MixtureOptions, *map(type, parts.options.values())}
    n_changed = 0
    for kind in kinds - {NoOptions}:
        hints = typing.get_type_hints(kind)
        values = {
            f.name: other_value(f.name, hints[f.name], f.default)
            for f in dataclasses.fields(kind)
            if f.default is not dataclasses.MISSING
        }
        change_defaults(monkeypatch, kind, values)
        assert all(getattr(kind(), name) == value for name, value in values.items())
        n_changed += len(values)
    module, _, name = parts.plugins["model"].target.partition(":")
    recipe = Recipe(
        "another recipe",
        posterior="joint",
        prior="standard" if parts.plugins["prior"].name == "mixture" else "mixture",
        encoder_heads="one",
        encoder="conv",
        decoder="conv",
        init="random",
        single_component=True,
    )
    monkeypatch.setattr(importlib.import_module(module), name, recipe)
    change_defaults(
        monkeypatch, ExperimentConfig, {"model": "vae", "heads": ("kmeans",), "seed": 9, "dataset": "gaussians"}
    )
    monkeypatch.setattr(assembly, "LATENT_DIM", 7)
    monkeypatch.setattr(schedule, "MIN_EPOCHS", 2)
    return n_changed


@pytest.mark.parametrize("defaults", ["today's", "others"])
@pytest.mark.parametrize("run", ROWS)
def test_a_run_of_format_1_is_what_it_was(deepmix, saved, monkeypatch, run, defaults):
    if defaults == "others":
        parts = read_parts(RunFolder(saved / run))[1]
        assert change_every_default(monkeypatch, parts) >= 25
    assert deepmix("predict", run, ROWS[run], "-o", "predicted.csv").returncode == 0
    assert (saved / "predicted.csv").read_bytes() == (saved / f"{run}-predicted.csv").read_bytes()
    result = deepmix("evaluate", run, "--json")
    assert result.returncode == 0, result.stderr
    recorded = json.loads((saved / run / "metrics.json").read_text())
    metrics = json.loads(result.stdout)
    assert metrics["heads"] == recorded["heads"]
    assert metrics["elbo"] == pytest.approx(recorded["elbo"], rel=1e-6)
    assert deepmix("report", run).returncode == 0
    page = (saved / run / "report.html").read_text()
    assert "head posterior" in page
    assert "KL of the latents" in page
    assert not (saved / run / "report.html.part").exists()


def test_latents_of_format_1_have_the_same_bits(deepmix, saved):
    assert deepmix("embed", "table", "new.csv", "-o", "embedded.npz").returncode == 0
    with np.load(saved / "embedded.npz") as embedded, np.load(saved / "table-embedded.npz") as table_latents:
        assert sorted(embedded) == sorted(table_latents)
        for name in table_latents:
            assert np.array_equal(embedded[name], table_latents[name]), name


def test_the_parts_of_format_1_are_known_by_name(saved):
    record, parts = read_parts(RunFolder(saved / "table"))
    names = {role: part.identity for role, part in record.parts.items()}
    assert names == {
        "model": "deepmix:mvae-emv2",
        "encoder": "deepmix:mlp",
        "decoder": "deepmix:mlp",
        "prior": "deepmix:mixture",
        "posterior": "deepmix:ratio",
        "initializer": "deepmix:gmm",
        "head.posterior": "deepmix:posterior",
        "head.gmm": "deepmix:gmm",
        "head.kmeans": "deepmix:kmeans",
    }  # the rows came from a file: there is no data set among them
    assert (parts.plan.shared_latent, parts.plan.single_component) == (False, False)
    assert parts.options["objective"].anchor == 0.5
    assert record.data.rows.total == 150
    (first, *_, last) = RunFolder(saved / "table").read_epochs()
    assert (first.stage, first.terms) == ("pretrain", {})
    assert list(last.terms) == ["reconstruction", "kl_latent", "kl_assignment"]


OLD_ANCHOR = ("--set", "anchor=1", "--set", "may_leave=1", "--set", "anchor_neighbours=0")
"""The defaults of format 1, which have changed since."""


def test_config_of_format_1_repeats_the_run(deepmix, saved):
    result = deepmix("train", "--config", "images/config.json", "--out", "again", *OLD_ANCHOR, "--quiet", "--no-report")
    assert result.returncode == 0, result.stderr
    again, first = (pd.read_csv(saved / name / "assignments.csv") for name in ("again", "images"))
    assert list(again.columns.drop(["outlier", "stability"])) == list(first.columns)  # which format 1 did not have
    pd.testing.assert_frame_equal(again[first.columns], first, rtol=1e-5)  # q(y|x) is rounded less since
    (again, first) = ((saved / name / "config.json").read_text() for name in ("again", "images"))
    old_anchor = {"anchor": "1", "may_leave": "1", "anchor_neighbours": "0"}
    assert json.loads(again)["settings"] == {**json.loads(first)["settings"], **old_anchor}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("config.json", ("predict", "table", "new.csv")),
        ("config.json", ("evaluate", "table")),
        ("config.json", ("report", "table")),
        ("config.json", ("compare", "table")),
        ("metrics.json", ("report", "table")),
        ("metrics.json", ("compare", "table")),
    ],
)
def test_a_newer_format_is_one_sentence(deepmix, saved, name, command):
    path = saved / "table" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": runs.FORMAT + 1}))
    sentence = f"was written by a newer deepmix (format 3; this one reads up to {runs.FORMAT}); update deepmix"
    refuses(deepmix(*command), 1, f"{name}' {sentence}")


def test_resume_and_config_refuse_a_newer_format(deepmix, saved):
    path = saved / "table" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    (saved / "table" / "metrics.json").unlink()
    refuses(deepmix("train", "--resume", "--out", "table"), 1, "format 99", "update deepmix")
    refuses(deepmix("train", "--config", "table/config.json", "--out", "again"), 1, "format 99", "update deepmix")
    assert not (saved / "again").exists()


def edit(path: Path, *keys: str, value: Any) -> None:
    """Change one value of a JSON file, and take out the checksum, as a user does who means the change."""
    content = json.loads(path.read_text())
    content.pop("checksum", None)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))


def test_a_part_of_another_distribution_in_format_1_is_found_by_its_path(deepmix, saved, monkeypatch):
    path = saved / "table" / "config.json"
    edit(path, "resolved", "parts", "prior", value="acme.priors:MixturePrior")  # not ours, despite its class name
    refuses(deepmix("predict", "table", "new.csv"), 1, "needs prior 'acme.priors:MixturePrior', which is not installed")
    real = registry.discover

    def discover(kind: str) -> tuple[registry.Plugin, ...]:
        plugin = registry.Plugin("priors", "blend", "acme", "1.0", "acme.priors:MixturePrior")
        return (*real(kind), *([plugin] if kind == "priors" else []))

    monkeypatch.setattr(registry, "discover", discover)
    refuses(deepmix("predict", "table", "new.csv"), 1, "prior 'blend' of acme 1.0 can't be loaded")


@pytest.fixture
def current(deepmix, saved) -> Path:
    """Return a run in the current format."""
    result = deepmix("train", "--config", "images/config.json", "--out", "current", "--quiet", "--no-report")
    assert result.returncode == 0, result.stderr
    return saved / "current"


def test_a_plugin_that_is_gone_is_named_with_its_distribution_and_version(deepmix, current):
    gone = {"kind": "encoders", "name": "wavelet", "distribution": "deepmix-waves", "version": "1.4"}
    edit(current / "config.json", "parts", "encoder", value=gone)
    refuses(
        deepmix("predict", "current", "images.npz"),
        1,
        "needs encoder 'wavelet' of deepmix-waves 1.4, which is not installed; "
        "install it with: pip install deepmix-waves==1.4",
    )


def test_an_option_that_is_unknown_is_one_sentence(deepmix, current):
    edit(current / "config.json", "resolved", "training", "momentum", value=0.5)
    refuses(deepmix("predict", "current", "images.npz"), 1, "config.json", "'resolved.training.momentum' is unknown")


def test_a_built_in_stays_itself_when_another_distribution_claims_its_name(deepmix, current, monkeypatch):
    real = registry.discover

    def discover(kind: str) -> tuple[registry.Plugin, ...]:
        return (*real(kind), *(dataclasses.replace(p, distribution="intruder", target="no:where") for p in real(kind)))

    before = deepmix("predict", "current", "images.npz").stdout
    monkeypatch.setattr(registry, "discover", discover)
    after = deepmix("predict", "current", "images.npz")
    assert after.returncode == 0, after.stderr
    assert after.stdout == before != ""
