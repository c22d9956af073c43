"""The `deepmix` command: each of its subcommands is a file in `commands` with the same name."""

from __future__ import annotations

import importlib

import click
from click.shell_completion import CompletionItem

from deepmix.cli.errors import Group

COMMANDS = {
    "inspect": "Show what a table's columns are before training.",
    "train": "Train a model on a data set and cluster it.",
    "predict": "Give each row of new data its cluster.",
    "embed": "Give each row of new data its latent.",
    "impute": "Fill the missing cells of a table.",
    "sample": "Generate rows of a run's components.",
    "evaluate": "Measure a finished run on its own or other data.",
    "compare": "Compare finished runs, with intervals.",
    "export": "Export a run's model for use without deepmix.",
    "report": "Write a run's report.html again.",
    "plugins": "List what is installed.",
    "bench": "Time the kernels against plain PyTorch.",
    "doctor": "Show whether the kernels run here, and why.",
    "completion": "Print a shell's completion script.",
    "reproduce": "Run the papers' tables and figures.",
}


class Commands(Group):
    """A group that imports a command only when someone calls it, so that --help and completion answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if no command has that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"deepmix.cli.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command and what it does."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with the text typed so far."""
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="deepmix")
def main() -> None:
    """Deep clustering with mixtures of variational autoencoders."""
