"""A plugin's run through the command line, registered as if its distribution were installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

NAME = "plugin-kit"
"""The name under which the plugin is registered."""
N_ROWS, N_COLUMNS = 90, 12
TRAIN = (
    *("train", "--components", "3", "--latent-dim", "2", "--epochs", "2", "--pretrain-epochs", "2", "--seed", "0"),
    *("--no-baselines", "--no-report", "--out", "run"),
)
"""Options of a run that takes seconds; a later option of the same name replaces one of these."""
PROGRAM = """
import json, shutil, sys
from pathlib import Path
from deepmix.cli import main

for words in json.loads(sys.argv[1]):
    if "--resume" in words:  # of a copy that looks as if it had been stopped before its last checkpoint
        shutil.copytree("run", "again")
        for name in ("metrics.json", "model.safetensors", "checkpoint/state.safetensors"):
            Path("again", name).unlink(missing_ok=True)
    try:
        main(words, prog_name="deepmix")
    except SystemExit as end:
        if end.code:
            sys.exit(f"the command was: deepmix {' '.join(words)}")
"""


class Kit(Protocol):
    """What `check_command_line` asks of a kit."""

    kind: ClassVar[str]
    part: ClassVar[Any]

    def train_words(self, name: str) -> list[str]:
        """Return the words of `deepmix train` that choose the plugin, which is registered under this name."""

    def write_rows(self, folder: Path) -> str:
        """Write a file to train on, and return its name."""

    def can_predict(self) -> bool:
        """Return whether a run with the plugin can cluster new rows."""

    def examine(self, folder: Path, output: str) -> None:
        """Raise an AssertionError if the run in `folder` or what its commands printed lacks what it should have."""


def check_command_line(kit: Kit) -> None:
    """Train, resume, predict, export and report with a plugin, all in one process; raise an AssertionError on failure.

    The plugin's entry point is found by identity in the imported modules.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        register(folder, kit.kind, kit.part)
        train = [*TRAIN, *kit.train_words(NAME)]
        own_data = "--dataset" in train
        if not own_data:
            train += ["--dataset", kit.write_rows(folder)]
        data = train[train.index("--dataset") + 1]
        commands = [train, ["train", "--resume", "--quiet", "--no-report", "--out", "again"]]
        predicts = kit.can_predict() and not own_data
        if predicts:
            commands.append(["predict", "run", data, "-o", "clusters.csv"])
        if data.endswith(".npy"):
            commands.append(["export", "run", "--format", "torch-export"])
        output = run_commands(folder, [*commands, ["report", "run"]])
        whole, again = ((folder / run / "model.safetensors").read_bytes() for run in ("run", "again"))
        if whole != again:
            raise AssertionError("a run that was resumed has other weights than the run that was not stopped")
        if predicts and len((folder / "clusters.csv").read_text("utf-8").splitlines()) != N_ROWS + 1:
            raise AssertionError(f"deepmix predict must write {N_ROWS} rows, but wrote another number")
        kit.examine(folder, output)


def register(folder: Path, kind: str, part: Any) -> None:
    """Write the metadata of a distribution with one plugin, which `run_commands` in this folder sees."""
    information = folder / "site" / f"{NAME.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[deepmix.{kind}]\n{NAME} = {target_of(part)}\n")


def run_commands(folder: Path, commands: Sequence[Sequence[str]]) -> str:
    """Run commands in a folder, in one process, until one fails; return what they print."""
    paths = [str(folder / "site"), *(path for path in sys.path if path)]
    env = {key: value for key, value in os.environ.items() if key not in ("DEEPMIX_DATA", "DEEPMIX_PLUGINS")}
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(map(list, commands)))],
        cwd=folder,
        env=env | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise AssertionError("; ".join(process.stderr.strip().splitlines()[-4:]))
    return process.stdout + process.stderr


def target_of(part: Any) -> str:
    """Return the `module:attribute` of a plugin that has been imported.

    Raises:
        AssertionError: no module has it as an attribute, as where a class is defined in a function.

    """
    modules = list(sys.modules.items())
    own = getattr(part, "__module__", None)
    for name, module in sorted(modules, key=lambda item: item[0] != own):
        if name == "__main__":
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is part:
                return f"{name}:{attribute}"
    raise AssertionError(f"{part!r} is in no module; define it at the top of a module that can be imported")


def write_example(folder: Path, values: str) -> str:
    """Write a file of three groups of rows with these values, and return its name."""
    random = np.random.default_rng(0)
    group_ND = np.eye(3, N_COLUMNS)[np.arange(N_ROWS) % 3]
    if values == "level":
        levels_ND = (2 * group_ND + random.integers(2, size=group_ND.shape)).astype(int)
        header = ",".join(f"c{column}" for column in range(N_COLUMNS))
        lines = [",".join(f"level {level}" for level in row) for row in levels_ND]
        (folder / "rows.csv").write_text("\n".join([header, *lines]) + "\n")
        return "rows.csv"
    noise_ND = random.normal(size=group_ND.shape)
    rows = {
        "real": 6.0 * group_ND + noise_ND,
        "unit": (0.7 * group_ND + 0.1 * np.abs(noise_ND)).clip(0.0, 1.0),
        "positive": np.exp(2.0 * group_ND + 0.3 * noise_ND),
        "count": random.poisson(1.0 + 9.0 * group_ND),
    }[values]
    np.save(folder / "rows.npy", rows.astype(np.float32))
    return "rows.npy"
