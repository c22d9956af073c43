"""The papers' numbers, read from `papers/*.toml`: the contents of each table and the run each cell stands for.

A table, a column and a row each describe a part of the run (`run = {...}`). A cell's run merges the three, with
settings merged key by key; a column or row may change it further for the paper's protocol (`protocol_run`). A row's
values are in the order of the columns and, within a column, of its measures.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from deepmix.errors import UsageError, option, unknown_choice

PAPER, OURS = "protocol", "defaults"
"""Our two columns: the paper's protocol and deepmix's defaults."""


@dataclass(frozen=True)
class Protocol:
    """A way to run a paper's cells."""

    name: str
    """PAPER or OURS."""
    init: str | None
    """Initial clustering; None leaves it to the model."""
    heads: Mapping[str, str]
    """Our head for each head that the papers name."""
    also: Mapping[str, Sequence[str]]
    """Further heads shown beside it: a GMM's other start."""
    settings: Mapping[str, str]
    words: tuple[str, ...]
    """Sentences on what this protocol is and how it differs from the paper's."""


@dataclass(frozen=True)
class Spec:
    """The run that a cell stands for, apart from the protocol and the seed."""

    dataset: str = ""
    model: str = ""
    init: str | None = None
    """Initial clustering, in place of the protocol's."""
    head: str = "posterior"
    side: str = "test"
    """The rows that it is measured on: train, test or all."""
    trace: bool = False
    """Whether the accuracy is measured after every epoch."""
    missing: str = ""
    """Why deepmix has no such run, as a sentence."""
    distribution: str = ""
    """The distribution that has the run's model or head; empty: deepmix."""
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    quick: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Settings that --quick adds, such as the epochs of an initial clustering."""


@dataclass(frozen=True)
class Cell:
    """One number of a paper."""

    row: str
    column: str
    measure: str
    spec: Spec
    protocol_spec: Spec
    """The run that the cell stands for under the paper's protocol."""
    value: float | None
    """The paper's value in its own unit (per cent for accuracies); None if the paper gives none."""
    deviation: float | None = None
    setting: str = ""
    """The setting that the paper's value is, if it is not a result ('M = 5')."""

    def run_under(self, protocol: Protocol) -> Spec:
        """Return the run that the cell stands for under a protocol."""
        return self.protocol_spec if protocol.name == PAPER else self.spec


@dataclass(frozen=True)
class Table:
    """A table or figure of a paper."""

    name: str
    title: str
    cite: str
    row_name: str
    figure: str
    """The kind of drawing that belongs to it; empty if it has none."""
    words: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    cells: tuple[Cell, ...]


@cache
def load_tables() -> dict[str, Table]:
    """Return every table, by name."""
    tables: dict[str, Table] = {}
    papers = sorted(resources.files("deepmix.reproduce").joinpath("papers").iterdir(), key=lambda entry: entry.name)
    for entry in papers:
        if entry.name.endswith(".toml"):
            paper = tomllib.loads(entry.read_text("utf-8"))
            tables |= {table["name"]: read_table(paper, table) for table in paper["tables"]}
    return tables


def load_table(name: str) -> Table:
    """Return the table called `name`; if there is none, a UsageError lists the tables."""
    tables = load_tables()
    if name not in tables:
        raise unknown_choice("table", name, tables)
    return tables[name]


def read_table(paper: Mapping[str, Any], table: Mapping[str, Any]) -> Table:
    """Read one table of a paper's file; a ValueError names the row that does not fit."""
    setting_name = table.get("given", "")
    cells = []
    for row in table["rows"]:
        values = iter(row["values"])
        for column in table["columns"]:
            run = merge(table.get("run", {}), column.get("run", {}), row.get("run", {}))
            for measure in column["measures"]:
                try:
                    value = next(values)
                except StopIteration as error:
                    raise ValueError(f"{table['name']}: row '{row['label']}' has too few values") from error
                number, deviation = value if isinstance(value, list) else (value, None)
                number = None if isinstance(number, str) else float(number)
                run = merge(run, {"settings": {setting_name: value}}) if setting_name else run
                cells.append(
                    Cell(
                        row=row["label"],
                        column=column["label"],
                        measure=measure,
                        spec=spec_from(run),
                        protocol_spec=spec_from(
                            merge(run, column.get("protocol_run", {}), row.get("protocol_run", {}))
                        ),
                        value=None if setting_name else number,
                        deviation=None if setting_name else deviation,
                        setting=f"M = {value}" if setting_name else "",
                    )
                )
        if list(values):
            raise ValueError(f"{table['name']}: row '{row['label']}' has too many values")
    names = table.get("protocols", [PAPER, OURS])
    protocols = tuple(_protocol(name, paper[name]) for name in names)
    return Table(
        name=table["name"],
        title=table["title"],
        cite=paper["cite"],
        row_name=table["row_name"],
        figure=table.get("figure", ""),
        words=tuple(table.get("words", ())),
        protocols=protocols,
        cells=tuple(cells),
    )


def _protocol(name: str, values: Mapping[str, Any]) -> Protocol:
    settings = {key: str(value) for key, value in values.get("settings", {}).items()}
    also = values.get("also", {})
    return Protocol(name, values.get("init"), values["heads"], also, settings, tuple(values["words"]))


def merge(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Merge parts of a run, of which later ones override earlier ones; settings are merged key by key."""
    run: dict[str, Any] = {}
    for part in parts:
        settings = {**run.get("settings", {}), **part.get("settings", {})}
        run |= part
        run["settings"] = settings
    return run


def spec_from(run: Mapping[str, Any]) -> Spec:
    """Return a cell's run with its settings as text."""
    texts = {kind: {key: str(value) for key, value in run.get(kind, {}).items()} for kind in ("settings", "quick")}
    return Spec(**{**run, **texts})


def select(table: Table, datasets: Sequence[str], models: Sequence[str]) -> Table:
    """Return the table with only the cells of some data sets and models.

    A figure takes any one data set; a table that has a column for each data set takes others as further columns.

    Raises:
        UsageError: the table has no data set or model of that name.

    """
    cells: Iterable[Cell] = table.cells
    if not table.figure:
        table = dataclasses.replace(table, cells=(*table.cells, *_further_columns(table, datasets)))
        cells = table.cells
    if table.figure and datasets:
        if len(datasets) > 1:
            raise UsageError(f"'{table.name}' is a figure of one data set; name one with {option('datasets')}")
        cells = [_on_dataset(cell, datasets[0]) for cell in cells]
    for key, chosen, of in (("datasets", datasets, "dataset"), ("models", models, "model")):
        names = {name for cell in table.cells for name in _named(cell, of)} - {""}
        unknown = [name for name in chosen if name not in names]
        if unknown and not (table.figure and of == "dataset"):
            listed = ", ".join(sorted(names))
            raise UsageError(f"'{table.name}' has no {of} '{unknown[0]}'; choose {option(key)} among: {listed}")
        if chosen:
            cells = [cell for cell in cells if not _named(cell, of).isdisjoint(chosen)]
    cells = tuple(cells)
    if not cells:
        raise UsageError(f"'{table.name}' has no cell of those data sets and models; see deepmix reproduce --list")
    return dataclasses.replace(table, cells=cells)


def _further_columns(table: Table, datasets: Sequence[str]) -> list[Cell]:
    """Return the cells of data sets that the table lacks, in place of its first; none if its columns are not data sets.

    The values of every column must come from one data set of its own.
    """
    by_column: dict[str, set[str]] = {}
    for cell in table.cells:
        by_column.setdefault(cell.column, set()).add(cell.spec.dataset)
    known = {dataset for own in by_column.values() for dataset in own}
    if len(known) != len(by_column) or len(known) == 1 or any(len(own) > 1 for own in by_column.values()):
        return []
    first = table.cells[0].column
    return [
        dataclasses.replace(_on_dataset(cell, dataset), column=dataset)
        for dataset in datasets
        if dataset not in known
        for cell in table.cells
        if cell.column == first
    ]


def _named(cell: Cell, of: str) -> set[str]:
    """Return the data set or the models of a cell; the paper's protocol may use another model."""
    return {getattr(spec, of) for spec in (cell.spec, cell.protocol_spec)}


def _on_dataset(cell: Cell, dataset: str) -> Cell:
    """Return a cell on another data set, for which the paper gives no value."""
    if dataset == cell.spec.dataset:
        return cell
    spec, protocol_spec = (dataclasses.replace(spec, dataset=dataset) for spec in (cell.spec, cell.protocol_spec))
    return dataclasses.replace(cell, spec=spec, protocol_spec=protocol_spec, value=None, deviation=None)
