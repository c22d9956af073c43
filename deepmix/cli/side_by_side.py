"""Runs of several seeds side by side, each in a process of its own."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from deepmix.cli.stopping import SIGNAL_STATUSES
from deepmix.cli.terminal import echo
from deepmix.errors import DeepmixError, option

SECONDS_TO_END = 0.5
"""How long the processes of the runs have to end by themselves after a signal, before they are killed."""


THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Variables of the environment that limit the threads of the libraries that a run uses."""


STOPPED = (*SIGNAL_STATUSES, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL)
"""The statuses of a run's process that a signal has ended."""


class Lines(Protocol):
    """What shows the last line of each run."""

    def show(self, seed: int, text: str) -> None:
        """Show a line that the run of a seed has printed."""


def finish_side_by_side(paths: Mapping[int, Path], jobs: int, threads: int, *, quiet: bool, report: bool) -> None:
    """Finish runs that have begun, several at a time, and let none suffer from the failure of another.

    Args:
        paths: the run folder of each seed.
        jobs: how many runs go on at a time.
        threads: how many threads each run has.
        quiet: whether to show no progress.
        report: whether the runs end with a report if they were started with one.

    Raises:
        DeepmixError: some runs failed; the others are finished.

    """
    runs = _Runs(threads, quiet=quiet, report=report)
    with _lines(list(paths), quiet=quiet) as lines, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {seed: pool.submit(runs.finish, seed, path, lines) for seed, path in paths.items()}
        try:
            concurrent.futures.wait(futures.values())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            runs.end()
            raise
    failures = {seed: error for seed, future in futures.items() if (error := future.result()) is not None}
    if failures:
        which = "; ".join(f"seed {seed}: {error}" for seed, error in failures.items())
        raise DeepmixError(
            f"{len(failures)} of {len(paths)} runs failed ({which}); the others are finished; remove the cause and "
            f"go on with {option('resume')}"
        )


class _Runs:
    """The processes of the runs."""

    def __init__(self, threads: int, *, quiet: bool, report: bool) -> None:
        self._environment = {**os.environ, **dict.fromkeys(THREAD_LIMITS, str(threads))}
        self._options = [*(["--quiet"] if quiet else []), *([] if report else ["--no-report"])]
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._is_ending = False

    def finish(self, seed: int, path: Path, lines: Lines) -> str | None:
        """Finish a run and return its error; None: it succeeded."""
        words = [sys.executable, "-m", "deepmix", "train", "--resume", "--out", str(path), *self._options]
        with self._lock:
            if self._is_ending:
                return "stopped"
            process = subprocess.Popen(
                words, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            self._processes.add(process)
        error = ""
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if line.startswith("Error: "):
                    error = line.removeprefix("Error: ").strip()
                elif line.strip() and not self._is_ending:
                    lines.show(seed, line.strip())
        status = process.wait()
        with self._lock:
            self._processes.discard(process)
        if status == 0:
            lines.show(seed, "finished")
            return None
        lines.show(seed, "stopped" if status in STOPPED else "failed")
        return error or f"its process ended with status {status}"

    def end(self) -> None:
        """End all processes at once; what they have written is whole, and they can be resumed."""
        with self._lock:
            self._is_ending = True
            processes = list(self._processes)
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + SECONDS_TO_END
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
            process.kill()


class _PlainLines:
    """Lines on standard error, each with its seed."""

    def show(self, seed: int, text: str) -> None:
        """Print the line."""
        echo(f"seed {seed}: {text}", err=True)


class _NoLines:
    """No lines."""

    def show(self, seed: int, text: str) -> None:
        """Print nothing."""


@contextlib.contextmanager
def _lines(seeds: list[int], *, quiet: bool) -> Iterator[Lines]:
    """Yield what shows the runs' lines: on a terminal, one line per seed."""
    if quiet:
        yield _NoLines()
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainLines()
        return
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description:<8}"), TimeElapsedColumn(), TextColumn("{task.fields[text]}"), console=console
    ) as progress:
        tasks = {seed: progress.add_task(f"seed {seed}", start=False, total=1, text="waiting") for seed in seeds}

        class LiveLines:
            """One live line per seed."""

            def show(self, seed: int, text: str) -> None:
                """Put the line in the place of the last one."""
                progress.start_task(tasks[seed])
                progress.update(tasks[seed], text=text.replace("[", r"\["))
                if text in ("finished", "stopped", "failed"):
                    progress.stop_task(tasks[seed])

        yield LiveLines()
