"""`deepmix bench`: how much faster the kernels are than plain PyTorch on this machine."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from deepmix.cli.output import check_out
from deepmix.cli.progress import UNWRAPPED
from deepmix.cli.terminal import table_text
from deepmix.errors import UsageError


@click.command()
@click.option(
    "--device", type=click.Choice(["cpu", "cuda", "all"]), default="cpu", show_default=True, help="Where to measure."
)
@click.option("--quick", is_flag=True, help="Small shapes and short timings, without torch.compile.")
@click.option(
    "--model", "models", multiple=True, help="Model whose training step is timed; may be repeated.  [default: all]"
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="Draw the speed-ups here.")
def bench(device: str, quick: bool, models: tuple[str, ...], json_file: Path | None, plot_file: Path | None) -> None:
    """Time the kernels against plain PyTorch, and training steps with and without them.

    The CUDA kernels have run on an H100 and an H200.
    """
    import torch

    from deepmix.bench import time_kernels
    from deepmix.contracts import registry
    from deepmix.kernels import loader

    if device != "cpu" and not torch.cuda.is_available():
        raise UsageError("this machine has no GPU that torch can use; measure with --device cpu")
    if json_file is not None and not json_file.parent.is_dir():
        raise UsageError(f"there is no folder '{json_file.parent}'; create it first")
    if plot_file is not None:
        check_out(plot_file, (".png",), overwrite=True)
    if plot_file is not None and importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib; install it with 'pip install matplotlib'")
    for name in models:
        registry.find("models", name)  # an unknown name is refused before anything is timed
    loaded = loader.load_kernels()
    devices = ["cpu", "cuda"] if device == "all" else [device]
    for name in devices:
        if name not in loaded.devices:
            raise UsageError(f"there are no {name} kernels to time ({loaded.reason}); see 'deepmix doctor'")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # torch.compile raises them itself
        results = [time_kernels(name, quick=quick, models=models) for name in devices]
    console = Console(width=None if sys.stdout.isatty() else UNWRAPPED)
    for result in results:
        machine = result["machine"]
        console.print(f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}")
        console.print(_kernel_table(result["rows"]))
        console.print(_step_table(result["training_steps"]))
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1) + "\n")
    if plot_file is not None:
        _plot([row for result in results for row in result["rows"]], plot_file)


def _kernel_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="operators, medians in microseconds")
    for heading in ("operator", "pass", "N, K, M"):
        table.add_column(heading, no_wrap=True)
    figures = ("kernel", "eager", "distributions", "gemm", "compiled", "/ eager", "/ best", "GB/s", "of copy", "error")
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        times = (row[f"{name}_us"] for name in figures[:5])
        table.add_row(
            row["op"],
            row["pass"],
            f"{row['N']}, {row['K']}, {row['M']}",
            *("-" if time is None else f"{time:,.0f}" for time in times),
            f"{row['speedup_vs_eager']:.1f}x",
            f"{row['speedup_vs_best']:.1f}x",
            f"{row['gbs']:.1f}",
            f"{row['fraction_of_copy']:.0%}",
            f"{row['max_rel_err']:.0e}",
        )
    return table


def _step_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="training steps, medians in microseconds")
    for heading in ("model", "batch", "kernels", "plain PyTorch", "speed-up"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in rows:
        times = (f"{row['kernel_us']:,.0f}", f"{row['plain_us']:,.0f}", f"{row['speedup']:.2f}x")
        table.add_row(table_text(row["model"]), str(row["batch"]), *times)
    return table


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    labels = [f"{row['op']} {row['pass']} {row['N']},{row['K']},{row['M']} {row['device']}" for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.35 * len(rows)), layout="constrained")
    for offset, form in ((-0.2, "eager"), (0.2, "best")):
        # bars begin at 1, so a slower kernel's bar points to the left
        gains = [row[f"speedup_vs_{form}"] - 1.0 for row in rows]
        axes.barh([place + offset for place in range(len(rows))], gains, 0.4, left=1.0, label=f"against {form}")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda gain, _: f"{gain:g}x"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(y=0.01)
    axes.set_xlabel("speed-up over plain PyTorch")
    axes.legend()
    figure.savefig(path)
