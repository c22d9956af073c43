"""Failures on a terminal: one sentence that names options by their flags, an exit status, no traceback."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from deepmix.errors import DeepmixError, plain

INTERRUPTED = 130
"""The shell's status for a command stopped by Ctrl-C."""


FLAGS = frozenset(
    [
        *("model", "prior", "posterior", "encoder", "decoder", "init", "head"),
        *("dataset", "label_column", "data_dir", "components", "latent_dim", "assignment", "beta"),
        *("epochs", "pretrain_epochs", "batch_size", "lr", "set", "seed", "seeds", "device"),
        *("columns", "column", "drop", "id_column", "weight_column", "condition", "missing"),
        *("proba", "outliers", "interval"),
        *("config", "out", "overwrite", "resume", "metric", "format", "datasets", "models"),
    ]
)
"""Options that have their own flag in some command; every other option goes to --set."""


def flag(name: str, value: str | None = None) -> str:
    """Spell an option as the command line takes it: `--latent-dim`, `--head gmm` or `--set scale=standard`."""
    if name in FLAGS:
        return f"--{name.replace('_', '-')}" + ("" if value is None else f" {value}")
    return f"--set {plain(name, value)}"


class Group(click.Group):
    """A command group that turns deepmix's errors into click's."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a DeepmixError or an operating-system error into a sentence and an exit status."""
        try:
            return super().invoke(ctx)
        except DeepmixError as error:
            raise _click_error(error.spelled(flag), error.exit_code) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f" '{error.filename}'" if error.filename else ""
            cure = {errno.ENOSPC: "free some space", errno.EFBIG: "raise the file-size limit or free some space"}
            advice = cure.get(error.errno or 0, "check the path and its permissions")
            raise _click_error(f"can't write or read{where}: {error.strerror or error}; {advice}", 1) from error
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch's allocators raise RuntimeError
                raise
            raise _click_error(
                "there is not enough memory; try fewer rows, a smaller --batch-size or a smaller model", 1
            ) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)


def _click_error(message: str, exit_code: int) -> click.ClickException:
    error = click.ClickException(message)
    setattr(error, "exit_code", exit_code)  # noqa: B010 - a class attribute that is meant to be set
    return error
