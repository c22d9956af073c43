"""The fuzzer: it feeds every reader with damaged files, and reports every answer that is not a result or a sentence.

Case number `i` of seed `s` is the same in every process, so one can be repeated:

    python -m tests.fuzz --cases 1000000 --seed 7 --log fuzz.jsonl
    python -m tests.fuzz --cases 1 --first 123456 --seed 7 --keep found/

An answer is wrong if it is an exception other than a DeepmixError, takes more CPU time than MOST_SECONDS, takes more
memory than MOST_BYTES, or is a DeepmixError for want of memory. All files are small, and so are the sizes they may
declare.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from deepmix.errors import DeepmixError
from tests.fuzz import arrays, published, saved, tables
from tests.fuzz.target import Target

TARGETS = (*arrays.TARGETS, *tables.TARGETS, *published.TARGETS, *saved.TARGETS)


MOST_SECONDS = 10.0
"""A file of a few kilobytes that takes more CPU time hangs; a busy machine doesn't change it."""


MOST_BYTES = 200_000_000
"""A case that raises the process's peak memory by more than this allocates what a file declares and does not hold."""


LONGEST_SENTENCE = 2500
"""Most characters of a message."""


@dataclass(frozen=True)
class Finding:
    """A case with a wrong answer."""

    case: int
    target: str
    kind: str
    """The kind of exception, 'hang' or 'memory', with the place in the sources where it was raised."""
    text: str
    content: bytes


@dataclass
class Tally:
    """What the cases gave."""

    results: Counter[str] = field(default_factory=Counter)
    """How many files were read, by target."""
    refusals: Counter[str] = field(default_factory=Counter)
    """How many files were refused with a sentence, by target."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def n_cases(self) -> int:
        """Number of cases so far."""
        return self.results.total() + self.refusals.total() + len(self.findings)


class _HangError(BaseException):
    """The time for a case is over; a BaseException, so that no reader turns it into a sentence."""


def chosen_targets(names: Collection[str] = ()) -> list[Target]:
    """Return the targets with these names; all of them if there are none."""
    unknown = set(names) - {target.name for target in TARGETS}
    if unknown:
        raise SystemExit(
            f"unknown target '{min(unknown)}'; choose from: {', '.join(target.name for target in TARGETS)}"
        )
    return [target for target in TARGETS if not names or target.name in names]


def cases(first: int, number: int, seed: int, targets: list[Target]) -> Iterator[tuple[int, Target, Random]]:
    """Yield the number, the target and the random generator of each case."""
    weights = [target.weight for target in targets]
    for case in range(first, first + number):
        random = Random(f"{seed} {case}")
        yield case, random.choices(targets, weights)[0], random


def fuzz(number: int, seed: int, *, first: int = 0, names: Collection[str] = ()) -> Iterator[Tally]:
    """Run cases and yield the tally so far after each.

    Args:
        number: how many cases.
        seed: together with a case's number, decides its file and how it is read.
        first: the number of the first case.
        names: names of targets; all targets if empty.

    """
    tally, targets = Tally(), chosen_targets(names)
    memory = Path("/dev/shm")  # files there are written in half the time
    place = str(memory) if os.access(memory, os.W_OK) else None
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="deepmix-fuzz-", dir=place))
        stack.enter_context(_alarms())
        stack.enter_context(warnings.catch_warnings())
        stack.callback(gc.unfreeze)
        warnings.simplefilter("ignore")
        files = {target.name: Path(folder, target.name, target.file) for target in targets}
        for file in files.values():
            file.parent.mkdir()
        peak = 0
        for n_done, (case, target, random) in enumerate(cases(first, number, seed, targets)):
            content = target.make(random)
            path = files[target.name]
            path.unlink(missing_ok=True)  # a new file: one that is mapped into memory must not change
            path.write_bytes(content)
            if n_done < 2000:
                peak = 0  # libraries are loaded during the first cases
            elif n_done == 2000:
                gc.freeze()  # what they made is not searched for garbage again and again
            peak = peak or _peak_bytes()
            wrong = _answer(target, path, random, tally)
            now = _peak_bytes()
            grown, peak = now - peak, max(peak, now)
            if wrong is None and grown > MOST_BYTES:
                wrong = "memory", f"peak memory grew by {grown / 1e6:.0f} MB"
            if wrong is not None:
                tally.findings.append(Finding(case, target.name, *wrong, content))
            if n_done % 5000 == 0:
                gc.collect()
            yield tally


def _answer(target: Target, path: Path, random: Random, tally: Tally) -> tuple[str, str] | None:
    """Read a file and count the answer; return what is wrong with it, or None."""
    try:
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            target.read(path, random)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _HangError:
        return "hang", traceback.format_exc()
    except DeepmixError as error:
        if isinstance(error.__cause__, MemoryError):
            return "memory", traceback.format_exc()
        message = str(error)
        if len(message) > LONGEST_SENTENCE or not message.strip():
            return "sentence", f"a message of {len(message)} characters: {message[:300]} ..."
        tally.refusals[target.name] += 1
        return None
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(entry.filename).name}:{entry.lineno}" for entry in frame if "deepmix" in entry.filename]
        return f"{type(error).__name__} at {ours[-1] if ours else '?'}", traceback.format_exc()
    tally.results[target.name] += 1
    return None


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _alarms() -> Iterator[None]:
    """Raise a hang in Python code after MOST_SECONDS, and print where a crash of native code was."""

    def ring(number: int, frame: Any) -> None:
        raise _HangError

    was_enabled = faulthandler.is_enabled()
    if not was_enabled:
        faulthandler.enable()
    old = signal.signal(signal.SIGPROF, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, old)
        if not was_enabled:
            faulthandler.disable()
