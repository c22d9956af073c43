"""How long SIGTERM and Ctrl-C take to end a training or a report in each of its phases.

`python -m tests.faults.stops` is how the figures in docs/reliability.md were made; with `jobs`, two seeds side by side
are stopped instead, and with `torchrun`, two processes of one run. That a run can be resumed from wherever it stops is
what `tests.faults.kills` shows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.kills import CONTEXT, call, work

TRAIN = ("train", "--dataset", "digits", "--epochs", "20", "--pretrain-epochs", "20")
LONG = ("--epochs", "400", "--pretrain-epochs", "400", "--init", "kmeans", "--no-report", "--no-baselines")
PHASES = {
    "pretrain": TRAIN,
    "initial clustering": TRAIN,
    "train": TRAIN,
    "comparisons": TRAIN,
    "report": TRAIN,
    "t-SNE": ("report",),
    "UMAP": ("report", "--umap"),
}
"""The command to stop in each phase; the phase begins when its name is printed."""


def announce(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that prints what it is about to do."""

    def announced(*arguments: Any, **options: Any) -> Any:
        print(what, flush=True)
        return function(*arguments, **options)

    return announced


def work_loudly(words: Sequence[str], log: str) -> None:
    """Be a process that runs `deepmix WORDS` and prints when a map of the latents begins."""
    import umap
    from sklearn.manifold import TSNE

    TSNE.fit_transform = announce("t-SNE", TSNE.fit_transform)
    umap.UMAP.fit_transform = announce("UMAP", umap.UMAP.fit_transform)
    work(words, log, 0, "")


def stop(words: Sequence[str], log: Path, phase: str, number: int, delay: float) -> tuple[float, int]:
    """Send a signal to the command some seconds into a phase; return the seconds it took to end, and its status."""
    log.unlink(missing_ok=True)
    process = CONTEXT.Process(target=work_loudly, args=(tuple(words), str(log)))
    process.start()
    while process.is_alive() and not (log.exists() and any(x.startswith(phase) for x in log.read_text().splitlines())):
        time.sleep(0.02)
    time.sleep(delay)
    sent = time.perf_counter()
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode is not None
    return time.perf_counter() - sent, process.exitcode


def children_of(pid: int) -> list[int]:
    """Return the numbers of the processes that a process has started and that have not ended."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            children += [int(path.parent.name)] if state != "Z" and int(parent) == pid else []
    return children


def is_running(pid: int) -> bool:
    """Whether a process has not ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stop_several(launcher: Sequence[str], options: Sequence[str], epochs: str) -> tuple[float, float]:
    """Press Ctrl-C on several processes while they train.

    Args:
        launcher: words after `python -m` that start them, up to `train`.
        options: further options of `train`.
        epochs: the files of epochs that each run has once it trains, as a pattern in the run's folder.

    Returns:
        The seconds until those that train have ended, and the seconds until the one that started them has ended too.

    """
    with tempfile.TemporaryDirectory() as folder:
        words = [*launcher, *TRAIN, *LONG, *options, "--out", "run"]
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells have the background ignore it
        )
        while process.poll() is None and len(list(Path(folder, "run").glob(epochs))) < epochs.count("*") + 1:
            time.sleep(0.02)
        workers = children_of(process.pid)
        sent = time.perf_counter()
        os.killpg(process.pid, signal.SIGINT)
        while any(map(is_running, workers)):
            time.sleep(0.02)
        trained = time.perf_counter() - sent
        process.wait()
        return trained, time.perf_counter() - sent


def main() -> None:
    """Stop what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["phases", "jobs", "torchrun"], default="phases")
    what = parser.parse_args().what
    if what == "phases":
        stop_phases()
        return
    launcher, options, epochs = ["deepmix"], ["--seeds", "2", "--jobs", "2"], "seed-*/metrics.jsonl"
    if what == "torchrun":
        launcher, options = ["torch.distributed.run", "--nproc-per-node=2", "-m", "deepmix"], []
        epochs = "metrics.jsonl"
    workers, whole = stop_several(launcher, options, epochs)
    print(f"{what}: training ended after {workers:.2f} s, all after {whole:.2f} s, load {os.getloadavg()[0]:.1f}")


def stop_phases() -> None:
    """Stop a command in each phase by both signals and print how long each took."""
    random, longest = np.random.default_rng(0), 0.0
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place), Path(place) / "log.txt"
        status = call(["train", "--dataset", "digits", "--epochs", "1", "--pretrain-epochs", "1", "--no-baselines",
                       "--quiet", "--no-report", "--out", str(folder / "run")], log)  # fmt: skip
        assert status == 0, log.read_text()
        for phase, words in PHASES.items():
            for number in (signal.SIGTERM, signal.SIGINT):
                whole = [*words, str(folder / "run")]
                if words is TRAIN:
                    whole = [*words, "--out", str(folder / f"{phase}-{number}".replace(" ", "-"))]
                seconds, status = stop(whole, log, phase, number, float(random.uniform(0.0, 0.5)))
                longest = max(longest, seconds)
                print(f"{phase}, {signal.Signals(number).name}: {seconds:.2f} s, status {status}", flush=True)
    print(f"the longest took {longest:.2f} s")


if __name__ == "__main__":
    main()
