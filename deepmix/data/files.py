"""Reads NumPy's files, folders of images and tables as arrays, whole for training or in blocks for new rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepmix.data.arrange import arrange_rows
from deepmix.data.arrange_table import arrange_table, has_gaps, numbered_frame
from deepmix.data.block_share import ONE_READER, WHOLE, BlockShare, Readers
from deepmix.data.file_problems import reading
from deepmix.data.frame_arrays import frame_row_names, frame_to_array
from deepmix.data.frames import TABLE_SUFFIXES, first_row, is_table_file, open_frames, read_frame
from deepmix.data.image_folder import ImageFolder
from deepmix.data.numpy_files import NpyFile, NpzFile
from deepmix.data.split import Split
from deepmix.data.split_options import SplitOptions
from deepmix.data.table_file import LabelColumn, TableFile
from deepmix.data.table_options import TableOptions
from deepmix.errors import UsageError, option

READERS: dict[str, Callable[[ExitStack, Path, LabelColumn], TableFile]] = {".npy": NpyFile, ".npz": NpzFile}
"""What opens a file of arrays, by how its name ends in lower case."""


SUFFIXES = (*READERS, *TABLE_SUFFIXES)
"""How the names of data files end."""


@dataclass(frozen=True)
class Blocks:
    """A file's rows, block by block."""

    columns: list[str] | None
    """Names of the columns, where the file has them."""
    numbered: Iterator[tuple[int, Any]]
    """The number of a block's first row in the file, and the block, an (n, D) array or CSR matrix; in order.

    Taking the next one raises a UsageError or DeepmixError at what can't be read.
    """

    @property
    def rows(self) -> Iterator[Any]:
        """The blocks without their numbers."""
        return (block for _, block in self.numbered)


def load_file(path: Path, label_column: str | None, options: SplitOptions, readers: Readers = ONE_READER) -> Split:
    """Read a file of arrays, a folder of images, or a table whose columns are numbers, for training.

    Args:
        path: the file or folder.
        label_column: name of the label column of a table or key of a .npz file ('y' if there), or the number of a
            column, from 1.
        options: scaling and split.
        readers: the processes that share the passes over rows that stay on disk.

    Raises:
        UsageError: the file is missing, of another kind, or its contents can't be used.
        DeepmixError: the file is damaged.

    """
    label = LabelColumn(label_column)
    if is_table_file(path):
        if options.storage == "disk":
            raise UsageError(
                f"'{path.name}' is read as an array of numbers, which can't stay on disk; save it as a .npy file, or "
                f"leave out {option('scale')} and {option('image_shape')}"
            )
        frame = read_frame(path, names=() if label_column is None else (label_column,))
        (rows, labels), columns = frame_to_array(frame, label, f"'{path.name}'")
        split = arrange_rows(rows, labels, options, columns=columns)
        return dataclasses.replace(
            split, warnings=(*frame.attrs["notes"], *split.warnings), row_names=frame_row_names(frame)
        )
    with ExitStack() as stack, reading(path):
        table = _open_arrays(stack, path, label)
        stored = table.stored() if options.stays_on_disk(table.n_values) else None
        if stored is None and options.storage == "disk":
            raise UsageError(
                f"the rows of '{path.name}' can't stay on disk; save them as a .npy file, or leave out "
                f"{option('storage')}"
            )
        rows, labels = stored or table.whole()
        with_gaps = options.takes_tables and has_gaps(rows)
    if with_gaps:
        frame = numbered_frame(rows)
        return arrange_table(
            frame, options, TableOptions(), labels=labels, n_train=table.n_train, name=f"'{path.name}'"
        )
    split = arrange_rows(rows, labels, options, n_train=table.n_train, columns=table.columns, readers=readers)
    return split if table.row_names is None else dataclasses.replace(split, row_names=np.array(table.row_names))


def open_blocks(
    stack: ExitStack,
    path: Path,
    n_features: int,
    label_column: str | None = None,
    text: IO[str] | None = None,
    share: BlockShare = WHOLE,
) -> Blocks:
    """Open a file of new rows for a run on arrays, so that a file of any length needs little memory.

    Args:
        stack: closes the file in the end.
        path: the file or folder; of `text`, what messages call it.
        n_features: how many columns the model takes.
        label_column: a column left out where it is there: by name, or by number from 1 if the file has one column
            more than that.
        text: CSV to read in place of the file.
        share: the blocks that are read.

    Raises:
        UsageError: the file is missing or of another kind.
        DeepmixError: it is damaged.

    """
    label = LabelColumn(label_column, n_features)
    if text is not None or is_table_file(path):
        names = () if label_column is None else (label_column,)
        return _table_blocks(open_frames(stack, path, text=text, names=names, share=share), label, path)
    with reading(path):
        table = _open_arrays(stack, path, label)
    return Blocks(table.columns, _guarded_rows(table, path, share))


def _table_blocks(frames: Iterator[Any], label: LabelColumn, path: Path) -> Blocks:
    """Return a table's blocks; the first is read now, so that the columns are known."""
    first = next(frames, None)
    if first is None:  # other processes read all of them
        return Blocks(None, iter(()))
    (block, _), columns = frame_to_array(first, label, f"'{path.name}'", first_row(first))

    def numbered() -> Iterator[tuple[int, Any]]:
        yield first_row(first), block
        for frame in frames:
            (later, _), _ = frame_to_array(frame, label, f"'{path.name}'", first_row(frame))
            yield first_row(frame), later

    return Blocks(columns, numbered())


def _open_arrays(stack: ExitStack, path: Path, label: LabelColumn) -> TableFile:
    """Open a file of arrays or a folder of images with its format's reader."""
    if path.is_dir():
        return ImageFolder(stack, path, label)
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    suffix = next((suffix for suffix in READERS if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise UsageError(
            f"'{path.name}' is not a kind of file deepmix reads; use one of: {', '.join(SUFFIXES)}, or a folder of "
            "images"
        )
    return READERS[suffix](stack, path, label)


def _guarded_rows(table: TableFile, path: Path, share: BlockShare) -> Iterator[tuple[int, Any]]:
    """Give the blocks, numbered; what goes wrong while the next block is read is the file's fault."""
    blocks = table.blocks(share)
    while True:
        with reading(path):
            block = next(blocks, None)
        if block is None:
            return
        yield block[0], block[1].rows
