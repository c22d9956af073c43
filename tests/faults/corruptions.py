"""Run folders whose files were changed: a command ends with its answer or with a sentence, never a traceback.

`python -m tests.faults.corruptions 150 --seed 1` is how the figure in docs/reliability.md was made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner

from deepmix.cli import main as command
from tests.faults.kills import QUICK, make_rows

DEEP = b"[" * 200_000
WRONG: tuple[Any, ...] = (None, True, -1, 3, 0.5, 1e999, "text", "", [], [1, "a"], {}, {"a": 1}, 10**40)
"""What may stand in place of any value of a JSON file."""


FINISHED = (
    ("predict", "run", "rows.csv", "--overwrite", "-o", "out.csv"),
    ("evaluate", "run"),
    ("compare", "run"),
    ("report", "run"),
)
UNFINISHED = (("train", "--resume", "--out", "run", "--quiet", "--no-report"),)
"""Commands that read the files of a finished run, and of one that was stopped."""


def make_runs(folder: Path) -> None:
    """Write the rows, a finished run on them, and a folder `stopped` that lacks what the end of a run writes."""
    make_rows(folder / "rows.csv")
    words = ["train", "--dataset", str(folder / "rows.csv"), "--label-column", "kind", "--model", "dgg"]
    words += ["--init", "kmeans", *QUICK, "--out", str(folder / "finished")]
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    shutil.copytree(folder / "finished", folder / "stopped")
    for name in ("metrics.json", "model.safetensors", "inference.safetensors", "assignments.csv", "report.html"):
        (folder / "stopped" / name).unlink()


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value inside a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield (*place, key)
        yield from places(item, (*place, key))


def spoil_json(text: str, random: np.random.Generator) -> str:
    """Return JSON in which one value, or the whole, was replaced or left out."""
    value = json.loads(text)
    if isinstance(value, dict) and random.random() < 0.5:
        value.pop("checksum", None)  # as in files of earlier versions, whose values are looked at one by one
    chosen = list(places(value))
    if not chosen or random.random() < 0.05:
        return json.dumps(WRONG[random.integers(len(WRONG))])
    *path, last = chosen[random.integers(len(chosen))]
    inner = value
    for key in path:
        inner = inner[key]
    if random.random() < 0.2:
        del inner[last]
    else:
        inner[last] = WRONG[random.integers(len(WRONG))]
    return json.dumps(value)


def spoil(path: Path, random: np.random.Generator) -> str:
    """Change a file, and return how in words."""
    content = path.read_bytes()
    kinds = ["cut", "flip", "bytes", "latin 1", "empty"]
    kinds += ["json"] * 12 + ["deep"] if path.suffix in (".json", ".jsonl") else []
    kind = str(random.choice(kinds))
    position = int(random.integers(max(len(content), 1)))
    if kind == "json":
        lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
        number = int(random.integers(len(lines)))
        lines[number] = spoil_json(lines[number], random)
        path.write_text("\n".join(lines) + "\n")
    elif kind == "flip":
        changed = bytearray(content)
        changed[position] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
    else:
        inserted = {"bytes": random.bytes(20), "latin 1": b"\xe9", "deep": DEEP}.get(kind, b"")
        rest = content[position:] if kind in ("bytes", "latin 1", "deep") else b""
        path.write_bytes(b"" if kind == "empty" else content[: 0 if kind == "deep" else position] + inserted + rest)
    return f"{kind} at {position}"


def try_one(folder: Path, seed: tuple[int, ...]) -> tuple[str, str]:
    """Spoil a file of a run and call a command that reads it.

    Returns:
        What was done, and the outcome: 'sentence', 'answer' or the traceback.

    """
    random = np.random.default_rng(seed)
    finished = bool(random.random() < 0.7)
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.copytree(folder / ("finished" if finished else "stopped"), folder / "run")
    files = sorted(path for path in (folder / "run").rglob("*") if path.is_file() and path.suffix != ".html")
    path = files[random.integers(len(files))]
    what = f"{path.relative_to(folder)}: {spoil(path, random)}"
    commands = FINISHED if finished else UNFINISHED
    words = commands[random.integers(len(commands))]
    words = tuple(str(folder / word) if word in ("run", "rows.csv", "out.csv") else word for word in words)
    result = CliRunner().invoke(command, words, prog_name="deepmix")
    what += f", {words[0]}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return what, "".join(traceback.format_exception(result.exception))
    if result.exit_code == 0:
        return what, "answer"
    is_sentence = result.exit_code in (1, 2) and "Error: " in result.stderr
    return what, "sentence" if is_sentence else f"status {result.exit_code}: {result.output}"


def main() -> None:
    """Spoil as many files as the command line says; exit with 1 if any leads to a traceback."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder))
        for number in range(options.number):
            what, outcome = try_one(Path(folder), (options.seed, number))
            if outcome not in ("answer", "sentence"):
                print(what, outcome, sep="\n", flush=True)
                outcome = "traceback"
            outcomes[outcome] += 1
    print(f"{options.number} spoilt files: {dict(outcomes)}")
    sys.exit(outcomes["traceback"] > 0)


if __name__ == "__main__":
    main()
