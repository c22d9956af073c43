"""The `deepmix` command: one file a command."""
