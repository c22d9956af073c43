"""The plugins of the distributions keep every clause of their kits, as the built-in ones do."""

from __future__ import annotations

import pytest

from deepmix.experiment import kit_results
from tests.plugins.conftest import DISTRIBUTIONS

NEEDS = {"deepmix-graph": "sknetwork", "deepmix-anndata": "h5py"}
"""The library that a distribution needs beside those of deepmix."""


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_clause_is_kept(install, name):
    """test_runs.py trains with them from the command line."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    install(name)
    results = list(kit_results(name, without=("command-line",)))
    assert [result for result in results if result.state == "failed"] == []
    assert {result.state for result in results} <= {"ok", "skipped"}
