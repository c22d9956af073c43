"""What a user reads about the number of clusters, in sentences."""

from __future__ import annotations

from deepmix.data import Split
from deepmix.experiment.component_count import shows_groups
from deepmix.runs import ComponentChoice


def choice_note(choice: ComponentChoice) -> str:
    """Return a sentence on the number of clusters that was chosen, and why."""
    number, groups = choice.n_components, choice.n_groups
    if number == 1:
        return "1 cluster: the rows show no groups, as their density has one peak"
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
            "no groups: these rows show no groups, as their density has one peak, so there is one cluster; "
            "`components=K` divides them nevertheless"
        ]
    if n_components < 2 or split.labels is not None or shows_groups(split, seed):
        return []
    return [
        "no groups: these rows show no groups, as their density has one peak; "
        f"the {n_components} clusters divide what is one group"
    ]
