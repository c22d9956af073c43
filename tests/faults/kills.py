"""Training processes that are killed at seeded random moments, resumed, and compared with one that nobody disturbed.

`python -m tests.faults.kills 30` is how the figure in docs/reliability.md was made; it prints a line for each kill. The
tests beside this file do a few.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

QUICK = ("--epochs", "4", "--pretrain-epochs", "3", "--set", "encoder.hidden=16", "--quiet")
JOBS = (
    ("--model", "mvae-emv2", "--init", "kmeans", "--head", "posterior", "--head", "gmm"),
    ("--model", "dgg", "--no-baselines"),
    ("--model", "vade", "--init", "gmm", "--seeds", "2", "--no-baselines"),
)
"""Options of the runs that are killed: with two heads, with a stored neighbour graph, and with two seeds."""


PLACES = ("before", "within", "after")
"""Where in a write the process is killed: before the file is put in its place, in the middle of it, or after."""


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["umap", "sklearn.manifold", "deepmix.cli.commands.train", "deepmix.experiment.run", "deepmix.report.writing"]
)


def work(words: Sequence[str], log: str, kill_at: int, how: str) -> None:
    """Be a process that runs `deepmix WORDS`, and that kills itself at a write of a file if its number is above 0.

    Args:
        words: the command.
        log: the file for what it prints; the number of writes that it did comes last.
        kill_at: the number of the write, from 1.
        how: 'before' the file is put in its place, 'within' its bytes, or 'after'.

    """
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    import torch

    from deepmix.cli import main
    from deepmix.data import PART
    from deepmix.training import trainer

    torch.set_num_threads(1)
    trainer.CHECKPOINT_SECONDS = -1.0  # a checkpoint after each epoch, as in runs whose epochs are long
    n_writes, replace = 0, os.replace

    def counted(source: Any, target: Any, **options: Any) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes == kill_at and how != "after":
            if how == "within" and str(source).endswith(PART):  # a whole file that is only renamed stays whole
                os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **options)
        if n_writes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counted
    try:
        main(list(words), prog_name="deepmix")
    finally:
        print(n_writes, flush=True)


def call(words: Sequence[str], log: Path, *, moment: float | None = None, kill_at: int = 0, how: str = "") -> int:
    """Run the command in a process of its own and return its exit status, -9 if it was killed.

    Args:
        words: the command.
        log: the file for what it prints.
        moment: seconds until it is killed from outside; None: it is not.
        kill_at: the number of the write at which it kills itself; 0: it does not.
        how: where in that write.

    """
    process = CONTEXT.Process(target=work, args=(tuple(words), str(log), kill_at, how))
    process.start()
    process.join(moment)
    if process.is_alive():
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def make_rows(path: Path) -> None:
    """Write a CSV of three groups in six columns, one with gaps, and their names."""
    random = np.random.default_rng(0)
    group = np.arange(90) % 3
    rows = np.eye(3, 5)[group] * 6.0 + random.normal(size=(90, 5))
    rows[::9, 0] = np.nan
    frame = pd.DataFrame(rows, columns=list("abcde")).assign(kind=np.array(["ant", "bee", "cat"])[group])
    frame.to_csv(path, index=False, float_format="%.4f")


class Job:
    """A run to be killed, and what it leaves if nobody disturbs it."""

    def __init__(self, folder: Path, number: int) -> None:
        rows = folder / "rows.csv"
        if not rows.exists():
            make_rows(rows)
        self.folder, self.number = folder, number
        self.words = ["train", "--dataset", str(rows), "--label-column", "kind", *JOBS[number], *QUICK]
        whole, log = folder / f"whole-{number}", folder / f"whole-{number}.txt"
        call(["--version"], log)  # the imports are done once
        started = time.perf_counter()
        status = call([*self.words, "--out", str(whole)], log)
        assert status == 0, log.read_text()
        self.seconds = time.perf_counter() - started
        self.n_writes = int(log.read_text().split()[-1])
        self.expected = contents(whole)

    def kill_and_resume(self, seed: Sequence[int]) -> dict[str, Any]:
        """Kill the run one to three times at random moments, resume it each time, and compare what it leaves.

        Returns:
            The kills, in words, and the files that differ from those of the undisturbed run; none is the aim.

        """
        random = np.random.default_rng(seed)
        out = self.folder / f"cut-{'-'.join(map(str, seed))}"
        log = self.folder / f"{out.name}.txt"
        kills: list[str] = []
        n_kills = 1 + int(random.integers(3))
        words = [*self.words, "--out", str(out)]
        while True:
            if len(kills) >= n_kills:
                status = call(words, log)
            elif random.random() < 0.5:
                moment = float(random.uniform(0.0, self.seconds))
                status = call(words, log, moment=moment)
                kills += [f"after {moment:.2f} s"] * (status == -signal.SIGKILL)
            else:
                kill_at, how = 1 + int(random.integers(self.n_writes)), str(random.choice(PLACES))
                status = call(words, log, kill_at=kill_at, how=how)
                kills += [f"{how} write {kill_at}"] * (status == -signal.SIGKILL)
            if status == 0:
                break
            if status == 2 and "--resume" in words:  # killed before its first file was whole
                words = [*self.words, "--out", str(out), "--overwrite"]
            elif status == -signal.SIGKILL:
                words = ["train", "--resume", "--out", str(out), "--quiet"] if out.exists() else words
            else:
                raise AssertionError(f"status {status} after {kills}: {log.read_text()}")
        different = differences(contents(out), self.expected)
        return {"run": self.number, "seed": list(seed), "kills": kills, "differences": different}


def contents(folder: Path) -> dict[str, Any]:
    """Return what must be the same in each file of a run: everything but seconds, and the report's pictures of them."""
    read: dict[str, Callable[[Path], Any]] = {
        ".json": lambda path: without_seconds(json.loads(path.read_text())),
        ".jsonl": lambda path: [without_seconds(json.loads(line)) for line in path.read_text().splitlines()],
        ".html": lambda path: path.read_text().rstrip().endswith("</html>"),
    }
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "checkpoint"]
    return {str(path.relative_to(folder)): read.get(path.suffix, Path.read_bytes)(path) for path in sorted(paths)}


def without_seconds(value: Any) -> Any:
    """Return a JSON value without any entry called 'seconds', and without the checksum, which covers them."""
    if isinstance(value, dict):
        return {key: without_seconds(item) for key, item in value.items() if key not in ("seconds", "checksum")}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of the files that only one folder has, or whose contents differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def main() -> None:
    """Kill and resume as many runs as the command line says; exit with 1 if any of them differs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n_kills = n_same = 0
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(Path(folder), number) for number in range(len(JOBS))]
        print([(round(job.seconds, 1), job.n_writes) for job in jobs], flush=True)
        for number in range(options.number):
            result = jobs[number % len(jobs)].kill_and_resume((options.seed, number))
            n_kills += len(result["kills"])
            n_same += not result["differences"]
            print(json.dumps(result), flush=True)
    print(f"{n_same} of {options.number} runs, killed {n_kills} times, end with the bits of the undisturbed run")
    sys.exit(n_same != options.number)


if __name__ == "__main__":
    main()
