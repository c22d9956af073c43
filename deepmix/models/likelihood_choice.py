"""The option that names a model's likelihood; read by `--help`, so nothing slow is imported here."""

from __future__ import annotations

from deepmix.contracts import registry
from deepmix.errors import unknown_choice


def check_likelihood_name(name: str) -> None:
    """Check that an option's value is 'auto' or the name of an installed likelihood.

    Raises:
        UsageError: there is no such likelihood.

    """
    kind = "likelihoods"
    if name == "auto":
        return
    if name.rpartition(":")[2] not in registry.names(kind):
        raise unknown_choice("likelihood", name, ["auto", *registry.names(kind)])
    if ":" in name:  # of a bare name that two distributions have, a saved run's records say which it is
        registry.find(kind, name)
