"""Failures on a terminal: one sentence that names options by their flags, an exit status, no traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from deepmix import training
from deepmix.cli import torchrun
from deepmix.cli.garbage import collect_rarely
from deepmix.cli.stopping import SIGNAL_STATUSES, Terminated, end_now, exit_status, stopping_soon
from deepmix.cli.terminal import echo
from deepmix.errors import DeepmixError, plain

FLAGS = frozenset(
    [
        *("model", "prior", "posterior", "encoder", "decoder", "init", "head", "track"),
        *("dataset", "label_column", "data_dir", "components", "latent_dim", "assignment", "likelihood", "beta"),
        *("epochs", "pretrain_epochs", "batch_size", "lr", "set", "seed", "seeds", "jobs", "device"),
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

    def main(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> Any:
        """Run the command line; of several processes that torchrun started, only the first one prints.

        A program (it has no `args`: they are those of the process) that a signal has stopped ends on the spot. Python
        would first take down every module, which takes many seconds where the machine is busy.
        """
        if args is None:
            collect_rarely()
        try:
            with torchrun.printing_once():
                return super().main(args, *others, **options)
        except SystemExit as end:
            if args is None and end.code in SIGNAL_STATUSES:
                end_now(int(end.code))
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a DeepmixError or an operating-system error into a sentence and an exit status."""
        open_closed_streams()
        try:
            with stopping_soon():
                return super().invoke(ctx)
        except DeepmixError as error:
            _end_unless_reporting(error.exit_code)
            raise _click_error(error.spelled(flag), error.exit_code) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f" '{error.filename}'" if error.filename else ""
            cure = {errno.ENOSPC: "free some space", errno.EFBIG: "raise the file-size limit or free some space"}
            advice = cure.get(error.errno or 0, "check the path and its permissions")
            raise _click_error(f"can't write or read{where}: {error.strerror or error}; {advice}", 1) from error
        except (MemoryError, RuntimeError) as error:
            if torchrun.is_started() and training.is_lost_process(error):
                _end_unless_reporting(1)
                raise _click_error(
                    "another process of this job has ended; start it again with the same command and --resume, or let "
                    "torchrun do so with --max-restarts",
                    1,
                ) from error
            if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch's allocators raise RuntimeError
                raise
            raise _click_error(
                "there is not enough memory; try fewer rows, a smaller --batch-size or a smaller model", 1
            ) from error
        except Terminated:
            _end_unless_reporting(exit_status(signal.SIGTERM))
            echo("Terminated.", err=True)
            sys.exit(exit_status(signal.SIGTERM))
        except KeyboardInterrupt:
            _end_unless_reporting(exit_status(signal.SIGINT))
            echo("Interrupted.", err=True)
            sys.exit(exit_status(signal.SIGINT))


def _end_unless_reporting(status: int) -> None:
    """End this process without a word if another one of its torchrun job reports the failure."""
    if not torchrun.is_started():
        return
    if not training.reports_failure():
        sys.exit(status)
    torchrun.print_again()


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed, so that no other file takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number, inheritable=True)
                os.close(handle)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _click_error(message: str, exit_code: int) -> click.ClickException:
    error = click.ClickException(message)
    setattr(error, "exit_code", exit_code)  # noqa: B010 - a class attribute that is meant to be set
    return error
