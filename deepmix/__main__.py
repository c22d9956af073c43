"""`python -m deepmix` is the `deepmix` command."""

from deepmix.cli import main

main(prog_name="deepmix")
