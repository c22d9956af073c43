"""Fetches published files into the data folder: by https, checked by digest, written whole or not at all.

A download ends at a size and after a time that follow from the published size, whatever the host sends.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from deepmix.errors import DeepmixError, UsageError, option

CHUNK_BYTES = 1 << 18
"""How many bytes are read at a time: enough for speed, few enough for a progress bar that moves."""


TIMEOUT_SECONDS = 30.0
"""A host that sends nothing for this long is given up."""


SCHEMES = ("https",)
"""How an address may begin, also after a redirection."""


MOST_TIMES_LARGER = 1.5
"""A file larger than this times its collection's published size, which may be approximate, is another file."""


LEAST_BYTES_PER_SECOND, LEAST_SECONDS = 30_000, 600.0
"""A download slower than this is given up, but none before it has had this time."""


MEGABYTE = 1e6


@dataclass(frozen=True)
class RemoteFile:
    """A published file that never changes."""

    name: str
    """Its name in the data folder."""
    sha256: str | None
    """The SHA-256 of its bytes, in hexadecimal. None where none is published: never fetched."""
    urls: tuple[str, ...]
    """The addresses it is published at, in the order in which they are tried."""


@dataclass(frozen=True)
class Collection:
    """The published files that make a data set."""

    name: str
    """The data set's name, which is also the name of its folder below the data folder."""
    files: tuple[RemoteFile, ...]
    n_bytes: int
    """Their total size as published. It is announced before a download; what is checked are the digests."""

    @property
    def size(self) -> str:
        """Their total size in words."""
        return f"{self.n_bytes / MEGABYTE:,.1f} MB"


class _RefusedError(Exception):
    """A file can't be fetched; the message says why."""


def obtain(collection: Collection, data_dir: Path, *, download: bool, prepared: str) -> dict[str, Path]:
    """Return the paths of the collection's files by name, verified; fetch the missing ones.

    Args:
        collection: the files; each is looked for in `data_dir/NAME/`, then in `data_dir`.
        data_dir: the user's data folder; it exists.
        download: whether missing files may be fetched.
        prepared: the file that can stand in for all of them, for the message.

    Raises:
        UsageError: files are missing and `download` is false, or the folder can't be written or is too full.
        DeepmixError: a file can't be fetched or is not the published one; nothing half-written is left.

    """
    folder = data_dir / collection.name
    paths: dict[str, Path] = {}
    for file in collection.files:
        path = next((place / file.name for place in (folder, data_dir) if (place / file.name).is_file()), None)
        if path is not None:
            if file.sha256 is not None and (wrong := _mismatch(path, file.sha256)):
                raise DeepmixError(f"'{path}' is not the published file ({wrong}); remove it, and it is fetched again")
            paths[file.name] = path
    missing = [file for file in collection.files if file.name not in paths]
    if not missing:
        return paths
    if not download:
        raise UsageError(_by_hand(collection, missing, data_dir, prepared, "and is not fetched: download is false"))
    if any(file.sha256 is None for file in missing):
        why = "and is not fetched, because its publisher states no SHA-256 to check it by"
        raise UsageError(_by_hand(collection, missing, data_dir, prepared, why))
    try:
        folder.mkdir(exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UsageError(
            f"the data folder '{data_dir}' can't be written ({error.strerror}); "
            f"choose another with {option('data_dir')}"
        ) from error
    if free < collection.n_bytes - sum(path.stat().st_size for path in paths.values()):
        raise UsageError(
            f"data set '{collection.name}' takes {collection.size} and there are {free / MEGABYTE:,.1f} MB free in "
            f"'{data_dir}'; choose another folder with {option('data_dir')}"
        )
    console = Console(stderr=True)
    console.print(
        f"fetching data set '{collection.name}' into '{folder}': {', '.join(file.name for file in missing)} "
        f"({'of ' if paths else ''}{collection.size})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    try:
        for file in missing:
            paths[file.name] = _fetch_from_any(file, folder, console, int(collection.n_bytes * MOST_TIMES_LARGER))
    except _RefusedError as refusal:
        raise DeepmixError(_by_hand(collection, missing, data_dir, prepared, f"and {refusal}")) from refusal
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    return paths


def _fetch_from_any(file: RemoteFile, folder: Path, console: Console, most_bytes: int) -> Path:
    """Download one file from the first address that gives it."""
    reasons = []
    for url in file.urls:
        try:
            return _fetch(file, url, folder, console, most_bytes)
        except _RefusedError as refusal:
            reasons.append(f"{urllib.parse.urlsplit(url).netloc}: {refusal}")
    raise _RefusedError(f"{file.name} can't be fetched ({'; '.join(reasons)})")


def _fetch(file: RemoteFile, url: str, folder: Path, console: Console, most_bytes: int) -> Path:
    """Download one file beside its place, verify it and put it there."""
    try:
        handle, name = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=folder)
    except OSError as error:
        raise UsageError(
            f"the folder '{folder}' can't be written ({error.strerror}); choose another with {option('data_dir')}"
        ) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as target:
            _stream(url, target.write, console, file.name, most_bytes)
            target.flush()
            os.fsync(target.fileno())
        assert file.sha256 is not None
        if wrong := _mismatch(temporary, file.sha256):
            raise _RefusedError(f"not the published file, {wrong}")
        os.replace(temporary, folder / file.name)
    finally:
        temporary.unlink(missing_ok=True)
    return folder / file.name


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to an address that could have been asked in the first place."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request for the new address."""
        _require_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_scheme(url: str) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise _RefusedError(f"'{scheme}' addresses are not safe; only {' and '.join(SCHEMES)} is used")


def _stream(url: str, write: Callable[[bytes], Any], console: Console, name: str, most_bytes: int) -> None:
    """Write the body of a response, with a progress bar where there is a terminal.

    Args:
        url: the address.
        write: takes the bytes.
        console: shows the progress.
        name: the file's name.
        most_bytes: the download is given up after so many, and after the time that they take at the least speed.

    """
    _require_scheme(url)
    most_seconds = max(LEAST_SECONDS, most_bytes / LEAST_BYTES_PER_SECOND)
    opener, start = urllib.request.build_opener(_SafeRedirects), time.monotonic()
    request = urllib.request.Request(url, headers={"User-Agent": "deepmix"})  # some hosts refuse Python's own name
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response, bar:
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            task, received = bar.add_task(name, total=total), 0
            while chunk := _read(response):
                received += len(chunk)
                if received > most_bytes:
                    raise _RefusedError(f"more than {most_bytes:,} bytes, so it is not the published file")
                if time.monotonic() - start > most_seconds:
                    raise _RefusedError(f"still not whole after {most_seconds:,.0f} s, {received:,} bytes so far")
                write(chunk)
                bar.update(task, completed=received)
    except urllib.error.HTTPError as error:
        raise _RefusedError(f"HTTP status {error.code}") from error
    except urllib.error.URLError as error:
        raise _RefusedError(str(error.reason)) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise _RefusedError(_in_words(error)) from error
    if total is not None and received < total:
        raise _RefusedError(f"broke off after {received:,} of {total:,} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return the next bytes of a response."""
    try:
        return response.read(CHUNK_BYTES)
    except OSError as error:  # caught here and not in `_stream`, where it would also be an error of writing
        raise _RefusedError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _mismatch(path: Path, sha256: str) -> str:
    """Return how a file's digest differs from the published one; empty if it does not."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if actual == sha256 else f"its SHA-256 is {actual}, {sha256} was published"


def _by_hand(collection: Collection, missing: Sequence[RemoteFile], data_dir: Path, prepared: str, why: str) -> str:
    """Return the sentence that says which file to put where."""
    bases = {file.urls[0].removesuffix(file.name) for file in missing}
    sources = ", ".join(f"{file.name} (from {file.urls[0]})" for file in missing)
    if len(bases) == 1:
        sources = f"{', '.join(file.name for file in missing)} (from {bases.pop()})"
    return (
        f"data set '{collection.name}' is not in the data folder {why}; put {prepared} into '{data_dir}', "
        f"or into '{data_dir / collection.name}': {sources}"
    )
