"""`deepmix doctor`: which kernels run on this machine, and why."""

from __future__ import annotations

import warnings

import click

from deepmix.cli.terminal import echo
from deepmix.errors import DeepmixError


@click.command()
def doctor() -> None:
    """Show which kernels run on this machine and why; fail only if DEEPMIX_BUILD can't be met."""
    import torch  # imported here, so that --help need not wait for it

    from deepmix.kernels import loader
    from deepmix.training import has_bfloat16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their text is printed below
        loaded = loader.load_kernels()
    lines = {
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "DEEPMIX_BUILD": loader.choice(),
        "kernels": loaded.path,
        "because": loaded.reason,
        "devices": ", ".join(sorted(loaded.devices)) or "none: plain PyTorch runs",
        "library": str(loaded.library or "-"),
        "cache": _cache(),
        "compiler": loader.why_no_compiler() or "found",
        "CUDA": loader.why_no_cuda() or "found",
        "bfloat16": "in updates of large networks"
        if has_bfloat16()
        else "not used: the processor has no instructions for it",
    }
    if loaded.library is not None:
        try:
            facts = loader.build_facts()
            lines["instructions"] = f"{facts['simd']}, compiled by {facts['compiler']}"
        except DeepmixError as error:
            lines["instructions"] = f"unknown: {error}"
    for name, value in lines.items():
        echo(f"{name:<14} {value}")


def _cache() -> str:
    """Return the folder of compiled kernels, or why there is none."""
    from deepmix.kernels import loader

    try:
        return str(loader.cache_folder())
    except DeepmixError as error:
        return f"none: {error}"
