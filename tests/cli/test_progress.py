from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from deepmix.cli.progress import LiveReporter, PlainReporter, StepTimes, epoch_text
from deepmix.runs import EpochRecord

ROW = EpochRecord(
    stage="train",
    epoch=3,
    elbo=-21.5,
    terms={"reconstruction": -18.25, "tie_strength": 0.5},
    clusters_in_use=7,
    lr=0.1,
    seconds=1.0,
)


def test_the_line_of_an_epoch_has_as_many_terms_as_there_is_room_for():
    whole = "ELBO -21.50  7 clusters  reconstruction -18.25  tie strength 0.50"
    assert epoch_text(ROW) == whole
    assert epoch_text(ROW, room=len(whole)) == whole
    assert epoch_text(ROW, room=len(whole) - 1) == "ELBO -21.50  7 clusters  reconstruction -18.25"
    assert epoch_text(ROW, room=0) == "ELBO -21.50  7 clusters"


def test_the_line_of_a_pretraining_epoch_is_its_log_likelihood():
    assert epoch_text(EpochRecord(stage="pretrain", epoch=1, elbo=-3.0, lr=0.1, seconds=1.0)) == "ELBO -3.00"


def test_the_time_left_is_what_the_rest_takes_at_the_speed_of_the_steps_so_far():
    steps = StepTimes()
    assert steps.seconds_left(100.0) is None
    steps.step(100.0, 0.1)
    assert steps.seconds_left(107.0) is None
    steps.step(108.0, 0.3)  # 0.2 in 8 s, so 0.7 in 28 s
    assert steps.seconds_left(108.0) == pytest.approx(28.0)
    assert steps.seconds_left(120.0) == pytest.approx(16.0)
    assert steps.seconds_left(137.0) is None  # the step takes longer than expected
    steps.step(140.0, 0.9)
    assert steps.seconds_left(141.0) == pytest.approx(4.0)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still unless it is set, and that the reporters read."""
    clock = Clock()
    monkeypatch.setattr("deepmix.cli.progress.time", clock)
    return clock


class Clock:
    """A module `time` whose time is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_without_a_terminal_a_step_has_a_line_if_the_last_one_is_ten_seconds_old(clock, capsys):
    reporter = PlainReporter()
    reporter.start("initial clustering", 0)
    for seconds, name, fraction in ((0, "kmeans", 0.0), (9, "ward", 0.3), (12, "spectral-5", 0.4), (13, "cut", 0.9)):
        clock.now = float(seconds)
        reporter.step(name, fraction)
    assert capsys.readouterr().err.splitlines() == ["initial clustering", "  spectral-5  12 s, about 18 s left"]


def on_terminal(clock, events) -> list[str]:
    """Return the last stage's line after each event that a live reporter gets at a time, without its bar."""
    reporter = LiveReporter(Console(file=io.StringIO(), force_terminal=True, width=100, get_time=clock.monotonic))
    lines = []
    try:
        for clock.now, event in events:
            event(reporter)
            console = Console(file=io.StringIO(), width=140)
            console.print(reporter._progress.get_renderable())
            lines.append(console.file.getvalue().splitlines()[-1])
    finally:
        reporter.close()
    return [" ".join(re.sub(r"^\W+|[━╸╺]", "", line).split()) for line in lines]


def test_on_a_terminal_a_step_has_its_name_and_the_time_left(clock):
    lines = on_terminal(
        clock,
        [
            (0.0, lambda reporter: reporter.start("initial clustering", 0)),
            (1.0, lambda reporter: reporter.step("kmeans", 0.0)),
            (11.0, lambda reporter: reporter.step("ward", 0.25)),
            (21.0, lambda reporter: None),
            (31.0, lambda reporter: reporter.start("train", 200)),
        ],
    )
    assert lines == [
        "initial clustering 0:00:00",
        "initial clustering 0 % kmeans 0:00:01 -:--:--",
        "initial clustering 25 % ward 0:00:11 0:00:30",
        "initial clustering 25 % ward 0:00:21 0:00:20",
        "train 0/200 0:00:00 -:--:--",
    ]


def test_on_a_terminal_an_epoch_has_its_number_and_figures(clock):
    events = [
        (0.0, lambda reporter: reporter.start("train", 200)),
        (5.0, lambda reporter: reporter.epoch("train", ROW)),
        (6.0, lambda reporter: reporter.start("heads", 0)),
    ]
    assert on_terminal(clock, events)[1:] == ["train 3/200 ELBO -21.50 7 clusters 0:00:05 -:--:--", "heads 0:00:00"]


def test_the_name_of_a_step_can_not_drive_the_terminal(clock):
    events = [
        (0.0, lambda reporter: reporter.start("initial clustering", 0)),
        (1.0, lambda reporter: reporter.step("[/red]\x1b[2Jgone", 0.5)),
    ]
    assert on_terminal(clock, events)[1] == "initial clustering 50 % [/red]\\u001b[2Jgone 0:00:01 -:--:--"
