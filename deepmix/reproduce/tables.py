"""Reproduction of a table: from its name to its runs, its Markdown, its JSON and its pictures."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from deepmix import metrics, runs
from deepmix.data import write_atomically
from deepmix.errors import UsageError, option
from deepmix.experiment import check_dataset
from deepmix.reproduce import markdown
from deepmix.reproduce.jobs import Job, Outcome, best_of, find_gap, initial, job_of, measure, run_job
from deepmix.reproduce.published import Cell, Protocol, Spec, Table, load_table, select

CELLS = "cells"
"""The folder of the run folders, below the output folder; tables share it."""


@dataclass(frozen=True)
class Request:
    """A request to reproduce a table or a part of it."""

    table: str
    datasets: Sequence[str] = ()
    models: Sequence[str] = ()
    n_seeds: int = 5
    quick: bool = False
    out: Path = Path("reproduction")
    data_dir: str | None = None
    device: str = "auto"

    @property
    def stem(self) -> str:
        """The name of the output files; partial and quick tables have other names than the whole table."""
        data = (Path(name).name.replace(".", "-") for name in self.datasets)  # a figure's data set may be a file
        return "-".join([self.table, *data, *self.models, *(["quick"] if self.quick else [])])

    @property
    def command(self) -> str:
        """The command line of the request."""
        words = ["deepmix reproduce", self.table]
        words += [f"--datasets {','.join(self.datasets)}"] if self.datasets else []
        words += [f"--models {','.join(self.models)}"] if self.models else []
        return " ".join([*words, f"--seeds {self.n_seeds}", *(["--quick"] if self.quick else [])])


@dataclass
class Plan:
    """The job that each cell reads under each protocol, or the reason why there is none."""

    jobs: dict[tuple[int, str], Job] = field(default_factory=dict)
    gaps: dict[tuple[int, str], str] = field(default_factory=dict)

    def in_order(self) -> list[Job]:
        """Return each job once."""
        return list({job.key: job for job in self.jobs.values()}.values())


def make_plan(table: Table, request: Request) -> Plan:
    """Return the plan with every cell's job; cells with the same run share one job, which has all their heads."""
    plan = Plan()
    run_keys: dict[tuple[int, str], tuple[str, str]] = {}
    heads: dict[tuple[str, str], dict[str, tuple[Spec, Protocol]]] = {}
    for number, cell in enumerate(table.cells):
        for protocol in table.protocols:
            spec = cell.run_under(protocol)
            gap = find_gap(spec, protocol)
            if gap:
                plan.gaps[number, protocol.name] = gap
                continue
            head = protocol.heads.get(spec.head, spec.head)
            run = dataclasses.replace(spec, head="", side="")
            key = (protocol.name, json.dumps(dataclasses.asdict(run), sort_keys=True))
            run_keys[number, protocol.name] = key
            for name in (head, *protocol.also.get(cell.spec.head, ())):
                heads.setdefault(key, {})[name] = (run, protocol)
    for place, key in run_keys.items():
        run, protocol = next(iter(heads[key].values()))
        download = run.dataset in request.datasets  # only data sets that the user named are downloaded
        plan.jobs[place] = job_of(
            run,
            protocol,
            sorted(heads[key]),
            quick=request.quick,
            download=download,
            data_dir=request.data_dir,
            device=request.device,
        )
    return plan


def reproduce(
    request: Request, reporter: Callable[[], Any], say: Callable[[str], None]
) -> tuple[dict[str, Any], list[Path]]:
    """Do the missing runs of a table and write it after each job, so that all results so far can be read.

    Args:
        request: the table and what to do of it.
        reporter: function that makes each run's reporter.
        say: function that prints the progress.

    Returns:
        The contents of the table's JSON, and the paths of the output files.

    Raises:
        UsageError: there is no such table, it has no such data set or model, or the output folder is a file.
        OSError: nothing can be written.

    """
    table = select(load_table(request.table), request.datasets, request.models)
    for name in request.datasets:
        check_dataset(name, None if request.data_dir is None else Path(request.data_dir))
    if request.out.exists() and not request.out.is_dir():
        raise UsageError(f"'{request.out}' is a file; choose another {option('out')}")
    plan = make_plan(table, request)
    outcomes: dict[str, Outcome] = {}
    jobs = plan.in_order()
    seeds = range(request.n_seeds)
    request.out.mkdir(parents=True, exist_ok=True)
    for number, job in enumerate(jobs, start=1):
        place = f"[{number}/{len(jobs)}]"
        outcome = run_job(job, seeds, request.out / CELLS, reporter, functools.partial(_say_where, say, place))
        outcomes[job.key] = outcome
        if outcome.gap:
            say(f"{place} {job.key}: {outcome.gap}")
        if outcome.results:
            _write(table, request, plan, outcomes, [], [])
    pictures: list[Path] = []
    remarks: list[str] = []
    if table.figure:
        from deepmix.reproduce import figures  # imports matplotlib, which tables without a figure need not wait for

        pictures, remarks = figures.draw(table, plan.jobs, outcomes, request.out / request.stem)
    return _write(table, request, plan, outcomes, pictures, remarks)


def _say_where(say: Callable[[str], None], place: str, text: str) -> None:
    say(f"{place} {text}")


def _write(
    table: Table,
    request: Request,
    plan: Plan,
    outcomes: dict[str, Outcome],
    pictures: list[Path],
    remarks: list[str],
) -> tuple[dict[str, Any], list[Path]]:
    content = assemble(table, request, plan, outcomes)
    content["pictures"] = [path.name for path in pictures]
    content["remarks"] = remarks
    paths = [request.out / f"{request.stem}.md", request.out / f"{request.stem}.json"]
    write_atomically(paths[0], markdown.render(content).encode())
    write_atomically(paths[1], (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return content, [*paths, *pictures]


def assemble(table: Table, request: Request, plan: Plan, outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """Return a table's JSON: every cell with the paper's value and ours under each protocol, gaps and differences."""
    cells = []
    for number, cell in enumerate(table.cells):
        ours = {}
        for protocol in table.protocols:
            job = plan.jobs.get((number, protocol.name))
            outcome = outcomes.get(job.key) if job else None
            if outcome is None:
                reason = plan.gaps.get((number, protocol.name), "not run yet")
                ours[protocol.name] = {"gap": reason}
            elif outcome.gap:
                ours[protocol.name] = {"gap": outcome.gap}
            else:
                ours[protocol.name] = _measured(cell, protocol, outcome, request.out)
        paper = {"value": cell.value, "deviation": cell.deviation, "given": cell.setting or None}
        place = {"row": cell.row, "column": cell.column, "measure": cell.measure, "side": cell.spec.side}
        cells.append({**place, "dataset": cell.spec.dataset, "model": cell.spec.model, "paper": paper, **ours})
    environments = [
        runs.to_plain(runs.RunFolder(o.seed_folder(seed)).read(runs.RunConfig).environment)
        for o in outcomes.values()
        for seed in o.results
    ]
    return {
        "table": table.name,
        "title": table.title,
        "paper": table.cite,
        "row_name": table.row_name,
        "command": request.command,
        "quick": request.quick,
        "seeds": list(range(request.n_seeds)),
        "deepmix": metadata.version("deepmix"),
        "environments": [dict(pairs) for pairs in dict.fromkeys(tuple(e.items()) for e in environments)],
        "protocols": {protocol.name: _described(protocol) for protocol in table.protocols},
        "differences": list(table.words),
        "runs": {
            outcome.folder.relative_to(request.out).as_posix(): _decisive(outcome) for outcome in outcomes.values()
        },
        "cells": cells,
    }


def _decisive(outcome: Outcome) -> dict[str, Any]:
    """Return the options of a run that are set, except the seed and those that concern only this machine."""
    excluded = ("seed", "data_dir", "device")
    options = {key: value for key, value in outcome.options.items() if key not in excluded and value is not None}
    return {**options, **{key: list(options[key]) for key in ("heads", "trackers")}}


def _described(protocol: Protocol) -> dict[str, Any]:
    heads = dict(protocol.heads)
    return {"init": protocol.init, "heads": heads, "settings": dict(protocol.settings), "words": list(protocol.words)}


def _measured(cell: Cell, protocol: Protocol, outcome: Outcome, out: Path) -> dict[str, Any]:
    """Return a cell's figures under one protocol."""
    head = protocol.heads.get(cell.spec.head, cell.spec.head)
    spread, gap = _over_seeds(cell, head, outcome)
    baselines = {
        side: metrics.spread([initial(cell.measure, side, results) for results in outcome.results.values()]).mean
        for side in ("train", "test")
    }
    return {
        **spread,
        "also": {other: _over_seeds(cell, other, outcome)[0] for other in protocol.also.get(cell.spec.head, ())},
        "initial_labels": baselines,
        "seconds": metrics.spread([results.seconds for results in outcome.results.values()]).mean,
        "head": head,
        "folder": outcome.folder.relative_to(out).as_posix(),
        "failures": {str(seed): text for seed, text in outcome.failures.items()},
        "gap": gap,
    }


def _over_seeds(cell: Cell, head: str, outcome: Outcome) -> tuple[dict[str, Any], str]:
    """Return best, mean, std and the values by seed of a cell's measure, and the reason if there is no value."""
    values: dict[str, float] = {}
    gap = ""
    for seed, results in outcome.results.items():
        try:
            values[str(seed)] = measure(cell.measure, head, cell.spec.side, outcome.seed_folder(seed), results)
        except KeyError:
            gap = f"runs of this deepmix do not record {cell.measure} (or the data have no labels)"
    spread = metrics.spread(list(values.values()), best=best_of(cell.measure))
    return {"best": spread.best, "mean": spread.mean, "std": spread.std, "values": values}, gap
