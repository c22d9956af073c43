from __future__ import annotations

import ast
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

import deepmix
from deepmix import runs
from deepmix.errors import DeepmixError
from deepmix.experiment import ExperimentConfig
from deepmix.runs import MemoryRun, RunFolder, from_plain, to_plain
from deepmix.runs.conversion import BEFORE, KEY, MisfitError

REQUESTED = runs.Requested(
    model="vade",
    prior=None,
    posterior=None,
    encoder="acme:mlp",
    decoder=None,
    init=None,
    heads=("posterior", "gmm"),
    dataset="digits",
    label_column=None,
    data_dir=None,
    seed=3,
    device="auto",
    settings={"epochs": "2"},
)
CONFIG = runs.RunConfig(
    requested=REQUESTED,
    report=False,
    resolved={"size": {"components": 3}, "model": {"likelihood": "gaussian"}, "encoder": {"hidden": "4-4"}},
    parts={"encoder": runs.PartRecord("encoders", "mlp", "acme", "1.2")},
    structure={"shared_latent": True},
    data=runs.DataRecord(runs.RowCounts(8, 2), 5, (2, 2, 1), "values as they are", True, "abc"),
    n_parameters=12,
    environment=runs.Environment("0.1", "2.13", "2.4", "1.9", "3.11", "Linux", "cpu", 1, None),
)
FIGURES = runs.HeadFigures({"acc": 0.5, "silhouette": None}, [4, 4, 0])
METRICS = runs.Metrics(
    heads={"posterior": {"train": FIGURES, "test": FIGURES}},
    elbo={"train": -1.5, "test": -2.0},
    elbo_parts={"train": {"elbo": -1.5, "tie": 0.25}, "test": {"elbo": -2.0, "tie": 0.5}},
    warnings=["a warning"],
    n_parameters=12,
    seconds=1.25,
    initial_labels=runs.InitialLabels(train={"acc": 0.25}, test={"acc": 0.5}),
    knn_error={"3": 0.125},
)
SUMMARY = runs.summarize({0: METRICS, 4: dataclasses.replace(METRICS, seconds=0.25)}, REQUESTED, report=True)
CHECKPOINT = runs.CheckpointMeta("train", 4, 10, -3.5, 1, 2.5)
RECORDS = [CONFIG, METRICS, SUMMARY, runs.Summary([0, 1], REQUESTED, report=False), CHECKPOINT]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("where", ["folder", "memory"])
def test_records_come_back_as_they_were(tmp_path, record, where):
    store = RunFolder(tmp_path) if where == "folder" else MemoryRun()
    if isinstance(record, runs.CheckpointMeta):
        assert runs.CheckpointMeta.from_json(json.loads(json.dumps(record.to_json())), "here") == record
        return
    store.write(record)
    assert store.read(type(record)) == record


def test_the_configuration_stands_at_the_top_of_config_json():
    values = CONFIG.to_json()
    assert list(values)[:3] == ["format", "model", "prior"]
    assert (values["format"], values["model"], values["heads"]) == (runs.FORMAT, "vade", ["posterior", "gmm"])
    assert values["parts"]["encoder"] == {"kind": "encoders", "name": "mlp", "distribution": "acme", "version": "1.2"}
    assert values["environment"]["scikit-learn"] == "1.9"
    assert values["report"] is False


def test_the_record_of_a_configuration_has_its_fields():
    names = [[f.name for f in dataclasses.fields(kind)] for kind in (runs.Requested, ExperimentConfig)]
    assert names[0] == names[1]


def test_epochs_come_back_and_their_terms_are_open(tmp_path):
    folder = RunFolder(tmp_path)
    rows = [
        runs.EpochRecord(stage="pretrain", epoch=1, elbo=-2.0, lr=0.1, seconds=0.5),
        runs.EpochRecord("train", 1, -1.5, 0.1, 0.5, -1.75, {"tie_strength": 0.25}, 0.0, 0.875, 3, 1.0),
    ]
    for row in rows:
        folder.append_epoch(row)
    assert folder.read_epochs() == rows
    first, second = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert len(first.pop("checksum")) == 32
    assert first == {"stage": "pretrain", "epoch": 1, "elbo": -2.0, "terms": {}, "lr": 0.1, "seconds": 0.5}
    assert second["terms"] == {"tie_strength": 0.25}


def test_a_summary_has_the_spread_of_every_metric_and_its_best_by_direction():
    assert SUMMARY.seeds == [0, 4]
    assert list(SUMMARY.heads["posterior"]) == ["acc"]  # no run has a silhouette
    assert SUMMARY.heads["posterior"]["acc"].values == [0.5, 0.5]
    assert (SUMMARY.seconds.best, SUMMARY.seconds.values) == (0.25, [1.25, 0.25])
    assert SUMMARY.initial_labels["acc"].mean == 0.5


@pytest.mark.parametrize(
    ("record", "keys", "value", "message"),
    [
        (CONFIG, ("seed",), "three", "'seed' must be a whole number, got 'three'"),
        (CONFIG, ("data", "rows", "train"), 1.5, "'data.rows.train' must be a whole number, got 1.5"),
        (CONFIG, ("parts", "encoder"), "mlp", "'parts.encoder' must be a table, got 'mlp'"),
        (CONFIG, ("data", "image_shape"), [2, 2], "'data.image_shape' must be a list of 3"),
        (CONFIG, ("report",), 1, "'report' must be true or false, got 1"),
        (METRICS, ("heads",), {}, "'heads' is empty"),
        (METRICS, ("heads", "posterior", "test", "acc"), "high", "'heads.posterior.test.acc' must be a number"),
        (METRICS, ("heads", "posterior", "test", "sizes"), 4, "'heads.posterior.test.sizes' must be a list"),
        (METRICS, ("elbo", "test"), None, "'elbo.test' must be a number, got None"),
        (SUMMARY, ("seeds",), ["a"], r"'seeds\[0\]' must be a whole number"),
        (CHECKPOINT, ("stage",), "warmup", "'stage' must be one of pretrain, train, got 'warmup'"),
        (CONFIG, ("format",), "two", "'format' must be a whole number from 1, got 'two'"),
    ],
)
def test_damage_names_the_file_and_the_key(record, keys, value, message):
    values = json.loads(json.dumps(record.to_json()))
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    with pytest.raises(DeepmixError, match=f"^'the/file' is damaged \\({message}.*; train again with overwrite$"):
        type(record).from_json(values, "the/file")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_missing_key_is_named(record):
    key = {"Metrics": "heads", "CheckpointMeta": "best", "Summary": "seeds"}.get(type(record).__name__, "data")
    values = record.to_json()
    del values[key]
    with pytest.raises(DeepmixError, match=f"'the/file' is damaged \\('{key}' is missing\\)"):
        type(record).from_json(values, "the/file")
    with pytest.raises(DeepmixError, match="must be a table, got 7"):
        type(record).from_json(7, "the/file")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_newer_format_asks_for_an_update(record):
    with pytest.raises(DeepmixError) as error:
        type(record).from_json({**record.to_json(), "format": 3}, "the/file")
    assert str(error.value) == (
        "'the/file' was written by a newer deepmix (format 3; this one reads up to 2); update deepmix"
    )


def test_a_checkpoint_of_format_1_is_read():
    old = {"stage": "train", "epoch": 4, "n_lines": 10, "best_elbo": -3.5, "stale_epochs": 1, "seconds": 2.5}
    assert runs.CheckpointMeta.from_json(old, "here") == CHECKPOINT


@dataclass(frozen=True)
class Example:
    """A dataclass of every kind of field."""

    size: int
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    shape: tuple[int, ...] | None = None
    limit: int | str | None = "none"
    added: int = field(default=9, metadata={BEFORE: 4})
    dashed: str = field(default="x", metadata={KEY: "dash-ed"})


def test_values_are_converted_both_ways():
    example = Example(3, 1.0, "b", (1, 2), "few", 7, "y")
    plain = {"size": 3, "rate": 1.0, "kind": "b", "shape": [1, 2], "limit": "few", "added": 7, "dash-ed": "y"}
    assert to_plain(example) == plain
    assert from_plain(Example, plain) == example
    assert from_plain(Example, {"size": 1, "rate": 2}) == Example(1, 2.0, added=4)
    assert [from_plain(Example, {"size": 1, "limit": limit}).limit for limit in (3, None, "x")] == [3, None, "x"]
    with pytest.raises(MisfitError, match=r"'limit' must be text, got 1\.5"):
        from_plain(Example, {"size": 1, "limit": 1.5})


def test_an_unknown_key_is_refused_only_where_it_must_be_known():
    assert from_plain(Example, {"size": 1, "added": 9, "colour": "red"}) == Example(1)
    with pytest.raises(MisfitError, match=r"'options\.colour' is unknown to this version"):
        from_plain(Example, {"size": 1, "colour": "red"}, "options", strict=True)
    with pytest.raises(MisfitError, match=r"'options\.size' is missing"):
        from_plain(Example, {}, "options")


KEYS = {"resolved", "environment", "fingerprint", "elbo_parts", "knn_error", "n_parameters", "labelled_rows", "n_lines"}
KEYS |= {"best_elbo", "stale_epochs", "clusters_in_use", "dropped_mass", "confidence", "n_features", "row_shape"}
"""Keys of a run's files that nothing else shares."""


def named_keys(path: Path) -> list[tuple[int, str]]:
    """Return the keys of records that a file reads by name, as `values["key"]` or `values.get("key")`, by line."""
    usages = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            keys = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            keys = node.args[:1]
        else:
            continue
        usages += [(node.lineno, k.value) for k in keys if isinstance(k, ast.Constant) and k.value in KEYS]
    return sorted(usages)


def test_only_the_records_name_a_key_of_a_runs_files(tmp_path):
    core = Path(deepmix.__file__).parent
    files = [path for path in core.rglob("*.py") if "runs" not in path.relative_to(core).parts]
    assert {str(path): keys for path in files if (keys := named_keys(path))} == {}
    example = tmp_path / "example.py"
    example.write_text('a = config["resolved"]["size"]\nb = metrics.get("knn_error", {})\n')
    assert named_keys(example) == [(1, "resolved"), (2, "knn_error")]
