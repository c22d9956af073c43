"""`deepmix train`: its options, its help and the experiment that they ask for."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmix import experiment, runs, training
from deepmix.cli import torchrun
from deepmix.cli.errors import flag
from deepmix.cli.progress import UNWRAPPED
from deepmix.cli.table_flags import table_flags
from deepmix.cli.train_runs import SEEDS_OR_TORCHRUN, resume_run, run_seeds, train_one
from deepmix.contracts import parse_assignments, registry
from deepmix.data import TableOptions
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.experiment import SHORTHANDS, ExperimentConfig, config_from_mapping, model_help

if TYPE_CHECKING:  # importing it would import torch, and --help must not wait for that
    from deepmix.data import TableSchema

NAMING_FLAGS = ("model", "prior", "posterior", "encoder", "decoder", "init", "dataset", "head", "track")
"""Flags that name plugins; the help shows the options of the named plugins."""


class TrainCommand(click.Command):
    """The `deepmix train` command, whose help also shows the options of the named parts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note which parts are named, so that --help may come before or after them."""
        named: dict[str, str] = ctx.meta.setdefault("deepmix.named", {})
        for word, after in itertools.pairwise([*args, ""]):
            flag, equals, value = word.removeprefix("--").partition("=")
            if word.startswith("--") and flag in NAMING_FLAGS:
                named[flag] = value if equals else after
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if not error.message.startswith("Got unexpected extra argument"):
                raise
            raise click.UsageError(f"{error.message}; name the data with --dataset", ctx) from error

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
@click.option("--init", help="Initial clustering, in place of the model's own (auto for most).")
@click.option("--head", "heads", multiple=True, help="Clustering head; may be repeated.  [default: posterior]")
@click.option(
    "--dataset",
    help="A data set's name, a file (.csv .tsv .xlsx .parquet .npy .npz .h5 .zarr) or a folder of images.  "
    "[default: digits]",
)
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
@click.option(
    "--pretrain-epochs", type=int, help="Epochs of autoencoder pretraining.  [default: by the size of the data]"
)
@click.option("--batch-size", type=int, help="Rows per update.  [default: by the size of the data]")
@click.option("--lr", type=float, help="Learning rate.  [default: 0.002, or more for few columns or many rows]")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any other option; may be repeated.")
@click.option("--track", "trackers", multiple=True, metavar="NAME", help="Tracker that logs the run; may be repeated.")
@click.option("--seed", type=int, help="Seed of one run.  [default: 0]")
@click.option("--seeds", type=click.IntRange(1, 100_000), help="Do this many runs, seeds 0, 1, ...")
@click.option("--jobs", type=click.IntRange(min=1), help="With --seeds, the number of runs at a time.  [default: 1]")
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
    requests = {name: value for name, value in flags.items() if value is not None and value != ()}
    settings = {name: str(requests.pop(name)) for name in SHORTHANDS if name in requests} | parse_assignments(
        assignments
    )
    if overwrite and resume:
        raise UsageError("--overwrite and --resume exclude each other; give one")
    if seeds is not None and "seed" in requests:
        raise UsageError("--seed and --seeds exclude each other; give one")
    if jobs is not None and not resume and jobs > (seeds or 1):
        raise UsageError(f"--jobs {jobs} needs at least {jobs} seeds; raise --seeds or lower --jobs")
    if seeds is not None and torchrun.is_started():
        raise UsageError(SEEDS_OR_TORCHRUN)
    if table_options != TableOptions():
        requests["table"] = table_options
    if resume:
        if out is None:
            raise UsageError("--resume needs the run folder; give it with --out")
        moved, data_dir = (
            requests.pop("dataset", None),
            requests.pop("data_dir", None) or os.environ.get("DEEPMIX_DATA"),
        )
        heads = list(requests.pop("heads", ()))
        if config_file or requests or settings or seeds is not None:
            raise UsageError(
                "--resume takes its options from the run folder; leave all others out, but --dataset or --data-dir "
                "where its data were moved, and --head for other heads"
            )
        resume_run(out, quiet, moved, data_dir, heads, jobs or 1, report=not no_report)
        return
    if out is not None and not overwrite and not torchrun.is_started():
        runs.RunFolder.check_free(out)  # before data are read; processes of torchrun see what the first has created
    values = read_config(config_file) if config_file else {}
    if "DEEPMIX_DATA" in os.environ:
        values.setdefault("data_dir", os.environ["DEEPMIX_DATA"])
    config = config_from_mapping({**values, **requests}, config_file or "the options")
    config = dataclasses.replace(config, settings={**config.settings, **settings})
    with training.joined_ranks() as ranks:
        prepared = experiment.prepare_experiment(config, ranks=ranks)  # before a folder is created or replaced
        if prepared.split.schema is not None and not quiet:
            _show_schema(prepared.split.schema)
        if prepared.n_components < 2 and prepared.choice is None and ranks.is_first:
            raise UsageError(f"{option('components')} must be at least 2, got 1: one cluster would hold every row")
        fresh = f"{Path(config.dataset).name.split('.')[0]}-{config.model}"
        if seeds is None:
            train_one(prepared, out, fresh, quiet, overwrite=overwrite, report=not no_report)
            return
    folder = runs.RunFolder.create(out or runs.fresh_path(Path("runs"), fresh), overwrite=overwrite)
    with folder.locked():
        folder.write(runs.Summary(list(range(seeds)), experiment.requested_of(config), report=not no_report))
        run_seeds(prepared, folder, range(seeds), quiet, jobs or 1, report=not no_report)


def _show_schema(schema: TableSchema) -> None:
    """Print what each column of a table is, on standard error."""
    from rich.console import Console

    from deepmix.cli.schema_view import describe_schema

    Console(stderr=True, width=None if sys.stderr.isatty() else UNWRAPPED).print(describe_schema(schema))


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
