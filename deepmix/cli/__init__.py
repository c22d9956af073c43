"""The `deepmix` command: one file a command."""

from __future__ import annotations

import click

from deepmix.cli.bench import bench
from deepmix.cli.compare import compare
from deepmix.cli.completion import completion
from deepmix.cli.doctor import doctor
from deepmix.cli.embed import embed
from deepmix.cli.errors import Group
from deepmix.cli.evaluate import evaluate
from deepmix.cli.export import export
from deepmix.cli.plugins import plugins
from deepmix.cli.predict import predict
from deepmix.cli.report import report
from deepmix.cli.reproduce import reproduce
from deepmix.cli.sample import sample
from deepmix.cli.train import train


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="deepmix")
def main() -> None:
    """Deep clustering with mixtures of variational autoencoders."""


main.add_command(train)
main.add_command(predict)
main.add_command(embed)
main.add_command(sample)
main.add_command(evaluate)
main.add_command(compare)
main.add_command(export)
main.add_command(report)
main.add_command(plugins)
main.add_command(bench)
main.add_command(doctor)
main.add_command(completion)
main.add_command(reproduce)
