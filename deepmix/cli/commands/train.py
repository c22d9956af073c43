"""`deepmix train`: from options to finished runs."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmix import experiment, metrics, runs, training
from deepmix.cli import torchrun
from deepmix.cli.errors import flag
from deepmix.cli.job_folder import open_folder
from deepmix.cli.progress import UNWRAPPED, make_reporter
from deepmix.cli.side_by_side import finish_side_by_side
from deepmix.cli.table_flags import table_flags
from deepmix.cli.terminal import echo
from deepmix.contracts import parse_assignments, registry
from deepmix.data import TableOptions
from deepmix.errors import DeepmixError, UsageError, spell_stored
from deepmix.experiment import SHORTHANDS, ExperimentConfig, config_from_mapping, model_help

if TYPE_CHECKING:  # importing it would import torch, and --help must not wait for that
    from deepmix.data import TableSchema
    from deepmix.experiment import Experiment, RunResults

NAMING_FLAGS = ("model", "prior", "posterior", "encoder", "decoder", "init", "dataset", "head", "track")
"""Flags that name plugins; the help shows the options of the named plugins."""


SEEDS_OR_TORCHRUN = (
    "torchrun divides one run among its processes, and --seeds does several; leave out torchrun and give --jobs, or "
    "give --seed"
)


class TrainCommand(click.Command):
    """The `deepmix train` command, whose help also shows the options of the named parts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note which parts are named, so that --help may come before or after them."""
        named: dict[str, str] = ctx.meta.setdefault("deepmix.named", {})
        for word, after in itertools.pairwise([*args, ""]):
            flag, equals, value = word.removeprefix("--").partition("=")
            if word.startswith("--") and flag in NAMING_FLAGS:
                named[flag] = value if equals else after
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the installed parts and, with --model, every option that --set can change."""
        with formatter.section("Installed"):
            installed = {kind: ", ".join(registry.by_shortest_name(kind)) for kind in registry.KINDS}
            formatter.write_dl([(kind, names) for kind, names in installed.items() if names])
        named: dict[str, Any] = dict(ctx.meta["deepmix.named"])
        if not named:
            with formatter.section("Options of a model and its parts"):
                formatter.write_text("deepmix train --model NAME [--init NAME] [--head NAME] ... --help")
            return
        for flag_name, field in (("head", "heads"), ("track", "trackers")):
            if flag_name in named:
                named[field] = (named.pop(flag_name),)
        try:
            description = model_help(ExperimentConfig(**named))
        except DeepmixError as error:
            raise click.UsageError(error.spelled(flag)) from error
        formatter.write_paragraph()
        formatter.write_text(description.summary)
        for part, options in description.options.items():
            rows = [(f"{name}={default}", f"{text} [{kind}]") for name, kind, default, text in options]
            if rows:
                with formatter.section(f"--set, {part}"):
                    formatter.write_dl(rows)


@click.command(cls=TrainCommand)
@click.option("--model", help="The model; see 'Installed' below.  [default: mvae-emv2]")
@click.option("--prior", help="p(z|y): standard, mixture or a plugin's, in place of the model's own.")
@click.option("--posterior", help="Estimator of q(y|x), in place of the model's own.")
@click.option("--encoder", help="Encoder, in place of the model's own.")
@click.option("--decoder", help="Decoder, in place of the model's own.")
@click.option("--init", help="Initial clustering, in place of the model's own (graph for most).")
@click.option("--head", "heads", multiple=True, help="Clustering head; may be repeated.  [default: posterior]")
@click.option("--dataset", help="A data set's name or a file (.csv .tsv .xlsx .parquet .npy .npz).  [default: digits]")
@click.option("--label-column", help="Column (or key) of a file that holds labels; for scoring only.")
@table_flags
@click.option("--proba", is_flag=True, default=None, help="Write every component's probability to assignments.csv.")
@click.option(
    "--no-baselines",
    "baselines",
    is_flag=True,
    flag_value=False,
    default=None,
    help="Leave out k-means and the other plain methods that are run for comparison.",
)
@click.option("--data-dir", help="Folder of prepared data sets.  [default: DEEPMIX_DATA of the environment]")
@click.option(
    "--components",
    metavar="K|auto|LOW:HIGH",
    help="Number of clusters; auto or a range such as 2:20: chosen from the rows.  [default: classes of the labels]",
)
@click.option("--latent-dim", type=int, help="M, the latent dimensions.  [default: 10, or as many as columns]")
@click.option("--assignment", type=click.Choice(["soft", "hard"]), help="How q(y|x) weighs the components.")
@click.option("--likelihood", metavar="NAME", help="p(x|z) of an array's values.  [default: by their range]")
@click.option("--beta", type=float, help="Weight of the KL terms.")
@click.option("--epochs", type=int, help="Epochs of training.  [default: by the size of the data]")
@click.option("--pretrain-epochs", type=int, help="Epochs of autoencoder pretraining.  [default: likewise]")
@click.option("--batch-size", type=int, help="Rows per update.  [default: 128]")
@click.option("--lr", type=float, help="Learning rate.  [default: 0.002, or more for arrays of few columns]")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any other option; may be repeated.")
@click.option("--track", "trackers", multiple=True, metavar="NAME", help="Tracker that logs the run; may be repeated.")
@click.option("--seed", type=int, help="Seed of one run.  [default: 0]")
@click.option("--seeds", type=click.IntRange(1, 100_000), help="Do this many runs, seeds 0, 1, ...")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="With --seeds, do so many of the runs at a time.  [default: 1]"
)
@click.option("--device", help="cpu, cuda, ... or auto.  [default: auto]")
@click.option("--config", "config_file", type=click.Path(), help="Read options from a .json or .toml file first.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: a new one below runs/]")
@click.option("--overwrite", is_flag=True, help="Replace the run folder if it exists.")
@click.option("--resume", is_flag=True, help="Resume the run in --out from its last checkpoint.")
@click.option("--no-report", is_flag=True, help="Write no report.html; `deepmix report` does it later.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def train(
    assignments: tuple[str, ...],
    config_file: str | None,
    out: Path | None,
    overwrite: bool,
    resume: bool,
    no_report: bool,
    quiet: bool,
    seeds: int | None,
    jobs: int | None,
    table_options: TableOptions,
    **flags: Any,
) -> None:
    """Train a model on a data set and cluster it.

    Ends with a table of results and the path of the run folder. Without --dataset it runs on
    scikit-learn's Digits, which needs no download.
    """
    chosen = {name: value for name, value in flags.items() if value is not None and value != ()}
    settings = {name: str(chosen.pop(name)) for name in SHORTHANDS if name in chosen} | parse_assignments(assignments)
    if overwrite and resume:
        raise UsageError("--overwrite and --resume exclude each other; give one")
    if seeds is not None and "seed" in chosen:
        raise UsageError("--seed and --seeds exclude each other; give one")
    if jobs is not None and not resume and jobs > (seeds or 1):
        raise UsageError(f"--jobs {jobs} is more than the {seeds or 1} of --seeds; give at most as many jobs as seeds")
    if seeds is not None and torchrun.is_started():
        raise UsageError(SEEDS_OR_TORCHRUN)
    if table_options != TableOptions():
        chosen["table"] = table_options
    if resume:
        if out is None:
            raise UsageError("--resume needs the run folder; give it with --out")
        moved, data_dir = chosen.pop("dataset", None), chosen.pop("data_dir", None) or os.environ.get("DEEPMIX_DATA")
        heads = list(chosen.pop("heads", ()))
        if config_file or chosen or settings or seeds is not None:
            raise UsageError(
                "--resume takes its options from the run folder; leave all others out, but --dataset or --data-dir "
                "where its data were moved, and --head for other heads"
            )
        _resume(out, quiet, moved, data_dir, heads, jobs or 1, report=not no_report)
        return
    values = read_config(config_file) if config_file else {}
    if "DEEPMIX_DATA" in os.environ:
        values.setdefault("data_dir", os.environ["DEEPMIX_DATA"])
    config = config_from_mapping({**values, **chosen}, config_file or "the options")
    config = dataclasses.replace(config, settings={**config.settings, **settings})
    with training.joined_ranks() as ranks:
        prepared = experiment.prepare_experiment(config, ranks=ranks)  # before a folder is created or replaced
        if prepared.split.schema is not None and not quiet:
            _show_schema(prepared.split.schema)
        if prepared.n_components < 2 and prepared.choice is None and ranks.is_first:
            raise UsageError("components must be at least 2, got 1: one cluster would hold every row")
        fresh = f"{Path(config.dataset).name.split('.')[0]}-{config.model}"
        if seeds is None:
            _train_one(prepared, out, fresh, quiet, overwrite=overwrite, report=not no_report)
            return
    folder = runs.RunFolder.create(out or runs.fresh_path(Path("runs"), fresh), overwrite=overwrite)
    with folder.locked():
        folder.write(runs.Summary(list(range(seeds)), experiment.requested_of(config), report=not no_report))
        _run_seeds(prepared, folder, range(seeds), quiet, jobs or 1, report=not no_report)


def _train_one(
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


def _show_schema(schema: TableSchema) -> None:
    """Print what each column of a table is, on standard error."""
    from rich.console import Console

    from deepmix.cli.schema_view import describe_schema

    Console(stderr=True, width=None if sys.stderr.isatty() else UNWRAPPED).print(describe_schema(schema))


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


def _run_seeds(
    prepared: Experiment, folder: runs.RunFolder, seeds: Sequence[int], quiet: bool, jobs: int, *, report: bool
) -> None:
    """Do or finish one run per seed, and write their summary."""
    from deepmix.inference import write_consensus
    from deepmix.report import forgiven, write_seeds

    if jobs > 1:
        _begin_and_finish(prepared, folder, seeds, quiet, jobs, report=report)
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


def _begin_and_finish(
    prepared: Experiment, folder: runs.RunFolder, seeds: Sequence[int], quiet: bool, jobs: int, *, report: bool
) -> None:
    """Do the runs of the seeds that are not finished, several at a time; the arguments are those of `_run_seeds`."""
    import torch

    threads = max(1, torch.get_num_threads() // jobs)
    unfinished = {}
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
    try:
        finish_side_by_side(unfinished, jobs, threads, quiet=quiet, report=report)
    except KeyboardInterrupt:
        echo(f"Stopped; resume with: deepmix train --resume --out {folder.path}", err=True)
        raise


def _resume(
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
            split = experiment.read_run_data(config, parts, out, data_dir, as_array=record.data.schema is None)
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
    """Finish a folder of runs; the arguments are those of `_resume`."""
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
    _run_seeds(prepared, folder, summary.seeds, quiet, jobs, report=report and summary.report)


def read_config(path: str) -> dict[str, Any]:
    """Read a configuration file."""
    import tomllib

    try:
        text = Path(path).read_text("utf-8")
        values = tomllib.loads(text) if path.endswith(".toml") else json.loads(text)
    except OSError as error:
        raise UsageError(f"the configuration '{path}' can't be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise UsageError(f"the configuration '{path}' can't be read ({reason}); write it as JSON or TOML") from error
    if not isinstance(values, dict):
        raise UsageError(f"the configuration '{path}' must be a table of options")
    return values


def _show(out: Path, results: Mapping[int, runs.Metrics]) -> None:
    """Print the table of results and the folder's path."""
    from rich.console import Console

    from deepmix.cli.results_table import results_table

    first = next(iter(results.values()))
    Console(width=None if sys.stdout.isatty() else UNWRAPPED).print(results_table(list(results.values())))
    elbo = metrics.spread([one.elbo["test"] for one in results.values()]).mean
    seconds = sum(one.seconds for one in results.values())
    echo(f"ELBO {elbo:.2f} nats per row, {first.n_parameters:,} parameters, {seconds:.1f} s")
    for text in dict.fromkeys(text for one in results.values() for text in one.warnings):
        echo(f"Warning: {spell_stored(text, flag)}")
    echo(f"Run folder: {out}")
