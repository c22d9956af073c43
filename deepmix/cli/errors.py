"""How failures reach a terminal: one sentence, a status, no traceback."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from deepmix.errors import DeepmixError

INTERRUPTED = 130
"""The shell's status for a command stopped by Ctrl-C."""


class Group(click.Group):
    """A command group that turns deepmix's errors into click's."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a DeepmixError or an operating-system error becomes its sentence and status."""
        try:
            return super().invoke(ctx)
        except DeepmixError as error:
            raise _click_error(str(error), error.exit_code) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f" '{error.filename}'" if error.filename else ""
            cure = {errno.ENOSPC: "free some space", errno.EFBIG: "raise the file-size limit or free some space"}
            advice = cure.get(error.errno or 0, "check the path and its permissions")
            raise _click_error(f"can't write or read{where}: {error.strerror or error}; {advice}", 1) from error
        except MemoryError as error:
            raise _click_error("there is not enough memory; try fewer rows or a smaller --batch-size", 1) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)


def _click_error(message: str, exit_code: int) -> click.ClickException:
    error = click.ClickException(message)
    setattr(error, "exit_code", exit_code)  # noqa: B010 - declared on the class, meant to be set
    return error
