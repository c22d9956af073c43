"""`deepmix completion`: a script that lets a shell complete deepmix's commands and options."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

from deepmix.cli.terminal import echo

SETUP = {
    "bash": "eval \"$(deepmix completion bash)\" in ~/.bashrc",
    "zsh": "eval \"$(deepmix completion zsh)\" in ~/.zshrc",
    "fish": "deepmix completion fish > ~/.config/fish/completions/deepmix.fish",
}  # fmt: skip


@click.command(epilog="To keep it: " + "; ".join(SETUP.values()))
@click.argument("shell", type=click.Choice(list(SETUP)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print a shell's completion script."""
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "deepmix", "_DEEPMIX_COMPLETE").source()
    echo(json.dumps({"shell": shell, "script": script}) if as_json else script)
