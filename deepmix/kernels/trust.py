"""Whether a folder of compiled libraries is safe to load from: only this user, or root, can have written there.

Loading a library runs its code. So the cache folder, the library and every folder above them must belong to this user
or to root, and nobody else may be able to write there. Folders above may be writable by all where they are sticky, as
/tmp is: there nobody can replace what another user owns. A group may write where it is the user's private group, whose
number is the user's own.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_untrusted(folder: Path) -> str | None:
    """Return why no library may be loaded from a folder, with the cure; None if one may.

    Where the folder is missing, those above it decide whether it can be created safely.
    """
    if not hasattr(os, "geteuid"):  # only POSIX has owners and modes
        return None
    for place in (folder, *folder.absolute().parents):
        fault = _fault(place, is_above=place != folder)
        if fault is not None:
            return (
                f"the kernels in '{folder}' are not loaded, because '{place}' {fault}; set TORCH_EXTENSIONS_DIR to a "
                "folder that only you can write"
            )
    return None


def is_own_file(path: Path) -> bool:
    """Whether only this user, or root, can have written a file."""
    return not hasattr(os, "geteuid") or (path.is_file() and _fault(path, is_above=False) is None)


def _fault(path: Path, *, is_above: bool) -> str | None:
    """Return what is unsafe about a path, in words that follow its name; None if it is safe or missing."""
    try:
        status = path.stat() if is_above else path.lstat()  # a folder above may be a link, whose target counts
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if status.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user (number {status.st_uid})"
    if is_above and status.st_mode & stat.S_ISVTX:
        return None
    is_private_group = status.st_gid == os.getegid() == os.geteuid()
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not is_private_group):
        return "can be written by other users"
    return None
