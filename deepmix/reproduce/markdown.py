"""Conversion of a table's JSON to Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepmix.reproduce.jobs import RUN_FIGURES
from deepmix.reproduce.published import OURS, PAPER

NAMES = {PAPER: "papers' protocol", OURS: "our defaults"}


QUICK_WARNING = "Made with --quick: two epochs per stage. These figures show only that the table runs."


def render(content: Mapping[str, Any]) -> str:
    """Return a table as a Markdown document."""
    protocols = list(content["protocols"])
    lines = [
        f"# {content['table']}: {content['title']}",
        "",
        f"{content['paper']}. Made by `{content['command']}`.",
        "",
    ]
    if content["quick"]:
        lines += [QUICK_WARNING, ""]
    lines += [
        "Per cent, but for seconds and counts. Best, mean and standard deviation over the seeds (their number in "
        "brackets where some are missing); initial: the accuracy (or NMI, ...) of the initial clustering alone, on the "
        "training rows / carried to the test rows by five nearest neighbours; s: seconds a run takes.",
        "",
    ]
    idle = sum(not any(cell[name].get("values") for name in protocols) for cell in content["cells"])
    if idle:
        lines += [f"{idle} of {len(content['cells'])} cells have no run of ours: see 'Not there' below.", ""]
    heading = [content["row_name"], "column", "measure", "paper"]
    for name in protocols:
        heading += [f"{NAMES[name]}: best", "mean ± std", "initial", "s"]
    lines += [_row(heading), _row(["---", "---", "---", *["---:"] * (len(heading) - 3)])]
    for cell in content["cells"]:
        cells = [cell["row"], cell["column"], _measure(cell), _paper(cell)]
        for name in protocols:
            cells += _ours(cell[name], cell["measure"], len(content["seeds"]))
        lines.append(_row(cells))
    lines += _other_heads(content["cells"], protocols)
    lines += [f"\n![{name}]({name})" for name in content["pictures"]]
    gaps = _collect(content["cells"], protocols)
    if gaps:
        lines += ["", "## Not there", "", *(f"- {reason}: {'; '.join(places)}" for reason, places in gaps.items())]
    words = [word for name in protocols for word in content["protocols"][name]["words"]]
    words += [*content["differences"], *content["remarks"]]
    lines += ["", "## Differences from the paper", "", *(f"- {word}" for word in words)]
    origins = {
        f"deepmix {e['deepmix']}, torch {e['torch']}, {e['device']}, {e['threads']} threads, commit {e['git_commit']}"
        for e in content["environments"]
    }
    if origins:
        lines += ["", "## Made with", "", *(f"- {text}" for text in sorted(origins))]
    return "\n".join(lines) + "\n"


def _other_heads(cells: Sequence[Mapping[str, Any]], protocols: Sequence[str]) -> list[str]:
    """Return the table of accuracies with the GMM's other start."""
    rows = [
        [
            cell["row"],
            cell["column"],
            NAMES[name],
            f"{cell[name]['head']}: {_spread(cell[name])}",
            f"{head}: {_spread(figures)}",
        ]
        for cell in cells
        for name in protocols
        for head, figures in cell[name].get("also", {}).items()
        if cell["measure"] == "acc" and figures["best"] is not None
    ]
    if not rows:
        return []
    heading = ["row", "column", "of ours", "start shown above: best, mean ± std", "the other start: best, mean ± std"]
    return ["", "## The GMM's two starts, accuracy", "", _row(heading), _row(["---"] * 5), *map(_row, rows)]


def _spread(figures: Mapping[str, Any]) -> str:
    return f"{figures['best']:.2f}, {_mean(figures, 'acc')}"


def _mean(figures: Mapping[str, Any], measure: str) -> str:
    """Return mean and deviation; a single run has no deviation."""
    mean = _number(figures["mean"], measure)
    return mean if figures["std"] is None or _digits(measure) == 0 else f"{mean} ± {figures['std']:.2f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _measure(cell: Mapping[str, Any]) -> str:
    name = cell["measure"].replace("_", " ")
    if name.startswith("knn"):
        return "error"
    of_the_run = cell["measure"] in RUN_FIGURES
    return f"{name} ({cell['side']})" if cell["side"] != "test" and not of_the_run else name


def _paper(cell: Mapping[str, Any]) -> str:
    paper = cell["paper"]
    if paper["given"]:
        return f"({paper['given']})"
    if paper["value"] is None:
        return "-"
    text = _number(paper["value"], cell["measure"])
    return text if paper["deviation"] is None else f"{text} ± {paper['deviation']:g}"


def _number(value: float | None, measure: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if _digits(measure) == 0 else f"{value:.2f}"


def _digits(measure: str) -> int:
    """Return how many decimals a figure has; a count has none."""
    return 0 if measure in RUN_FIGURES and RUN_FIGURES[measure].is_count else 2


def _ours(figures: Mapping[str, Any], measure: str, n_seeds: int) -> list[str]:
    """Return the four cells of one protocol."""
    if figures.get("best") is None:
        return ["failed" if figures.get("failures") else "-", "-", "-", "-"]
    best, mean = _number(figures["best"], measure), _mean(figures, measure)
    few = f" ({len(figures['values'])})" if len(figures["values"]) != n_seeds else ""
    initial = figures["initial_labels"]
    baselines = "-" if initial["test"] is None else f"{initial['train']:.2f} / {initial['test']:.2f}"
    return [best, f"{mean}{few}", baselines, f"{figures['seconds']:.1f}"]


def _collect(cells: Sequence[Mapping[str, Any]], protocols: Sequence[str]) -> dict[str, list[str]]:
    """Return the cells concerned by each reason for a gap or a failure, or 'every cell' if it concerns them all.

    A cell is followed by the name of its protocol, unless the reason concerns it under all protocols.
    """
    concerned: dict[str, dict[str, set[str]]] = {}
    for cell in cells:
        place = f"{cell['row']}, {cell['column']}"
        for name in protocols:
            figures = cell[name]
            texts = [f"failed, seed {seed}: {text}" for seed, text in figures.get("failures", {}).items()]
            for text in (figures.get("gap"), *texts):
                if text:
                    concerned.setdefault(text, {}).setdefault(place, set()).add(name)
    everywhere = len({(cell["row"], cell["column"]) for cell in cells})
    reasons: dict[str, list[str]] = {}
    for reason, names_of_place in concerned.items():
        first = next(iter(names_of_place.values()))
        if len(names_of_place) == everywhere and all(names == first for names in names_of_place.values()):
            names_of_place = {"every cell": first}
        reasons[reason] = [
            place if len(names) == len(protocols) else f"{place} ({', '.join(NAMES[name] for name in sorted(names))})"
            for place, names in names_of_place.items()
        ]
    return reasons
