"""Descriptions of plugins: the file's text, when it is valid, and the options that it leaves to the core."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from deepmix.contracts import FILE, Description, NoOptions, OptionTable, describe, descriptions_text, option_table
from deepmix.contracts.descriptions import package_folder, read_description, sources_checksum
from deepmix.data import SplitOptions
from deepmix.models import MixtureOptions

OWN = __name__.split(".")[0]
"""The top package of this file."""


@dataclass(frozen=True)
class Plain:
    width: int = field(default=3, metadata={"help": "how wide"})
    mode: Literal["slow", "fast"] = "slow"
    limit: int | None = None


@dataclass(frozen=True)
class Extended(SplitOptions):
    scale: Literal["none", "standard"] = field(default="none", metadata={"help": "how rows are scaled"})  # type: ignore[assignment]
    split_seed: int = 7  # has no help text, so that the whole row differs
    download: bool = field(default=True, metadata={"help": "fetch it"})


@pytest.mark.parametrize(
    "options", [Plain(), Plain(width=5, limit=2), NoOptions(), SplitOptions(), Extended(), MixtureOptions("hard")]
)
def test_a_table_has_the_rows_of_the_options(options: object) -> None:
    table = option_table(options, OWN)
    assert table is not None
    assert table.rows() == describe(options)


def test_a_table_leaves_the_core_what_is_the_core_s() -> None:
    assert option_table(MixtureOptions("hard", samples=2), OWN) == OptionTable(
        "deepmix.models:MixtureOptions", {"assignment": "hard", "samples": "2"}
    )
    assert option_table(NoOptions(), OWN) == OptionTable()
    table = option_table(Extended(), OWN)
    assert table is not None
    assert table.base == "deepmix.data:SplitOptions"
    assert [row[0] for row in table.own] == ["split_seed", "scale", "download"]


def test_options_of_a_third_package_have_no_table() -> None:
    """The package's sources could change while the checksum stays the same."""
    assert option_table(Plain(), "another") is None
    assert option_table(Extended(), "another") is None


def test_a_base_that_the_core_lacks_is_not_a_table() -> None:
    with pytest.raises(LookupError):
        OptionTable("deepmix.models:OptionsOfTomorrow").rows()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a package that can be found but raises when it is imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str) -> Path:
        folder = tmp_path / name
        (folder / "inner").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
        (folder / "inner" / "parts.py").write_text("first = 1\nsecond = 2\n")
        return folder

    return make


WRITTEN = Description("A part.", OptionTable(own=(("a", "text", "b", "c"),)), None, {"prior": "ring"})


def test_a_description_is_read_back_without_an_import(package: Callable[[str], Path]) -> None:
    folder = package("dm_read_back")
    target = "dm_read_back.inner.parts:first"
    assert package_folder("dm_read_back") == folder
    (folder / FILE).write_text(descriptions_text(folder, {("priors", target): WRITTEN}), "utf-8")
    assert read_description("dm_read_back", "priors", target) == WRITTEN
    assert read_description("dm_read_back", "heads", target) is None
    assert read_description("dm_read_back", "priors", "dm_read_back.inner.parts:second") is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dm_edited", lambda folder: (folder / "inner" / "parts.py").write_text("first = 1\nsecond = 3\n")),
        ("dm_added", lambda folder: (folder / "inner" / "more.py").touch()),
        ("dm_renamed", lambda folder: (folder / "inner" / "parts.py").rename(folder / "inner" / "part.py")),
        ("dm_no_file", lambda folder: (folder / FILE).unlink()),
        ("dm_no_json", lambda folder: (folder / FILE).write_text("{")),
        ("dm_a_list", lambda folder: (folder / FILE).write_text("[]")),
        ("dm_lacking", lambda folder: (folder / FILE).write_text(json.dumps({"sources": sources_checksum(folder)}))),
    ],
)
def test_an_outdated_or_damaged_file_counts_as_none(
    package: Callable[[str], Path], name: str, change: Callable[[Path], object]
) -> None:
    folder = package(name)
    (folder / FILE).write_text(descriptions_text(folder, {("priors", f"{name}:first"): WRITTEN}), "utf-8")
    change(folder)
    assert read_description(name, "priors", f"{name}:first") is None


def test_the_checksum_is_of_the_sources_whatever_their_line_endings(package: Callable[[str], Path]) -> None:
    folder = package("dm_checksum")
    before = sources_checksum(folder)
    assert before == "39a271d5"  # on every machine
    (folder / "inner" / "parts.py").write_bytes(b"first = 1\r\nsecond = 2\r\n")
    (folder / "inner" / "notes.txt").write_text("no source")
    assert sources_checksum(folder) == before


@pytest.mark.parametrize("name", ["no_such_package_here", "click.core.nothing", "", "__main__"])
def test_what_is_not_a_package_has_no_folder(name: str) -> None:
    assert package_folder(name) is None
