"""Write docs/plugins/directory.md: the plugins of this repository, what the test kit says of them, and their accuracy.

    python docs/generate_directory.py                         # writes the page from what was measured
    python docs/generate_directory.py --measure priors heads  # measures these kinds first, and writes their figures

The figures are in `benchmarks/results/plugins.json`. A kind that is named is measured anew; `--missing` leaves out the
plugins that have figures already. Every figure is written as soon as it is known.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from deepmix.contracts import registry  # noqa: E402
from deepmix.errors import DeepmixError  # noqa: E402
from tests.plugins.conftest import DISTRIBUTIONS, install_distributions  # noqa: E402

TARGET = ROOT / "docs" / "plugins" / "directory.md"
FIGURES = ROOT / "benchmarks" / "results" / "plugins.json"
SEEDS, EPOCHS = 5, 20
FIELDS = {
    "models": "model",
    "encoders": "encoder",
    "decoders": "decoder",
    "priors": "prior",
    "posteriors": "posterior",
    "initializers": "init",
}
"""The option of a run that names a plugin of each kind; likelihoods and heads have their own ways."""
HEADINGS = ("kind", "name", "distribution", "summary", "kit", "Digits")
OPENING = """# The plugins

`python docs/generate_directory.py` writes this page; with `--measure KIND ...` it measures first. *Kit*: how many
clauses of the contract a plugin keeps, all but the run from the command line, and which of them can't be tested; "in
CI" means that the tests of deepmix run them all and none fails. *Digits*: the accuracy on the 270 test rows of Digits
in per cent, mean and standard deviation over five seeds, after {epochs} + {epochs} epochs, which is less than half of
the default: of a model as it is (one without clusters has a Gaussian mixture on its latents), of a head on the latents
of the default model, of an initial clustering before any training, and of any other part in place of the default
model's own. A dash: the part does not fit the default model or the data. Figures with the default epochs are in
`benchmarks/results/reproduce`.
"""


def key_of(plugin: registry.Plugin) -> str:
    """Return the name of a plugin in the file of figures."""
    return f"{registry.singular(plugin.kind)} {plugin.identity}"


def listed() -> list[registry.Plugin]:
    """Return the plugins of this repository."""
    owners = (registry.OURS, *DISTRIBUTIONS)
    return [plugin for plugin in registry.read_entry_points().plugins if plugin.distribution in owners]


def kit(plugin: registry.Plugin) -> dict[str, Any] | None:
    """Return what a plugin's kit says, all clauses but the run from the command line; None if there is no kit."""
    from deepmix.experiment import kit_results
    from deepmix.testing import KITS

    if plugin.kind not in KITS:
        return None
    kind = registry.singular(plugin.kind)
    results = [result for result in kit_results(plugin.identity, ("command-line",)) if result.kind == kind]
    counts = Counter(result.state for result in results)
    by_state = {state: [r.clause for r in results if r.state == state] for state in ("skipped", "failed")}
    return {"ok": counts["ok"], **by_state}


def accuracies(kind: str, names: Sequence[str]) -> Iterator[tuple[str, list[float] | None]]:
    """Yield plugins' accuracies on the test rows of Digits, one per seed; None where there is no run with them."""
    if kind == "heads":
        by_seed = [run(seed, heads=tuple(names)).heads for seed in range(SEEDS)]
        for name in names:
            yield name, [heads[name]["test"].scores["acc"] for heads in by_seed if name in heads] or None
        return
    for name in names:
        try:
            results = [run(seed, **options_for(kind, name)) for seed in range(SEEDS)]
        except DeepmixError as error:
            print(f"{kind} {name}: {error}", file=sys.stderr)
            yield name, None
            continue
        if kind == "initializers":
            yield name, [result.initial_labels.test["acc"] for result in results]
        else:
            yield name, [next(iter(result.heads.values()))["test"].scores["acc"] for result in results]


def options_for(kind: str, name: str) -> dict[str, Any]:
    """Return the options of a run with a plugin; a model without a mixture is clustered by a Gaussian mixture."""
    if kind == "likelihoods":
        return {"settings": {"likelihood": name}}
    options: dict[str, Any] = {FIELDS[kind]: name}
    if kind == "initializers":
        options["settings"] = {"epochs": "1"}
    if kind == "models":
        from deepmix.experiment import ExperimentConfig, resolve

        if resolve(ExperimentConfig(model=name, heads=("gmm",))).plan.single_component:
            options["heads"] = ("gmm",)
    return options


def run(seed: int, *, settings: dict[str, str] | None = None, **options: Any) -> Any:
    """Return the metrics of a run on Digits."""
    from deepmix.experiment import ExperimentConfig, prepare_experiment, run_experiment
    from deepmix.runs import RunFolder
    from deepmix.training import SilentReporter

    settings = {"epochs": str(EPOCHS), "pretrain_epochs": str(EPOCHS), **(settings or {})}
    config = ExperimentConfig(seed=seed, settings=settings, baselines=False, **options)
    with TemporaryDirectory() as name:
        folder = RunFolder.create(Path(name, "run"), overwrite=False)
        return run_experiment(prepare_experiment(config), folder, SilentReporter()).metrics


def measure(kinds: Sequence[str], *, missing: bool) -> None:
    """Measure the plugins of some kinds, and write each figure as soon as it is known."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    figures = read_figures()
    for kind in kinds:
        plugins = {
            registry_name(plugin): plugin
            for plugin in listed()
            if plugin.kind == kind and not (missing and key_of(plugin) in figures)
        }
        with_accuracy = kind in FIELDS or kind in ("likelihoods", "heads")
        pairs = accuracies(kind, list(plugins)) if with_accuracy else ((name, None) for name in plugins)
        for name, values in pairs:
            figures[key_of(plugins[name])] = {
                "kit": kit(plugins[name]),
                "accuracy": None if values is None else [round(value, 4) for value in values],
                "date": time.strftime("%Y-%m-%d"),
                "commit": commit.stdout.strip(),
            }
            FIGURES.write_text(json.dumps(dict(sorted(figures.items())), indent=1) + "\n", encoding="utf-8")
            print(key_of(plugins[name]), figures[key_of(plugins[name])], flush=True)


def registry_name(plugin: registry.Plugin) -> str:
    """Return the shortest name that means a plugin."""
    return next(name for name, other in registry.by_shortest_name(plugin.kind).items() if other == plugin)


def read_figures() -> dict[str, Any]:
    """Return what was measured of each plugin, by `key_of`."""
    return dict(json.loads(FIGURES.read_text("utf-8"))) if FIGURES.exists() else {}


def kit_text(result: dict[str, Any] | None) -> str:
    """Return a cell that says what a plugin's kit said."""
    if result is None:
        return "in CI"
    lists = (f"{state}: {', '.join(result[state])}" for state in ("skipped", "failed") if result[state])
    return "; ".join([f"{result['ok']} ok", *lists])


def page() -> str:
    """Return the page."""
    figures, lines = read_figures(), []
    for plugin in listed():
        description, measured = plugin.description(), figures.get(key_of(plugin))
        summary = "" if description is None else description.summary.replace("|", "\\|")
        digits, clauses = "-", "in CI"
        if measured is not None:
            clauses = kit_text(measured["kit"])
            if values := measured["accuracy"]:
                digits = f"{100.0 * statistics.mean(values):.1f} ± {100.0 * statistics.stdev(values):.1f}"
        cells = (registry.singular(plugin.kind), f"`{plugin.name}`", plugin.distribution, summary, clauses, digits)
        lines.append(f"| {' | '.join(cells)} |")
    table = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}", *lines]
    return OPENING.format(epochs=EPOCHS) + "\n" + "\n".join(table) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="+", default=(), choices=registry.KINDS, metavar="KIND")
    parser.add_argument("--missing", action="store_true", help="measure only what has no figures yet")
    options = parser.parse_args()
    with TemporaryDirectory() as site:
        install_distributions(Path(site))
        measure(options.measure, missing=options.missing)
        TARGET.write_text(page(), encoding="utf-8")
