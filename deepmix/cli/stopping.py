"""Signals that end a command: SIGTERM stops it as Ctrl-C does, and both within two seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from deepmix.cli import torchrun

SECONDS_TO_STOP = 1.5
"""A command that has not ended this long after a signal, because a library computes on, is ended on the spot.

Whatever moment that is, its run can be resumed: it writes each file whole or not at all.
"""

SECONDS_OF_HELPERS = 0.1
"""The same for the processes beside the first one of a torchrun job. They write nothing, and the first one, if it waits
for them, then ends by itself."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has arrived."""


@contextlib.contextmanager
def stopping_soon() -> Iterator[None]:
    """Let SIGTERM end what runs inside as Ctrl-C does, and let neither wait for a library that computes.

    Python handles a signal only between two of its own instructions. A thread that the system wakes at once ends the
    process if that takes too long.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(reading, finished), daemon=True, name="deepmix signals")
    earlier = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _raise_terminated)
    watcher.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(earlier)
        finished.set()
        os.close(writing)
        watcher.join()


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _watch(reading: int, finished: threading.Event) -> None:
    """End the process if a signal has arrived and the command has not ended soon after."""
    seconds = SECONDS_TO_STOP if torchrun.is_first() else SECONDS_OF_HELPERS
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] in (signal.SIGINT, signal.SIGTERM) and not finished.wait(seconds):
                with contextlib.suppress(OSError):
                    if not torchrun.is_first():
                        os._exit(exit_status(number[0]))
                    os.write(2, b"\nStopped; resume a run that had begun with: deepmix train --resume --out FOLDER\n")
                os._exit(exit_status(number[0]))


def exit_status(number: int) -> int:
    """Return the shell's status for a command that a signal ended."""
    return 128 + number


SIGNAL_STATUSES = (exit_status(signal.SIGINT), exit_status(signal.SIGTERM))
"""The statuses of a command that Ctrl-C or SIGTERM has stopped."""


def end_now(status: int) -> NoReturn:
    """End this process without taking down the interpreter; what it has printed is shown."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
