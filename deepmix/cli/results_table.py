"""The table at the end of `deepmix train`: heads, initial labels and plain methods, over one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepmix import metrics, runs
from deepmix.cli.terminal import table_text

if TYPE_CHECKING:  # rich is imported only when something is drawn, so that --help need not wait for it
    from rich.table import Table


def results_table(results: Sequence[runs.Metrics]) -> Table:
    """Return the metrics on the held-out rows, as means over runs; with plain methods also criteria without labels."""
    from rich import box
    from rich.table import Table

    first = results[0]
    names = [name for name in first.score_names() if metrics.METRICS[name].is_brief]
    compared = [one.baselines for one in results if one.baselines is not None]
    criteria = ["cohesion", *(["total"] if any(one.totals for one in compared) else [])] if compared else []
    title = f"test rows; {' and '.join(criteria)} of training rows" if compared else "test rows"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("head")
    for column in [*names, *criteria, *(["seconds"] if compared else [])]:
        table.add_column(column, justify="right")

    def add(name: str, scores: Sequence[runs.Scores], judged: Sequence[Sequence[float | None]], seconds: str) -> None:
        cells = [cell([one.get(metric) for one in scores]) for metric in names]
        cells += [cell(values) for values, _ in zip(judged, criteria, strict=False)]
        table.add_row(table_text(name), *cells, *([seconds] if compared else []))

    def of_run(name: str) -> list[list[float | None]]:
        """Return the criteria of the runs' own clusters."""
        return [[one.cohesion.get(name) for one in compared], [one.totals.get(name) for one in compared]]

    spent = f"{metrics.spread([one.seconds for one in results]).mean:.1f}"
    for head in first.heads:
        scores = [one.heads[head]["test"].scores for one in results]
        add(head, scores, of_run(head), spent)
    baselines = [one.baseline or {} for one in results if one.initial_labels is not None]
    if any(baselines) or (baselines and compared):
        add("(initial labels)", baselines, of_run(runs.INITIAL), "")
    n_clusters = len(next(iter(first.heads.values()))["test"].sizes)
    for name in dict.fromkeys(name for one in compared for name in one.methods):
        methods = [one.methods[name] for one in compared if name in one.methods]
        numbers = sorted({one.n_clusters for one in methods})
        number = " to ".join(map(str, dict.fromkeys([numbers[0], numbers[-1]])))
        title = name if numbers == [n_clusters] else f"{name}: {number} cluster{'' if numbers[-1] == 1 else 's'}"
        elapsed = f"{metrics.spread([one.seconds for one in methods]).mean:.1f}"
        judged: list[list[float | None]] = [[one.cohesion for one in methods], [one.total for one in methods]]
        add(f"({title})", [one.side("test") for one in methods], judged, elapsed)
    return table


def cell(values: Sequence[float | None]) -> str:
    """Return a value, or the mean ± standard deviation over seeds."""
    figures = metrics.spread(values)
    if figures.mean is None:
        return "-"
    return f"{figures.mean:.4f}" if figures.std is None else f"{figures.mean:.4f} ± {figures.std:.4f}"
