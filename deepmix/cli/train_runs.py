"""The runs of `deepmix train`: one, one per seed, and those that are resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepmix import experiment, metrics, runs, training
from deepmix.cli import torchrun
from deepmix.cli.errors import flag
from deepmix.cli.job_folder import open_folder
from deepmix.cli.progress import UNWRAPPED, make_reporter
from deepmix.cli.side_by_side import finish_side_by_side
from deepmix.cli.terminal import echo
from deepmix.errors import UsageError, spell_stored

if TYPE_CHECKING:  # importing it would import torch, and --help must not wait for that
    from deepmix.experiment import Experiment, RunResults

SEEDS_OR_TORCHRUN = (
    "torchrun divides one run among its processes, and --seeds does several; leave out torchrun and give --jobs, or "
    "give --seed"
)


def train_one(
    prepared: Experiment, out: Path | None, fresh: str, quiet: bool, *, overwrite: bool, report: bool
) -> None:
    """Do one run, together with the other processes of a torchrun job, if any.

    Args:
        prepared: the experiment.
        out: the run folder; None: a new one below runs/, called `fresh`.
        fresh: how a new folder is called.
        quiet: whether to show no progress.
        overwrite: whether the folder may be replaced.
        report: whether the run ends with a report.

    """
    folder: runs.RunFolder | None = None
    resume = False
    if prepared.ranks.is_first:
        folder, resume = open_folder(out, fresh, prepared.config, overwrite=overwrite)
    resume = prepared.ranks.value(lambda: resume)
    if folder is None:
        experiment.assist_run(prepared, resume=resume)
        return
    results = _run(prepared, folder, quiet, report=report, resume=resume)
    _show(folder.path, {prepared.config.seed: results})


def _run(
    prepared: Experiment,
    folder: runs.RunFolder,
    quiet: bool,
    *,
    report: bool,
    resume: bool = False,
    whole: Path | None = None,
) -> runs.Metrics:
    """Do one run; if it is stopped, say how to resume it or the folder of seeds, `whole`, that it belongs to."""
    from deepmix.report import forgiven, write_report

    training.keep_freed_memory()
    reporter = make_reporter(quiet)

    def conclude(results: RunResults) -> None:
        reporter.start("report", 0)
        with forgiven(reporter.note, folder.path):
            first = next(iter(results.clusters.values()))
            write_report(folder, results.split, results.model, results.inferences, first)

    try:
        with folder.locked():
            results = experiment.run_experiment(
                prepared, folder, reporter, resume=resume, report=report, conclude=conclude if report else None
            )
            return results.metrics
    except (KeyboardInterrupt, OSError):
        reporter.close()
        if (whole or folder.has_begun) and not torchrun.is_started():
            echo(f"Stopped; resume with: deepmix train --resume --out {whole or folder.path}", err=True)
        raise
    finally:
        reporter.close()


def run_seeds(
    prepared: Experiment, folder: runs.RunFolder, seeds: Sequence[int], quiet: bool, jobs: int, *, report: bool
) -> None:
    """Do or finish one run per seed, and write their summary."""
    from deepmix.inference import write_consensus
    from deepmix.report import forgiven, write_seeds

    if jobs > 1:
        _side_by_side(prepared, folder, seeds, quiet, jobs, report=report)
    results = {}
    for seed in seeds:
        path = folder.path / f"seed-{seed}"
        one = dataclasses.replace(prepared, config=dataclasses.replace(prepared.config, seed=seed))
        lacks_report = report and not (path / runs.REPORT).is_file() and (path / runs.CHECKPOINT).is_file()
        if (path / runs.METRICS).is_file() and not lacks_report:
            results[seed] = runs.RunFolder(path).read(runs.Metrics)
        elif (path / runs.CONFIG).is_file():
            results[seed] = _run(one, runs.RunFolder(path), quiet, report=report, resume=True, whole=folder.path)
        else:
            results[seed] = _run(
                one, runs.RunFolder.create(path, overwrite=True), quiet, report=report, whole=folder.path
            )
    folder.write(runs.summarize(results, experiment.requested_of(prepared.config), report=report))
    consensus = write_consensus(folder)
    if report:
        with forgiven(lambda text: echo(text, err=True), folder.path):
            write_seeds(folder.path)
    _show(folder.path, results)
    if consensus is not None:
        path = folder.path / runs.CONSENSUS_FOLDER
        echo(f"Consensus of the seeds, mean certainty {consensus.mean_certainty:.2f}: {path}")


def _side_by_side(
    prepared: Experiment, folder: runs.RunFolder, seeds: Sequence[int], quiet: bool, jobs: int, *, report: bool
) -> None:
    """Do the runs of the seeds that are not finished, several at a time; the arguments are those of `run_seeds`."""
    import torch

    threads = max(1, torch.get_num_threads() // jobs)
    unfinished = {}
    try:
        for seed in seeds:
            path = folder.path / f"seed-{seed}"
            if (path / runs.METRICS).is_file():
                continue
            if not (path / runs.CONFIG).is_file():
                one = dataclasses.replace(prepared, config=dataclasses.replace(prepared.config, seed=seed))
                record = experiment.describe(
                    one, experiment.build_model(one.parts, one.split, one.n_components, seed), report=report
                )
                environment = dataclasses.replace(record.environment, threads=threads)
                runs.RunFolder.create(path, overwrite=True).write(dataclasses.replace(record, environment=environment))
            unfinished[seed] = path
        finish_side_by_side(unfinished, jobs, threads, quiet=quiet, report=report)
    except KeyboardInterrupt:
        echo(f"Stopped; resume with: deepmix train --resume --out {folder.path}", err=True)
        raise


def resume_run(
    out: Path,
    quiet: bool,
    moved: str | None,
    data_dir: str | None,
    heads: Sequence[str],
    jobs: int,
    *,
    report: bool,
) -> None:
    """Finish a run, or a folder of runs, from its last checkpoint, with the options that it records.

    A data set is fetched only into the `data_dir` of the user: a stranger may have written the run's config.json.

    Args:
        out: the folder.
        quiet: whether to show no progress.
        moved: where the data are now; None: where they were.
        data_dir: where the folder of prepared data sets is now; None: where it was.
        heads: the heads of the run from now on; if empty, those that it has.
        jobs: how many runs go on at a time.
        report: False leaves out the report even if the run was started with one.

    """
    if (out / runs.SUMMARY).is_file():
        if heads:
            raise UsageError("--head with --resume is for one run; name the folder of one seed")
        if torchrun.is_started():
            raise UsageError(SEEDS_OR_TORCHRUN)
        with runs.RunFolder(out).locked() as folder:
            _resume_seeds(folder, quiet, moved, data_dir, jobs, report=report)
        return
    if jobs > 1:
        raise UsageError(f"'{out}' is one run; leave out --jobs, which is for folders of several seeds")
    with training.joined_ranks() as ranks:
        folder = runs.RunFolder.open(out)
        with folder.locked() if ranks.is_first else contextlib.nullcontext():
            record, parts = experiment.read_parts(folder)
            config = experiment.with_moved_data(experiment.config_of(record.requested), moved, out)
            config, parts = experiment.with_other_heads(config, parts, heads) if heads else (config, parts)
            as_array = record.data.schema is None
            split = experiment.read_run_data(config, parts, out, data_dir, as_array=as_array, readers=ranks.readers)
            prepared = experiment.prepare_experiment(config, parts=parts, split=split, ranks=ranks)
            if not ranks.is_first:
                experiment.assist_run(prepared, resume=True)
                return
            if heads:
                experiment.record_heads(folder, prepared)
            results = _run(prepared, folder, quiet, report=report and record.report, resume=True)
    _show(out, {record.requested.seed: results})


def _resume_seeds(
    folder: runs.RunFolder, quiet: bool, moved: str | None, data_dir: str | None, jobs: int, *, report: bool
) -> None:
    """Finish a folder of runs; the arguments are those of `resume_run`."""
    summary = folder.read(runs.Summary)
    if summary.config is None:
        raise runs.damaged(str(folder.path / runs.SUMMARY), "'config' is missing")
    first_run = next((path.parent for path in sorted(folder.path.glob(f"seed-*/{runs.CONFIG}"))), None)
    config = experiment.with_moved_data(experiment.config_of(summary.config), moved, folder.path)
    record, parts = (None, experiment.resolve(config))
    if first_run is not None:
        record, parts = experiment.read_parts(runs.RunFolder(first_run))
    as_array = record is not None and record.data.schema is None
    split = experiment.read_run_data(config, parts, folder.path, data_dir, as_array=as_array)
    prepared = experiment.prepare_experiment(config, parts=parts, split=split)
    run_seeds(prepared, folder, summary.seeds, quiet, jobs, report=report and summary.report)


def _show(out: Path, results: Mapping[int, runs.Metrics]) -> None:
    """Print the table of results, the number of clusters if it was chosen, and the folder's path."""
    from rich.console import Console

    from deepmix.cli.results_table import results_table

    first = next(iter(results.values()))
    Console(width=None if sys.stdout.isatty() else UNWRAPPED).print(results_table(list(results.values())))
    elbo = metrics.spread([one.elbo["test"] for one in results.values()]).mean
    seconds = sum(one.seconds for one in results.values())
    run = out if (out / runs.CONFIG).is_file() else out / f"seed-{next(iter(results))}"
    choice = runs.RunFolder(run).read(runs.RunConfig).component_choice
    if choice is not None:
        number = choice.n_components
        echo(f"{number} cluster{'' if number == 1 else 's'}, chosen from {choice.lowest} to {choice.highest}")
    echo(f"ELBO {elbo:.2f} nats per row, {first.n_parameters:,} parameters, {seconds:.1f} s")
    for text in dict.fromkeys(text for one in results.values() for text in one.warnings):
        echo(f"Warning: {spell_stored(text, flag)}")
    echo(f"Run folder: {out}")
