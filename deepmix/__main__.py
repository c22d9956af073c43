"""`python -m deepmix` is the `deepmix` command."""

from __future__ import annotations

from deepmix.cli import main

main(prog_name="deepmix")
