"""Write docs/plugins/directory.md: the installed plugins, what the test kit says of them, and their accuracy on Digits.

The tests of deepmix run the kits of the built-in plugins (tests/contract/test_builtins.py), so only those of the other
installed plugins are run here; `--whole` also runs the clause that trains from the command line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deepmix.contracts import registry
from deepmix.experiment import kit_results
from deepmix.testing import KITS

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "plugins" / "directory.md"
FIGURES = sorted((ROOT / "benchmarks" / "results" / "reproduce").glob("*-digits.json"))
"""Results of `deepmix reproduce` on Digits, whose five-seed accuracies the page shows."""
SEEDS = 5
HEADINGS = ("kind", "name", "distribution", "summary", "kit", "Digits")


def accuracies() -> dict[str, str]:
    """Return each model's accuracy on Digits with the defaults, mean and deviation of five seeds, in per cent."""
    by_model: dict[str, str] = {}
    for file in FIGURES:
        for cell in json.loads(file.read_text("utf-8"))["cells"]:
            ours = cell.get("defaults") or {}
            if cell.get("measure") == "acc" and len(ours.get("values", ())) == SEEDS:
                by_model.setdefault(cell["model"], f"{ours['mean']:.1f} ± {ours['std']:.1f}")
    return by_model


def kit_summary(plugin: registry.Plugin, without: Sequence[str]) -> str:
    """Return how many clauses of its kit a plugin keeps, and the names of those that fail."""
    if plugin.kind not in KITS:
        return "in its own tests"
    results = [
        result
        for result in kit_results(f"{plugin.distribution}:{plugin.name}", without)
        if result.kind == registry.singular(plugin.kind)
    ]
    counts = Counter(result.state for result in results)
    failed = [result.clause for result in results if result.state == "failed"]
    text = f"{counts['ok']} ok" + (f", {counts['skipped']} skipped" if counts["skipped"] else "")
    return text + (f", failed: {', '.join(failed)}" if failed else "")


def page(without: Sequence[str]) -> str:
    """Return the page; the clauses `without` are not run."""
    measured, lines = accuracies(), []
    for plugin in registry.read_entry_points().plugins:
        kit = (
            "all but the command line, in CI" if plugin.distribution == registry.OURS else kit_summary(plugin, without)
        )
        description = plugin.description()
        summary = "" if description is None else description.summary.replace("|", "\\|")
        digits = measured.get(plugin.name, "-") if plugin.kind == "models" else "-"
        cells = (registry.singular(plugin.kind), f"`{plugin.name}`", plugin.distribution, summary, kit, digits)
        lines.append(f"| {' | '.join(cells)} |")
    opening = (
        "# The plugins\n\n"
        "`python docs/generate_directory.py` writes this page. *Kit*: which clauses of the contract a plugin keeps.\n"
        "CI tests the built-in plugins by all clauses except the run from the command line, and data sets only\n"
        "where it has their files. *Digits*: a model's accuracy on the test rows in per cent, mean and standard\n"
        "deviation over five seeds, as `deepmix reproduce` recorded it in `benchmarks/results/reproduce`; some\n"
        "defaults have changed since. A dash: it was not measured.\n"
    )
    table = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}", *lines]
    return opening + "\n" + "\n".join(table) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="run the clause that trains from the command line too")
    TARGET.write_text(page(() if parser.parse_args().whole else ("command-line",)), encoding="utf-8")
