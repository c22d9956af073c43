"""Fuzzed configurations, and fuzzed files of a finished run: its records, weights and checkpoint."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from deepmix import runs
from deepmix.cli.commands.train import read_config
from deepmix.experiment import config_from_mapping, resolve
from deepmix.inference import open_run
from tests.fuzz.damage import damage, damage_json
from tests.fuzz.target import Target

CONFIG = {
    "model": "vade", "heads": ["gmm", "posterior"], "dataset": "digits", "seed": 1,
    "settings": {"components": 3, "lr": 0.01},
    "table": {"columns": {"a": {"kind": "count", "likelihood": "poisson"}}, "drop": ["b"], "missing": ["?"]},
    "encoder": {"hidden": "16"}, "beta": 2.0, "label_column": None,
}  # fmt: skip


def _json_config(random: Random) -> bytes:
    return damage_json(json.dumps(CONFIG).encode(), random)


def _toml_config(random: Random) -> bytes:
    text = b'model = "vade"\nheads = ["gmm"]\nseed = 1\nbeta = 2.0\n[settings]\ncomponents = 3\n'
    text += b'[table.columns.a]\nkind = "count"\n'
    return damage(
        text,
        random,
        (
            b"[a]",
            b"=",
            b'"',
            b"seed",
            b"model",
            b"-1",
            b"1e999",
            b"2020-01-01",
            b"[[x]]",
            b"\xff",
            b"{}",
            b"[1]",
            b"'" * 3,
        ),
    )


def _read_config(path: Path, random: Random) -> None:
    resolve(config_from_mapping(read_config(str(path)), str(path)))


@cache
def finished_run() -> Path:
    """Return the folder of a finished run, trained on first use in a second."""
    from click.testing import CliRunner

    from deepmix.cli import main

    folder = Path(tempfile.mkdtemp(prefix="deepmix-fuzz-run-"))
    rows = np.random.default_rng(0).normal(size=(30, 3)) + np.arange(30)[:, None] % 2 * 8.0
    np.save(folder / "rows.npy", rows)
    lines = [f"{a:.3f},{b:.3f},{'xy'[i % 2]}" for i, (a, b, _) in enumerate(rows)]
    (folder / "rows.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")
    sizes = ("--components", "2", "--set", "encoder.hidden=4", "--set", "decoder.hidden=4", "--latent-dim", "2")
    options = ("--init", "kmeans", "--epochs", "1", "--pretrain-epochs", "1", "--quiet", "--no-report", *sizes)
    for name in ("rows.npy", "rows.csv"):
        words = ["train", "--dataset", str(folder / name), "--out", str(folder / name.replace(".", "-")), *options]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return folder


@cache
def _whole(run: str, name: str | Path) -> bytes:
    """Return the bytes of a file of a run; without the checksum of JSON, which would refuse any other change."""
    path = finished_run() / run / name
    if path.suffix != ".json":
        return path.read_bytes()
    return json.dumps(
        {key: value for key, value in json.loads(path.read_bytes()).items() if key != "checksum"}
    ).encode()


JSON_FILES = (runs.CONFIG, runs.METRICS)


TENSOR_FILES = (runs.MODEL, runs.INFERENCE)


def _damaged_tensors(content: bytes, random: Random) -> bytes:
    """Return a safetensors file with its JSON header or any of its bytes changed."""
    if random.randrange(4) == 0:
        return damage(content, random)
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end]
    if random.randrange(2):  # deepmix's own header, which is text within the JSON
        table = json.loads(header)
        own = damage_json(table["__metadata__"]["deepmix"].encode(), random)
        table["__metadata__"]["deepmix"] = own.decode("utf-8", "replace")
        header = json.dumps(table).encode()
    else:
        header = damage_json(header, random)
    return len(header).to_bytes(8, "little") + header + content[end:]


def _one_of(run: str, names: tuple[str, ...], change: Callable[[bytes, Random], bytes]) -> Callable[[Random], bytes]:
    """Return what makes one of a run's files; its first line is its name, and `_in_place` takes it off again."""

    def make(random: Random) -> bytes:
        name = random.choice(names)
        return name.encode() + b"\n" + change(_whole(run, name), random)

    return make


def _in_place(run: str) -> Callable[[Path, Random], None]:
    """Return what opens a copy of a run with one file replaced, and in one case of four asks it for clusters."""

    def read(path: Path, random: Random) -> None:
        copy = path.with_name(run)
        if not copy.exists():
            shutil.copytree(finished_run() / run, copy)
        name, _, content = path.read_bytes().partition(b"\n")
        file = copy / name.decode()
        file.unlink()
        file.write_bytes(content)
        try:
            _use(copy, whole=random.randrange(4) == 0)
        finally:
            file.unlink()
            file.write_bytes(_whole(run, name.decode()))

    return read


def _use(folder: Path, whole: bool) -> None:
    """Read the records of a run, and, if asked, build its model, which takes ten times as long."""
    run = runs.RunFolder.open(folder)
    run.read(runs.RunConfig)
    run.read(runs.Metrics)
    run.read_epochs()
    run.read_weights(runs.ModelHeader)
    if not whole:
        return
    loaded = open_run(folder)
    if loaded.schema is None:
        loaded.infer(loaded.prepare(np.zeros((3, loaded.n_columns))))


def _checkpoint(random: Random) -> bytes:
    return _damaged_tensors(_whole("rows-npy", runs.CHECKPOINT), random)


def _epochs(content: bytes, random: Random) -> bytes:
    lines = content.splitlines(keepends=True)
    i = random.randrange(len(lines))
    lines[i] = damage_json(lines[i], random) + b"\n"
    return b"".join(lines)


def _read_checkpoint(path: Path, random: Random) -> None:
    folder = path.with_name("checkpoint-run")
    if not folder.exists():
        shutil.copytree(finished_run() / "rows-npy", folder)
    (folder / runs.CHECKPOINT).unlink(missing_ok=True)
    shutil.copy(path, folder / runs.CHECKPOINT)
    runs.RunFolder.open(folder).read_weights(runs.CheckpointMeta)


TARGETS = (
    Target("config-json", _json_config, _read_config, "config.json", 40),
    Target("config-toml", _toml_config, _read_config, "config.toml", 40),
    Target("run-records", _one_of("rows-npy", JSON_FILES, damage_json), _in_place("rows-npy"), "file", 12),
    Target("run-table", _one_of("rows-csv", JSON_FILES, damage_json), _in_place("rows-csv"), "file", 4),
    Target("run-epochs", _one_of("rows-npy", (runs.EPOCHS,), _epochs), _in_place("rows-npy"), "file", 8),
    Target("run-weights", _one_of("rows-npy", TENSOR_FILES, _damaged_tensors), _in_place("rows-npy"), "file", 8),
    Target("checkpoint", _checkpoint, _read_checkpoint, "state.safetensors", 20),
)
