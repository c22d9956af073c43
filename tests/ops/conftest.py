"""Kernels for the tests of this folder, and random arguments for them."""

from __future__ import annotations

import warnings

import pytest

from deepmix import kernels, ops


@pytest.fixture(scope="session", autouse=True)
def compiled() -> kernels.Kernels:
    """The loaded kernels; tests are skipped only where none can be built."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = kernels.load()
        ops.load()
    if loaded.path == "reference":
        pytest.skip(f"no kernels to test: {loaded.reason}")
    return loaded
