"""Which distributions may load: those written for this plugin API, unless DEEPMIX_PLUGINS leaves them out."""

from __future__ import annotations

import os

API_VERSION = 1
"""The version of the plugin API, which changes when plugins that worked need changes.

A plugin states the version that it is written for as the name of an entry point in the group `deepmix.api`, such as
`1 = "my_package"`.
"""


API_GROUP = "deepmix.api"
VARIABLE = "DEEPMIX_PLUGINS"
"""Environment variable: `none`, or the distributions, separated by commas, whose plugins may load beside the built-in
ones; without it, all may."""


def refusal(distribution: str, stated_versions: list[str]) -> str | None:
    """Return why a distribution's plugins may not load, and the cure; None if they may.

    Args:
        distribution: its canonical name.
        stated_versions: the versions of the plugin API that its metadata state; none: it is not known, and any will do.

    """
    requested = os.environ.get(VARIABLE)
    if requested is not None:
        allowed = {name.strip().lower().replace("_", "-") for name in requested.split(",")} - {"none", ""}
        if distribution not in allowed:
            return f"{VARIABLE}={requested} leaves it out; add {distribution} to {VARIABLE}, or unset it"
    if stated_versions and str(API_VERSION) not in stated_versions:
        return (
            f"it is written for version {' or '.join(stated_versions)} of the plugin API, and this deepmix has version "
            f"{API_VERSION}; install a release of {distribution} for version {API_VERSION}, or another deepmix"
        )
    return None
