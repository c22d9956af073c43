"""What every kit shares: a clause is a test whose failure names what the contract says and the cure.

Kits are plain classes: pytest collects a subclass whose name begins with `Test`, and `deepmix plugin check` runs one
without pytest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import sys
import unittest
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from deepmix.contracts import NoOptions, build_options, describe, registry
from deepmix.testing.command_line import check_command_line, write_example

Clause = Callable[[Any], None]
PREFIX = "test_"
SEED = 2017
"""Seed of what clauses draw; no seed that plugins are built with, whose initial weights would be the same numbers."""


def clause(cure: str) -> Callable[[Clause], Clause]:
    """Mark a method of a kit as a clause of the contract.

    The first line of its docstring is what the contract says. The method raises any error if the plugin breaks it, and
    `unittest.SkipTest` where it can't be tested. Random numbers are the same in every call.

    Args:
        cure: what the author should do about a failure.

    """

    def mark(test: Clause) -> Clause:
        @functools.wraps(test)
        def checked(self: PluginKit) -> None:
            with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(sys.stderr):
                torch.manual_seed(SEED)
                try:
                    test(self)
                except unittest.SkipTest:
                    raise
                except (Exception, SystemExit) as error:  # code that is not ours may fail in any way
                    reason = " ".join(str(error).split()) or "no message"
                    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                    raise AssertionError(
                        f"the contract says: {sentence_of(test)}; {kind}{reason.rstrip('.')}. Cure: {cure}"
                    ) from error

        setattr(checked, "is_clause", True)  # noqa: B010 - a function has no declared attributes
        return checked

    return mark


def sentence_of(test: Clause) -> str:
    """Return what a clause says: the first line of its docstring, without the full stop."""
    return (test.__doc__ or "").strip().split("\n")[0].rstrip(".")


class PluginKit:
    """The clauses that plugins of every kind keep; a subclass sets `part`, and each kind has its own kit."""

    kind: ClassVar[str]
    """The kind of plugin, as in `deepmix.contracts.registry.KINDS`."""
    part: ClassVar[Any]
    """The plugin: a class, or what else its entry point names."""
    settings: ClassVar[Mapping[str, str]] = {}
    """Values of options that the plugin is tested with, as `--set` takes them."""
    rows: ClassVar[Literal["real", "unit", "positive", "count", "level"]] = "real"
    """Values of the rows that the run through the command line is trained on."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if inspect.isfunction(vars(cls).get("part")):  # a factory of clusterers must not become a method
            cls.part = staticmethod(cls.part)

    def defaults(self) -> Any:
        """Return the default options of the plugin."""
        return self.part.Options() if hasattr(self.part, "Options") else NoOptions()

    def options(self) -> Any:
        """Return the options that the plugin is tested with."""
        return build_options({"part": self.defaults()}, self.settings)["part"]

    def train_words(self, name: str) -> list[str]:
        """Return the words of `deepmix train` that choose the plugin, which is registered under this name."""
        raise NotImplementedError

    def write_rows(self, folder: Path) -> str:
        """Write a file for the run through the command line, and return its name."""
        return write_example(folder, self.rows)

    def examine(self, folder: Path, output: str) -> None:
        """Raise an AssertionError if the run in `folder` or what its commands printed lacks what it should have."""

    def can_predict(self) -> bool:
        """Whether a run with the plugin can cluster new rows."""
        return True

    @clause("begin the docstring with one line that says what the plugin is")
    def test_summary(self) -> None:
        """The first line of the docstring is a summary, which listings show."""
        inherited = isinstance(self.part, type) and not vars(self.part).get("__doc__")
        if inherited or not registry.summarize(self.part):
            raise AssertionError(f"{registry.singular(self.kind)} {_name(self.part)} has no docstring")

    @clause('declare each as `name: type = field(default=..., metadata={"help": "..."})` in a frozen dataclass')
    def test_options(self) -> None:
        """Options is a dataclass; every field has a default, and a help text."""
        defaults = self.defaults()
        if not dataclasses.is_dataclass(defaults):
            raise AssertionError(f"{type(defaults).__name__} is not a dataclass")
        for field in dataclasses.fields(defaults):
            if not field.metadata.get("help"):
                raise AssertionError(f"option '{field.name}' has no help text")
        for name, _, text, _ in describe(defaults):
            if isinstance(getattr(defaults, name), int | float | str):
                build_options({"part": defaults}, {name: text})

    @clause("repeat the command in the message in an empty folder to see it fail")
    def test_command_line(self) -> None:
        """From the command line, a run trains two epochs, resumes to the same bits, predicts, exports and reports."""
        check_command_line(self)


@dataclass(frozen=True)
class ClauseResult:
    """The result of one clause of a kit."""

    kind: str
    name: str
    clause: str
    state: Literal["ok", "failed", "skipped"]
    text: str
    """What is wrong and the cure, or why the clause was skipped."""


def run_kit(kit_class: type[PluginKit], name: str, without: Collection[str] = ()) -> list[ClauseResult]:
    """Run a kit without pytest, and return the result of each clause.

    Args:
        kit_class: the kit, with its `part`.
        name: the plugin's name, for the results.
        without: names of clauses that are left out.

    """
    results = []
    for clause_name, test in _clauses(kit_class):
        if clause_name in without:
            continue
        state: Literal["ok", "failed", "skipped"] = "ok"
        text = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                test(kit_class())
        except unittest.SkipTest as reason:
            state, text = "skipped", str(reason)
        except AssertionError as error:
            state, text = "failed", str(error)
        results.append(ClauseResult(registry.singular(kit_class.kind), name, clause_name, state, text))
    return results


def _clauses(kit_class: type[PluginKit]) -> Iterator[tuple[str, Clause]]:
    """Yield the clauses of a kit by name, those of its bases first."""
    names = dict.fromkeys(name for base in reversed(kit_class.__mro__) for name in vars(base))
    for name in names:
        test = getattr(kit_class, name)
        if name.startswith(PREFIX) and getattr(test, "is_clause", False):
            yield name.removeprefix(PREFIX).replace("_", "-"), test


def _name(part: Any) -> str:
    return str(getattr(part, "__qualname__", repr(part)))
