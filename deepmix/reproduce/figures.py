"""The papers' figures, drawn from finished runs: accuracy over epochs, generated and clustered rows, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from sklearn.manifold import TSNE
from sklearn.metrics.cluster import contingency_matrix

from deepmix.errors import DeepmixError
from deepmix.inference import MAX_TRIALS, LoadedRun, open_run
from deepmix.maths import Array
from deepmix.reproduce.jobs import Job, Outcome, measure
from deepmix.reproduce.markdown import NAMES
from deepmix.reproduce.published import OURS, PAPER, Cell, Table
from deepmix.reproduce.trace import read_trace

ACROSS = 3
"""Number of blocks beside each other."""


COLUMNS = 10
"""Number of rows shown of each cluster."""


SURE = 0.999
"""VaDE's rule: the least posterior of a generated row that is shown (k-DVAE section 4.4)."""


EMBEDDED_ROWS = 2000
"""Number of rows in an embedding (VaDE section 4.5)."""


DPI = 120


RIGHT, WRONG = "#2a9d4a", "#d1342f"


@dataclass(frozen=True)
class Panel:
    """One line of a figure's table under one protocol, with its first seed's run."""

    cell: Cell
    protocol: str
    head: str
    run: Path

    @property
    def title(self) -> str:
        """The title above the picture."""
        return f"{self.cell.row}, {NAMES[self.protocol]}"


def draw(
    table: Table, jobs: Mapping[tuple[int, str], Job], outcomes: Mapping[str, Outcome], stem: Path
) -> tuple[list[Path], list[str]]:
    """Draw a table's figure from the runs that exist.

    Returns:
        The paths of the pictures, and remarks on what could not be drawn.

    """
    by_run: dict[Path, Panel] = {}
    for number, cell in enumerate(table.cells):
        for protocol in table.protocols:
            job = jobs.get((number, protocol.name))
            outcome = outcomes.get(job.key) if job else None
            if outcome is not None and outcome.results:
                run = outcome.seed_folder(min(outcome.results))
                head = protocol.heads.get(cell.spec.head, cell.spec.head)
                by_run.setdefault(run, Panel(cell, protocol.name, head, run))
    panels = list(by_run.values())
    if not panels:
        return [], ["Nothing is drawn: there is no finished run."]
    drawings: dict[str, Callable[[Sequence[Panel], list[str]], Figure]] = {
        "samples": _samples,
        "embeddings": _embeddings,
        "members": _members,
        "scatter": _scatter,
    }
    remarks: list[str] = []
    try:
        figure = _epochs(table, panels) if table.figure == "epochs" else drawings[table.figure](panels, remarks)
    except DeepmixError as error:
        return [], [f"Nothing is drawn: {error}."]
    path = stem.with_suffix(".png")
    figure.savefig(path, dpi=DPI, format="png")
    return [path], remarks


def _epochs(table: Table, panels: Sequence[Panel]) -> Figure:
    """Draw the accuracy over epochs; a run without a curve is a level line, a paper's value a dotted one."""
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="clustering accuracy, %")
    rows = list(dict.fromkeys(cell.row for cell in table.cells))
    colours = {row: f"C{number % 10}" for number, row in enumerate(rows)}
    dashes = {PAPER: "-", OURS: "--"}
    for panel in panels:
        style: dict[str, Any] = {
            "color": colours[panel.cell.row],
            "linestyle": dashes[panel.protocol],
            "label": panel.title,
        }
        if panel.cell.spec.trace:
            trace = read_trace(panel.run)
            axes.plot(list(trace), [100.0 * value for value in trace.values()], **style)
        else:
            axes.axhline(_accuracy(panel), linewidth=1.0, **style)
    for cell in table.cells:
        if cell.value is not None:
            label = f"{cell.row}, as the paper prints it"
            axes.axhline(cell.value, color=colours[cell.row], linestyle=":", linewidth=1.5, label=label)
    axes.set_title(f"{table.cells[0].spec.dataset}: accuracy over epochs, test rows")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def _accuracy(panel: Panel) -> float:
    store = open_run(panel.run).metrics
    return measure("acc", panel.head, panel.cell.spec.side, panel.run, store)


def _samples(panels: Sequence[Panel], remarks: list[str]) -> Figure:
    """Draw ten generated rows of each cluster, without and with VaDE's rule."""
    pictures: list[tuple[str, Array]] = []
    for panel in panels:
        run = open_run(panel.run)
        n_components = run.model.n_components
        pictures.append((panel.title, _generated(run, range(n_components), 0.0, remarks, panel.title)))
        if n_components > 1:
            title = f"{panel.title}, posterior ≥ {SURE}"
            pictures.append((title, _generated(run, _by_class(run), SURE, remarks, title)))
            pictures[-2] = (panel.title, pictures[-2][1][_by_class(run)])
    return _mosaics(pictures)


def _generated(
    run: LoadedRun, components: Sequence[int] | range, least: float, remarks: list[str], title: str
) -> Array:
    """Return generated rows, (components, COLUMNS, D), with NaN for rows that a component did not generate."""
    n_rows = COLUMNS if run.model.n_components > 1 else COLUMNS * COLUMNS  # a VAE's rows belong to no cluster
    generator = torch.Generator(run.device).manual_seed(run.config.seed)
    blocks, short_components = [], []
    for component in components:
        rows = np.full((n_rows, run.n_features), np.nan, dtype=np.float32)
        x, _ = run.draw(n_rows, component, generator, least, from_prior=True)
        rows[: len(x)] = x
        if len(x) < n_rows:
            short_components.append(f"{component} ({len(x)})")
        blocks.append(run.preparation.undo(rows))
    if short_components:
        remarks.append(
            f"{title}: in {MAX_TRIALS} trials these components gave fewer than {n_rows} rows of that posterior: "
            f"{', '.join(short_components)}."
        )
    return np.stack(blocks).reshape(-1, COLUMNS, run.n_features)


def _by_class(run: LoadedRun) -> list[int]:
    """Return the components in the order of the classes they match best (VaDE draws one row per digit, 0 to 9)."""
    table = run.assignments()
    if "label" not in table or "posterior" not in table:
        return list(range(run.model.n_components))
    n_components = run.model.n_components
    _, labels = np.unique(table["label"], return_inverse=True)
    counts = np.zeros((n_components, labels.max() + 1))
    np.add.at(counts, (table["posterior"], labels), 1)
    return [int(k) for k in np.argsort(counts.argmax(axis=1), kind="stable")]


def _members(panels: Sequence[Panel], remarks: list[str]) -> Figure:
    """Draw ten rows of the data from each cluster, picked at random by the run's seed."""
    pictures = []
    for panel in panels:
        run = open_run(panel.run)
        split, table = run.training_data(), run.assignments()
        generator = np.random.default_rng(run.config.seed)
        blocks = []
        for k in _by_class(run):
            members = np.flatnonzero(table[panel.head] == k)
            rows = generator.permutation(members)[:COLUMNS]
            images = np.full((COLUMNS, run.n_features), np.nan)
            images[: len(rows)] = run.preparation.undo(np.asarray(split.x[rows]))
            if not len(members):
                remarks.append(f"{panel.title}: cluster {k} has no rows.")
            blocks.append(images)
        pictures.append((f"K = {panel.title}", np.stack(blocks)))
    return _mosaics(pictures)


def _mosaics(pictures: Sequence[tuple[str, Array]]) -> Figure:
    """Draw blocks of square images: one block per title, one line per cluster, one white pixel between images."""
    side = int(np.sqrt(pictures[0][1].shape[-1]))
    if side * side != pictures[0][1].shape[-1]:
        raise DeepmixError(f"rows of {pictures[0][1].shape[-1]} columns are not square images")
    across = 2
    down = -(-len(pictures) // across)
    heights = [max(len(block) for _, block in pictures[i : i + across]) for i in range(0, len(pictures), across)]
    figure = Figure(figsize=(4.0 * across, sum(0.4 * height + 0.4 for height in heights)), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, height_ratios=heights)
    for axes, (title, block) in zip(grid.flat, pictures, strict=False):
        images = np.pad(
            block.reshape(*block.shape[:2], side, side), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan
        )
        mosaic = images.transpose(0, 2, 1, 3).reshape(len(images) * (side + 1), COLUMNS * (side + 1))
        axes.imshow(mosaic, cmap="gray", vmin=np.nanmin(mosaic), vmax=np.nanmax(mosaic), interpolation="nearest")
        axes.set_title(title, fontsize="small")
    for axes in grid.flat:
        axes.axis("off")
    return figure


def _embeddings(panels: Sequence[Panel], remarks: list[str]) -> Figure:
    """Draw t-SNE of the test rows' latents, coloured by class above and by right or wrong cluster below."""
    figure = Figure(figsize=(4.0 * len(panels), 8.0), layout="constrained")
    grid = figure.subplots(2, len(panels), squeeze=False)
    for (above, below), panel in zip(grid.T, panels, strict=True):
        run = open_run(panel.run)
        split = run.training_data()
        if split.labels is None:
            raise DeepmixError("the data have no labels to colour by")
        generator = np.random.default_rng(run.config.seed)
        rows = np.sort(generator.permutation(split.test)[:EMBEDDED_ROWS])
        inference = run.infer(split.x[rows])
        perplexity = min(30.0, (len(rows) - 1) / 3)  # scikit-learn's default, if there are enough rows
        layout = TSNE(perplexity=perplexity, random_state=run.config.seed).fit_transform(inference.latent_NM)
        classes, labels = np.unique(split.labels[rows], return_inverse=True)
        right = _is_right(labels, run.clusters(inference, panel.head))
        above.scatter(*layout.T, c=labels, cmap="tab10" if len(classes) <= 10 else "turbo", s=4)
        above.set_title(panel.title, fontsize="small")
        below.scatter(*layout[right].T, c=RIGHT, s=4)
        below.scatter(*layout[~right].T, c=WRONG, s=6)
        below.set_title(f"{100.0 * right.mean():.1f} % of {len(rows)} rows in their class's cluster", fontsize="small")
        for axes in (above, below):
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


def _is_right(labels: Array, clusters: Array) -> Array:
    """Return whether each row's cluster is matched with its class, under the best one-to-one matching."""
    clusters_in_use, numbers = np.unique(clusters, return_inverse=True)
    partner = np.full(len(clusters_in_use), -1)
    rows, columns = linear_sum_assignment(contingency_matrix(labels, clusters), maximize=True)
    partner[columns] = np.unique(labels)[rows]
    right: Array = partner[numbers] == labels
    return right


def _scatter(panels: Sequence[Panel], remarks: list[str]) -> Figure:
    """Draw data of two columns by class, and by each run's clusters in the colours of their matched classes."""
    split = open_run(panels[0].run).training_data()
    if split.x.shape[1] != 2 or split.labels is None:
        raise DeepmixError("only labelled data of two columns are drawn as points")
    blocks: list[tuple[str, Any]] = [("classes", np.unique(split.labels, return_inverse=True)[1])]
    for panel in panels:
        table = open_run(panel.run).assignments()
        clusters, labels = table[panel.head], np.unique(table["label"], return_inverse=True)[1]
        clusters_in_use, numbers = np.unique(clusters, return_inverse=True)
        colours = np.arange(len(clusters_in_use))
        rows, columns = linear_sum_assignment(contingency_matrix(labels, clusters), maximize=True)
        colours[columns] = rows
        blocks.append((f"{panel.title}: {_accuracy(panel):.1f} %", colours[numbers]))
    down = -(-len(blocks) // ACROSS)
    figure = Figure(figsize=(4.0 * ACROSS, 4.0 * down), layout="constrained")
    grid = figure.subplots(down, ACROSS, squeeze=False)
    for axes in grid.flat[len(blocks) :]:
        axes.axis("off")
    for axes, (title, colours) in zip(grid.flat, blocks, strict=False):
        axes.scatter(*split.x.T, c=colours, cmap="tab10", vmin=0, vmax=9, s=3)
        axes.set_title(title, fontsize="small")
        axes.set_aspect("equal", "datalim")
    return figure
