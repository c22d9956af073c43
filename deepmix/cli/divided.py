"""Tables that the processes of a torchrun job make of their shares of a file's rows, and that the first one writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmix import training
from deepmix.cli.output import STANDARD_OUTPUT, Table, write_tables
from deepmix.cli.terminal import echo
from deepmix.errors import UsageError

if TYPE_CHECKING:  # importing these would import torch, and --help must not wait for that
    from deepmix.data import BlockShare
    from deepmix.training import Ranks

TEXT = "OU"
"""The kinds of type of arrays that are sent as JSON."""


@dataclass(frozen=True)
class Piece:
    """The table that comes of a block of a file's rows."""

    first_row: int
    """Number of the first row in the file, from 0."""
    table: Table
    notes: tuple[str, ...] = ()
    """What the user should know, in words; equal notes are printed once."""
    n_filled: int = 0
    """How many missing cells were filled."""


def share_of(ranks: Ranks, data: Path) -> BlockShare:
    """Return the blocks of a file that this process takes.

    Raises:
        UsageError: several processes would read standard input.

    """
    if ranks.size > 1 and data == STANDARD_OUTPUT:
        raise UsageError("several processes can't share standard input; name a file, or leave out torchrun")
    return ranks.readers.share


def write_pieces(
    out: Path,
    pieces: Iterable[Piece],
    ranks: Ranks,
    *,
    as_json: bool,
    watch: Callable[[Piece], None] | None = None,
) -> int | None:
    """Write the tables of all processes in the order of their rows, and print their notes.

    Args:
        out: the file, or '-' for standard output.
        pieces: those that this process makes.
        ranks: the processes.
        as_json: write lines of JSON, not CSV, if `out` is standard output.
        watch: called with each piece that is written.

    Returns:
        The number of rows written by the first process; None in the others.

    """
    notes: dict[str, None] = {}

    def tables(pieces: Iterable[Piece]) -> Iterator[Table]:
        for piece in pieces:
            if watch is not None:
                watch(piece)
            notes.update(dict.fromkeys(piece.notes))
            yield piece.table

    if ranks.size == 1:
        n_rows: int | None = write_tables(out, tables(pieces), as_json=as_json)
    else:
        messages = training.gathered(ranks, ((piece.first_row, _message(piece)) for piece in pieces))
        received = map(_piece, messages)
        n_rows = write_tables(out, tables(received), as_json=as_json) if ranks.is_first else None
        for _ in received:  # other processes send theirs here
            pass
        ranks.value(lambda: None)  # the others wait until all is written, so that a failure to write is theirs too
    for note in notes:
        echo(f"Note: {note}", err=True)
    return n_rows


def _message(piece: Piece) -> bytes:
    numbers = {name: column for name, column in piece.table.items() if column.dtype.kind not in TEXT}
    texts = {name: column.tolist() for name, column in piece.table.items() if column.dtype.kind in TEXT}
    kinds = {name: column.dtype.kind for name, column in piece.table.items()}
    return training.pack(numbers, [piece.first_row, kinds, texts, piece.notes, piece.n_filled])


def _piece(message: bytes) -> Piece:
    import numpy as np

    numbers, (first_row, kinds, texts, notes, n_filled) = training.unpack(message)
    table: dict[str, Any] = {}
    for name, kind in kinds.items():
        if kind in TEXT:
            table[name] = np.empty(len(texts[name]), dtype=object)
            table[name][:] = texts[name]
            table[name] = table[name].astype(str) if kind == "U" else table[name]
        else:
            table[name] = numbers[name]
    return Piece(first_row, table, tuple(notes), n_filled)
