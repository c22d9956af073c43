"""The kits of plugins that are not parts of a model: metrics, report sections, trackers, commands and file formats."""

from __future__ import annotations

import abc
import inspect
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.contracts import FileRows, Format, Tracker
from deepmix.errors import DeepmixError
from deepmix.metrics import Clustering, Metric
from deepmix.testing.clauses import PluginKit, clause
from deepmix.testing.command_line import N_ROWS, NAME, register, run_commands

VADE = ["--model", "vade", "--init", "kmeans"]


class ExtensionKit(PluginKit):
    """The clauses of plugins that every run has, or that it names by an option."""

    def train_words(self, name: str) -> list[str]:
        """Return the words of a usual run."""
        return VADE


class MetricKit(ExtensionKit):
    """The kit of a metric: set `part` to the `Metric`."""

    kind = "metrics"

    def examine(self, folder: Path, output: str) -> None:
        """Check that the run's results have the metric, unless it needs labels, which these rows do not have."""
        if not self.part.needs_labels and f'"{NAME}"' not in (folder / "run" / "metrics.json").read_text("utf-8"):
            raise AssertionError("metrics.json of a run does not have the metric")

    @clause("fill in title and explanation of deepmix.metrics.Metric")
    def test_summary(self) -> None:
        """The plugin is a Metric with a title and an explanation, which the report shows."""
        if not (isinstance(self.part, Metric) and self.part.title and self.part.explanation):
            raise AssertionError(f"{self.part!r} must be a deepmix.metrics.Metric with a title and an explanation")

    @clause("return None where the figure is undefined, and float(...) elsewhere")
    def test_contract(self) -> None:
        """The result of `compute` is a number or None, also for one cluster, noise (-1) and weights of the rows."""
        label_N = np.repeat(np.arange(3), 20)
        latent_NM = (np.eye(3)[label_N] * 9.0 + np.random.default_rng(0).normal(size=(60, 3))).astype(np.float32)
        for cluster_N in (label_N, np.zeros(60, dtype=np.int64), np.where(label_N == 2, -1, label_N)):
            for weight_N in (None, np.linspace(0.5, 1.5, 60)):
                value = self.part.compute(Clustering(cluster_N, label_N, latent_NM, 0, weight_N))
                if not (value is None or (isinstance(value, int | float) and np.isfinite(value))):
                    raise AssertionError(f"compute returned {value!r}")


class SectionKit(ExtensionKit):
    """The kit of a report section: set `part` to the function."""

    kind = "sections"

    def examine(self, folder: Path, output: str) -> None:
        """Check that no section failed."""
        page = (folder / "run" / "report.html").read_text("utf-8")
        if f"Section {NAME}" in page:
            raise AssertionError("the report says that the section could not be written; call it to see why")

    @clause("define it as `def my_section(material: Material) -> Section | None`")
    def test_contract(self) -> None:
        """The plugin is a function of one argument, the report's material."""
        if not callable(self.part) or len(inspect.signature(self.part).parameters) != 1:
            raise AssertionError(f"{self.part!r} does not take one argument")


class TrackerKit(ExtensionKit):
    """The kit of a tracker: set `part` to the class."""

    kind = "trackers"

    def train_words(self, name: str) -> list[str]:
        """Return the words that request the tracker."""
        return [*VADE, "--track", name]

    def examine(self, folder: Path, output: str) -> None:
        """Check that the tracker was not switched off."""
        for line in output.splitlines():
            if f"tracker '{NAME}' failed" in line:
                raise AssertionError(line)

    @clause("compare with the docstrings of deepmix.contracts.Tracker")
    def test_contract(self) -> None:
        """The plugin takes the events of a run with a folder; and of one in memory, or it says what it needs."""
        if not (isinstance(self.part, type) and issubclass(self.part, Tracker)):
            raise AssertionError(f"{self.part!r} must be a subclass of deepmix.contracts.Tracker")
        with tempfile.TemporaryDirectory() as name:
            for folder in (Path(name), None):
                make: Any = self.part
                try:
                    tracker = make(self.options())
                except DeepmixError as error:  # a package that only this tracker needs may be missing
                    raise unittest.SkipTest(str(error)) from error
                try:
                    tracker.run_started({"requested": {"model": "vade"}}, folder)
                except DeepmixError:
                    if folder is not None:
                        raise
                    continue
                tracker.epoch("train", {"epoch": 1, "elbo": -3.5, "terms": {"reconstruction": -3.0}})
                tracker.finished({"heads": {}, "seconds": 1.0}, folder)
                tracker.stopped("interrupted")


class CommandKit(PluginKit):
    """The kit of a command: set `part` to the `click.Command`."""

    kind = "commands"

    @clause("write the docstring of the function that is the command")
    def test_summary(self) -> None:
        """The command has a help text, whose first line `deepmix --help` shows."""
        if not getattr(self.part, "help", None):
            raise AssertionError(f"{self.part!r} has no help text")

    @clause("decorate a function by @click.command()")
    def test_command_line(self) -> None:
        """`deepmix NAME --help` shows the command's help."""
        with tempfile.TemporaryDirectory() as name:
            register(Path(name), self.kind, self.part)
            output = run_commands(Path(name), [[NAME, "--help"]])
            if f"deepmix {NAME}" not in output:
                raise AssertionError(f"deepmix {NAME} --help printed: {output[:200]}")


class FormatKit(ExtensionKit, abc.ABC):
    """The kit of a file format: set `part` to the class, and write a file of the format in `write_file`."""

    kind = "formats"

    @abc.abstractmethod
    def write_file(self, path: Path, x_ND: Any) -> None:
        """Write rows, (N, D) float32, to a file of the format."""

    def write_rows(self, folder: Path) -> str:
        """Write three groups of rows."""
        group_ND = np.eye(3, 12)[np.arange(N_ROWS) % 3]
        noise_ND = np.random.default_rng(0).normal(size=group_ND.shape)
        self.write_file(folder / f"rows.{NAME}", (6.0 * group_ND + noise_ND).astype(np.float32))
        return f"rows.{NAME}"

    @clause("compare with the docstrings of deepmix.contracts.Format and FileRows")
    def test_contract(self) -> None:
        """The result of `read` is FileRows with the rows that the file has."""
        if not (isinstance(self.part, type) and issubclass(self.part, Format)):
            raise AssertionError(f"{self.part!r} must be a subclass of deepmix.contracts.Format")
        with tempfile.TemporaryDirectory() as name:
            path = Path(name, self.write_rows(Path(name)))
            make: Any = self.part
            rows = make(self.options()).read(path, None)
        if not isinstance(rows, FileRows) or rows.x.shape != (N_ROWS, 12):
            raise AssertionError(f"read must return FileRows of ({N_ROWS}, 12), got {rows!r:.200}")
