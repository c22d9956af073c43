"""Two processes predict, embed, impute and evaluate as one does, and train on rows from disk."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from deepmix.cli.divided import share_of
from deepmix.data import split_options
from deepmix.errors import UsageError
from deepmix.runs import Metrics, RunConfig, RunFolder
from deepmix.training import Ranks
from tests.cli.conftest import TINY, Done
from tests.cli.test_torchrun import TOLERANCE

WORKER = """
import contextlib, importlib, json, sys
from pathlib import Path
from deepmix import training
from deepmix.cli import main
from deepmix.data import split_options
from deepmix.inference import LoadedRun

for module, name, value in json.loads(sys.argv[3]):
    setattr(importlib.import_module(module), name, value)
infer, counts = LoadedRun.infer, []

def counted(self, prepared, *arguments, **options):
    counts.append(prepared.shape[0])
    return infer(self, prepared, *arguments, **options)

LoadedRun.infer = counted
with training.joined_ranks() as ranks:
    training.joined_ranks = lambda: contextlib.nullcontext(ranks)  # all commands in one job, which starts in seconds
    for most_memory, *words in json.loads(sys.argv[1]):
        split_options.MOST_MEMORY = most_memory
        main(words, prog_name="deepmix", standalone_mode=False)
        ranks.value(lambda: None)
    Path(f"counts-{ranks.number}.json").write_text(json.dumps(counts))
    main(json.loads(sys.argv[2]), prog_name="deepmix")
"""
"""A job of several commands, the last of which fails."""

SMALL = [
    ("deepmix.data.table_file", "BLOCK_VALUES", 700),
    ("deepmix.data.sample", "SAMPLE_ROWS", {"train": 240, "test": 60}),
    ("deepmix.data.sample", "FEWEST_ROWS", 10),
    ("deepmix.experiment.stored_assignments", "BLOCK_ROWS", 128),
    ("deepmix.inference.imputation", "IMPUTED_ROWS", 128),
    ("deepmix.training.passes", "EVALUATION_ROWS", 100),
]
"""What is made small, so that few rows are many blocks."""

MODEL = ("--set", "encoder.hidden=16", "--set", "decoder.hidden=16", "--no-baselines", "--components", "3")
HEADS = ("--head", "posterior", "--head", "gmm", "--proba")
DISK = {
    name: ("train", "--dataset", name, "--set", "storage=disk", "--set", "cache_dir=cache", *HEADS, *MODEL, *TINY)
    for name in ("rows.npy", "folder")
}
"""Runs whose rows stay on disk, by their data."""

FINISHED = {"array": "array", "disk-folder": "one/disk-folder"}
"""Runs of one process that two processes resume where only the end is left, by the folder in `two`."""

LARGE, USUAL = 0, split_options.MOST_MEMORY

COMMANDS = {
    "folder.csv": (USUAL, "predict", "run", "folder", "--proba", "--out"),
    "text.parquet": (USUAL, "predict", "run", "rows.csv", "--out"),
    "latents.npz": (USUAL, "embed", "array", "rows.npy", "--out"),
    "sparse.csv": (USUAL, "predict", "array", "rows.npz", "--outliers", "0.01", "--out"),
    "filled.csv": (USUAL, "impute", "run", "folder", "--interval", "0.9", "--out"),
    "blockwise.parquet": (LARGE, "impute", "run", "folder", "--out"),
}
"""Commands that write a file, by its name: the bytes beyond which rows stay on disk, and the words."""

EVALUATE = (USUAL, "evaluate", "run", "--json")


@pytest.fixture
def place(tmp_path, monkeypatch, deepmix, all_refits) -> Path:
    """A folder with 900 rows in three groups as .npy, CSR, CSV and two Parquet files, and runs on arrays and tables."""
    for module, name, value in SMALL:
        monkeypatch.setattr(importlib.import_module(module), name, value)
    random = np.random.default_rng(0)
    group_N = random.integers(3, size=900)
    x_ND = (np.eye(3, 6) * 9.0)[group_N] + random.normal(size=(900, 6))
    np.save(tmp_path / "rows.npy", x_ND)
    sparse.save_npz(tmp_path / "rows.npz", sparse.csr_matrix(x_ND), compressed=False)
    frame = pd.DataFrame(x_ND, columns=list("abcdef"))
    frame["level"] = np.array(["x", "y", "z"])[group_N]
    frame.loc[::7, "b"] = np.nan
    frame.loc[::5, "level"] = None
    (tmp_path / "folder").mkdir()
    frame[:500].to_parquet(tmp_path / "folder" / "1.parquet", index=False, row_group_size=130)
    frame[500:].to_parquet(tmp_path / "folder" / "2.parquet", index=False)
    frame.set_index("row " + frame.index.astype(str)).to_csv(tmp_path / "rows.csv")
    x_ND[700, 2] = np.nan
    np.save(tmp_path / "damaged.npy", x_ND)
    for name, dataset in (("run", "folder"), ("array", "rows.npy")):
        process = deepmix("train", "--dataset", dataset, "--out", name, *MODEL, *TINY)
        assert process.returncode == 0, process.stderr
    return tmp_path


def torchrun(folder: Path, commands: list[tuple[object, ...]], last: tuple[str, ...]) -> Done:
    worker = folder / "worker.py"
    worker.write_text(WORKER)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(worker)]
    return subprocess.run(
        [*words, json.dumps(commands), json.dumps(last), json.dumps(SMALL)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as in this process: other numbers of threads round differently
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_two_processes_write_what_one_does_and_fail_with_one_sentence(place, deepmix, monkeypatch):
    for name in ("one", "two"):
        (place / name).mkdir()
    for name, words in DISK.items():
        assert deepmix(*words, "--out", f"one/disk-{name}").returncode == 0
    for name, run in FINISHED.items():
        shutil.copytree(place / run, place / "two" / f"again-{name}")
    commands = [EVALUATE, *((*words, f"two/{name}") for name, words in COMMANDS.items())]
    commands += [(USUAL, *words, "--out", f"two/disk-{name}") for name, words in DISK.items()]
    commands += [(USUAL, "train", "--resume", "--out", f"two/again-{name}") for name in FINISHED]
    failing = ("predict", "array", "damaged.npy", "--out", "two/damaged.csv")
    process = torchrun(place, commands, failing)

    assert process.returncode == 1
    assert "exitcode: 2" in process.stderr
    errors = re.findall(r"^Error: .*", process.stderr, re.MULTILINE)
    assert len(errors) == 1, process.stderr
    assert errors[0].startswith("Error: row 701, column 3 is nan")
    assert sorted(path.name for path in (place / "two").iterdir()) == sorted(
        [*COMMANDS, *(f"disk-{name}" for name in DISK), *(f"again-{name}" for name in FINISHED)]
    )

    for name, (most_memory, *words) in COMMANDS.items():
        monkeypatch.setattr(split_options, "MOST_MEMORY", most_memory)
        alone = deepmix(*words, f"one/{name}")
        assert alone.returncode == 0, alone.stderr
        assert (place / "two" / name).read_bytes() == (place / "one" / name).read_bytes(), name
        assert alone.stderr.replace("one/", "two/") in process.stderr
    counts = [sum(json.loads((place / f"counts-{rank}.json").read_text())) for rank in (0, 1)]
    assert sum(counts) == 4 * 900
    assert min(counts) > 0.4 * 4 * 900

    monkeypatch.setattr(split_options, "MOST_MEMORY", USUAL)
    one = json.loads(deepmix(*EVALUATE[1:]).stdout)
    two = json.JSONDecoder().raw_decode(process.stdout)[0]
    assert two["elbo"] == pytest.approx(one["elbo"], rel=1e-5)
    assert two["heads"] == one["heads"]  # to the bit, as is the end of a run from the same weights
    for name, run in FINISHED.items():
        table, again = (path / "assignments.csv" for path in (place / run, place / "two" / f"again-{name}"))
        assert again.stat().st_mtime_ns > table.stat().st_mtime_ns
        assert again.read_bytes() == table.read_bytes()
        before, after = (RunFolder(path.parent).read(Metrics) for path in (table, again))
        assert after.heads == before.heads
        assert after.assignments == before.assignments
        assert after.elbo == pytest.approx(before.elbo, rel=1e-5)

    for name in DISK:
        folders = [RunFolder(place / processes / f"disk-{name}") for processes in ("one", "two")]
        curves = [[row.elbo for row in folder.read_epochs()] for folder in folders]
        assert curves[1] == pytest.approx(curves[0], rel=TOLERANCE)
        records = [folder.read(RunConfig).data for folder in folders]
        assert records[1] == records[0]  # the fingerprint of the scaled rows is part of it
        tables = [pd.read_csv(folder.path / "assignments.csv") for folder in folders]
        assert tables[1]["row"].tolist() == list(range(1, 901))
        assert (tables[1]["posterior"] == tables[0]["posterior"]).mean() > 0.99


def test_standard_input_cannot_be_shared():
    with pytest.raises(UsageError, match="several processes can't share standard input; name a file"):
        share_of(Ranks(1, 2), Path("-"))
