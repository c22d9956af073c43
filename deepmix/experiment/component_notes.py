"""What a user reads about the number of clusters, in sentences."""

from __future__ import annotations

from deepmix.data import Split
from deepmix.experiment.component_count import shows_groups
from deepmix.experiment.valleys import FEWEST_ROWS_OF_VALLEYS
from deepmix.runs import ComponentChoice

MANY_LEVELS = 10
"""A column of more levels spreads the rows in as many directions, and can hide groups."""


def no_groups(n_rows: int) -> str:
    """Return that so many rows show no groups, and why, as part of a sentence."""
    if n_rows < FEWEST_ROWS_OF_VALLEYS:
        return f"these {n_rows} rows show no groups that lie far apart, and are too few to show others"
    return "these rows show no groups, as their density has one peak"


def choice_note(choice: ComponentChoice) -> str:
    """Return a sentence on the number of clusters that was chosen, and why."""
    number, groups = choice.n_components, choice.n_groups
    if number == 1:
        return f"1 cluster: {no_groups(choice.n_rows)}"
    reasons = {
        "peaks": f"the density of the rows has {groups} peaks that chance does not explain",
        "modes": f"the density of a Gaussian mixture of the rows has {groups} separate peaks",
        "range": f"the rows show {groups} groups, which is outside the range",
    }
    others = [str(other.n_components) for other in choice.runners_up]
    next_best = f"; runners-up: {', '.join(others)}" if others else ""
    return f"{number} clusters, chosen from {choice.lowest} to {choice.highest}: {reasons[choice.criterion]}{next_best}"


def warnings_on_groups(split: Split, n_components: int, choice: ComponentChoice | None, seed: int) -> list[str]:
    """Return the warning that the rows show no groups, whether K was chosen from them or requested.

    With labels there is no need for it, as the clusters are compared with them.
    """
    if choice is not None:
        if choice.n_components > 1:
            return []
        return [
            f"no groups: {no_groups(choice.n_rows)}, so there is one cluster; `components=K` divides them "
            f"nevertheless{_column_of_many_levels(split)}"
        ]
    if n_components < 2 or split.labels is not None or shows_groups(split, seed):
        return []
    n_rows = len(split.train)
    divided = "may divide one group" if n_rows < FEWEST_ROWS_OF_VALLEYS else "divide what is one group"
    return [f"no groups: {no_groups(n_rows)}; the {n_components} clusters {divided}"]


def _column_of_many_levels(split: Split) -> str:
    """Return the advice to leave out the column with the most levels, if it has many."""
    columns = () if split.schema is None else split.schema.modelled
    widest = max(columns, key=lambda column: len(column.levels or ()), default=None)
    if widest is None or len(widest.levels or ()) <= MANY_LEVELS:
        return ""
    return f", and groups may show without a column of many levels such as '{widest.name}'"
