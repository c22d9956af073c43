"""Text on the terminal: names and cells of a user's data can't drive it.

Commands print by `echo` and draw tables of `table_text`; `click.echo` and plain text in a rich table would let escape
sequences in a column's name or a label through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deepmix.errors import printable

if TYPE_CHECKING:  # rich is imported only when something is drawn
    from rich.text import Text


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a text on standard output, or on standard error, with its control characters made visible."""
    click.echo(printable(str(text)), err=err, nl=nl)


def table_text(text: object) -> Text:
    """Return a cell of a rich table: plain text, with no markup and no control characters."""
    from rich.text import Text

    return Text(printable(str(text)))
