"""Time the CPU kernels of this checkout beside those of another one, call by call in turn.

`git worktree add /tmp/before 5ddf6e1 && python benchmarks/before_and_after.py /tmp/before OUT.json` compiles both,
once, and writes one row per operator, shape and pass. Each checkout runs in a process of its own, as two versions of
deepmix cannot be imported into one; only one of the two computes at any time, and they take turns several times per
row. Each has one thread, and processor time is counted, so that other work on the machine disturbs little. `--only
NAME` times the operators whose name begins so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]

ROWS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("mixture_posterior", (128, 10, 10)),
    ("mixture_posterior", (65536, 10, 10)),
    ("mixture_posterior", (8192, 100, 32)),
    ("sampled_mixture_posterior", (128, 10, 10)),
    ("sampled_mixture_posterior", (65536, 10, 10)),
    ("component_kl", (128, 10, 10)),
    ("component_kl", (65536, 10, 10)),
    ("component_log_prob", (1, 1, 1)),
    ("component_log_prob", (128, 10, 10)),
    ("component_log_prob", (100000, 10, 10)),
    ("component_log_prob", (20000, 100, 32)),
    ("component_log_prob", (5000, 500, 32)),
    ("component_log_prob", (5000, 100, 128)),
    ("component_log_prob_full", (128, 10, 10)),
    ("component_log_prob_full", (100000, 10, 10)),
)

PASSES = ("forward", "forward+backward")

KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""Settings of glibc as `deepmix bench` makes them: how long the system takes to clear pages is not the question."""

WARM_UP = 3

TURNS = 10
"""How often each checkout is timed per row."""


def main() -> None:
    """Compare two checkouts, or answer the requests of a process that does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, nargs="?", help="a checkout of an earlier commit")
    parser.add_argument("out", type=Path, nargs="?", help="the JSON file to write")
    parser.add_argument("--seconds", type=float, default=2.0, help="processor time per row and checkout")
    parser.add_argument("--only", default="", help="beginning of the operators' names")
    parser.add_argument("--worker", action="store_true", help="answer requests for times on standard input")
    arguments = parser.parse_args()
    if arguments.worker:
        answer_requests()
    elif arguments.before is None or arguments.out is None:
        parser.error("name the checkout of the earlier commit and the file to write")
    else:
        arguments.out.write_text(
            json.dumps(compare(arguments.before, arguments.seconds, arguments.only), indent=1) + "\n"
        )


def compare(before: Path, seconds: float, only: str) -> dict[str, Any]:
    """Return the machine and the rows; times are microseconds of processor time: quartiles and, between, the median."""
    workers = {"before": Worker(before), "after": Worker(HERE)}
    rows = []
    for op, shape in (row for row in ROWS if row[0].startswith(only)):
        for pass_ in PASSES:
            times: dict[str, list[float]] = {name: [] for name in workers}
            for _ in range(TURNS):
                for name, worker in workers.items():
                    times[name] += worker.ask(op, shape, pass_, seconds / TURNS)
            row = {"op": op, **dict(zip("NKM", shape, strict=True)), "pass": pass_}
            for name, values in times.items():
                row[f"{name}_us"] = quartiles(values)
            row["speedup"] = row["before_us"][1] / row["after_us"][1]
            print(f"{op:26} {shape!s:18} {pass_:17} {row['speedup']:.2f}", flush=True)
            rows.append(row)
    commits = {name: worker.commit for name, worker in workers.items()}
    return {"machine": workers["after"].machine(), "commits": commits, "threads": 1, "rows": rows}


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the lower quartile, the median and the upper quartile."""
    ordered = sorted(values)
    return [round(ordered[len(ordered) * i // 4], 2) for i in (1, 2, 3)]


class Worker:
    """A process that times the kernels of one checkout on one thread."""

    def __init__(self, checkout: Path) -> None:
        path = os.pathsep.join([str(checkout), str(checkout / "plugins")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **KEEP_FREED_MEMORY}
        environment.pop("DEEPMIX_BUILD", None)
        command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, cwd=checkout, stdin=pipe, stdout=pipe, text=True)
        git = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
        self.commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()

    def ask(self, *request: Any) -> Any:
        """Send a request and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def machine(self) -> Any:
        """Return the description of the machine, as `deepmix bench` gives it."""
        return self.ask("machine")


def answer_requests() -> None:
    """Answer each request with the times of calls in microseconds, or with the machine."""
    import torch

    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may be printed among the answers
    call: Callable[[], object] = list
    current: list[Any] = []
    for line in sys.stdin:
        request = json.loads(line)
        if request == ["machine"]:
            from deepmix.bench import machine

            answer: Any = machine(torch.device("cpu"))
        else:
            if request[:3] != current:
                current, call = request[:3], prepare(*request[:3])
            answer = times_of(call, request[3])
        print(json.dumps(answer), file=answers, flush=True)


def prepare(op: str, shape: Sequence[int], pass_: str) -> Callable[[], object]:
    """Return a warm call of an operator of the checkout that is first on the path."""
    import torch

    try:
        forms = importlib.import_module("deepmix.bench.forms")
    except ModuleNotFoundError:  # before `deepmix.bench` was a package
        forms = importlib.import_module("deepmix.bench_forms")
    makers = {
        "mixture_posterior": forms.mixture_forms,
        "sampled_mixture_posterior": forms.sampled_forms,
        "component_kl": forms.kl_forms,
        "component_log_prob": forms.component_forms(full=False),
        "component_log_prob_full": forms.component_forms(full=True),
    }
    form = makers[op](tuple(shape), torch.device("cpu"), compiled=False)
    function, inputs, upstream = form.functions["kernel"], tuple(form.inputs_of("kernel")), tuple(form.upstream)
    engine = torch.autograd.Variable._execution_engine  # as `deepmix bench` does, without a comparison of shapes

    def forward() -> object:
        with torch.no_grad():
            return function(*inputs)

    def both() -> object:
        return engine.run_backward(function(*inputs), upstream, False, False, inputs)

    call = forward if pass_ == "forward" else both
    for _ in range(WARM_UP):
        call()
    return call


def times_of(call: Callable[[], object], seconds: float) -> list[float]:
    """Return the processor times of single calls, in microseconds, until the time is up; at least three."""
    times: list[float] = []
    end = time.process_time() + seconds
    while (started := time.process_time()) < end or len(times) < 3:
        call()
        times.append((time.process_time() - started) * 1e6)
    return times


if __name__ == "__main__":
    main()
