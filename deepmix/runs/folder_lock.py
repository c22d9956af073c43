"""A lock on a run folder, so that only one process writes in it; the system frees it when its process ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from deepmix.errors import UsageError, option


class FolderLock:
    """The locks that a process holds on folders. They leave no file behind: a folder itself is locked."""

    def __init__(self) -> None:
        self._handles: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._handles)

    def add(self, folder: Path, name: Path) -> None:
        """Lock a folder too, if this system and disk can lock folders.

        Args:
            folder: the folder.
            name: what messages call it.

        Raises:
            UsageError: another process holds its lock.

        """
        try:
            import fcntl  # POSIX only
        except ImportError:
            return
        handle = os.open(folder, os.O_RDONLY)
        self._handles.append(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise UsageError(
                f"another process is writing in '{name}'; wait until it has ended, or choose another {option('out')}"
            ) from error
        except OSError:  # some network disks have no locks
            return

    @contextlib.contextmanager
    def held(self, folder: Path, name: Path) -> Iterator[None]:
        """Lock a folder, and free all locks in the end; the arguments are those of `add`."""
        self.add(folder, name)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Free all of them."""
        while self._handles:
            os.close(self._handles.pop())
