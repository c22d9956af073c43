from __future__ import annotations

import json

import pytest

from deepmix.experiment import describe_distribution
from tests.plugins.conftest import DISTRIBUTIONS


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_part_is_described_and_the_description_is_up_to_date(install, deepmix, name):
    """A stale description is written again by: deepmix plugins --describe NAME."""
    install(name)
    rows = [row for row in json.loads(deepmix("plugins", "--json").stdout) if row["distribution"] == name]
    assert rows
    assert all(row["summary"] for row in rows)
    for path, text in describe_distribution(name).items():
        assert path.read_text("utf-8") == text
