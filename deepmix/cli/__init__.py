"""The `deepmix` command: each of its subcommands is a file in `commands` with the same name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from deepmix.cli import torchrun
from deepmix.cli.errors import Group
from deepmix.errors import DeepmixError

if TYPE_CHECKING:  # contracts are imported only where the commands of plugins are wanted
    from deepmix.contracts import registry

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
    "plugin": "Write a new plugin, or test installed ones.",
    "bench": "Time the kernels against plain PyTorch.",
    "doctor": "Show whether the kernels run here, and why.",
    "completion": "Print a shell's completion script.",
    "reproduce": "Run the papers' tables and figures.",
}


def plugin_commands() -> dict[str, registry.Plugin]:
    """Return the commands of plugins by name, from metadata only; a command of deepmix wins its name."""
    from deepmix.contracts import registry

    plugins = registry.by_shortest_name("commands")
    return {plugin.identity if name in COMMANDS else name: plugin for name, plugin in plugins.items()}


def summaries() -> dict[str, str]:
    """Return what each command does, by name; nothing is imported."""
    others = {}
    for name, plugin in plugin_commands().items():
        description = plugin.description()
        others[name] = description.summary if description is not None else f"A command of {plugin.distribution}."
    return {**COMMANDS, **others}


class Commands(Group):
    """A group that imports a command only when someone calls it, so that --help and completion answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which people need them."""
        return list(summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if no command has that name."""
        if cmd_name in COMMANDS:
            command: click.Command = getattr(importlib.import_module(f"deepmix.cli.commands.{cmd_name}"), cmd_name)
            return command
        plugin = plugin_commands().get(cmd_name)
        return None if plugin is None else _loaded(plugin)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the error of a plugin's command names the plugin."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            name = ctx.invoked_subcommand
            if name is None or name in COMMANDS:
                raise
            owner = plugin_commands()[name].distribution
            raise click.ClickException(
                f"command '{name}' of {owner} failed ({type(error).__name__}: {error}); report it to its authors"
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the words name; of several processes that torchrun started, only one may go on."""
        name, command, rest = super().resolve_command(ctx, args)
        if not torchrun.is_first() and name not in torchrun.DIVIDED:
            ctx.exit()
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command and what it does."""
        with formatter.section("Commands"):
            formatter.write_dl(list(summaries().items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with the text typed so far."""
        commands = [
            CompletionItem(name, help=text) for name, text in summaries().items() if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


def _loaded(plugin: registry.Plugin) -> click.Command:
    """Return the command of a plugin; raise a DeepmixError if it can't be imported or is not a command."""
    loaded = plugin.load()
    if not isinstance(loaded, click.Command):
        raise DeepmixError(f"command {plugin.identity} is not a click.Command; fix or remove {plugin.distribution}")
    return loaded


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="deepmix")
def main() -> None:
    """Deep clustering with mixtures of variational autoencoders."""
