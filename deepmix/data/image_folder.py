"""Reads a folder of images (.png, .jpg, .jpeg) of one size as an array; the names of subfolders are labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmix.data.block_share import WHOLE, BlockShare, block_starts
from deepmix.data.table_file import LabelColumn, TableFile, TableRows, block_rows
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.maths import Array

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


GREY_MODES = ("1", "L")
"""Pillow's names of images in shades of grey."""


class ImageFolder(TableFile):
    """The images of a folder and of its subfolders, in the order of their names, as bytes.

    Grey images have the shape (height, width). If one image has colours, all are read with 3 channels, last; if one of
    them is transparent in places, with 4.
    """

    def __init__(self, stack: ExitStack, path: Path, label: LabelColumn) -> None:
        """Find the images, and read their sizes.

        Raises:
            UsageError: there are none, or they differ in size.
            DeepmixError: a file is not an image.

        """
        if label.training and label.name is not None:
            raise UsageError(
                f"'{path}' is a folder of images, labelled by its subfolders' names; leave out {option('label_column')}"
            )
        self._training, self._paths = label.training, find_images(path)
        if not self._paths:
            raise UsageError(
                f"the folder '{path}' has no images ({', '.join(IMAGE_SUFFIXES)}) and no .parquet files; name a "
                "file, or add some"
            )
        self.row_names = [image.relative_to(path).as_posix() for image in self._paths]
        parents = [image.relative_to(path).parent.as_posix() for image in self._paths]
        self._labels = None
        if any(parent != "." for parent in parents):
            self._labels = np.array(["" if parent == "." else parent for parent in parents])
        self._mode = self._common_mode()

    def blocks(self, share: BlockShare = WHOLE) -> Iterator[tuple[int, TableRows]]:
        """Give the images block by block, (n, height, width) or (n, height, width, channels) uint8."""
        width, height = self._size
        size = block_rows(width * height * len(self._mode))
        for start in block_starts(len(self._paths), size, share):
            yield start, self._rows(slice(start, start + size))

    def whole(self) -> TableRows:
        """Return all images in one array, uint8."""
        return self._rows(slice(None))

    def _rows(self, chosen: slice) -> TableRows:
        images = np.stack([self._pixels(path) for path in self._paths[chosen]])
        labels = self._labels[chosen] if self._labels is not None and self._training else None
        return TableRows(images, labels)

    def _pixels(self, path: Path) -> Array:
        with open_image(path) as image:
            try:
                return np.asarray(image.convert(self._mode), dtype=np.uint8)
            except Exception as error:  # a decoder raises as many kinds as it meets damages
                raise _unreadable(path, error) from error

    def _common_mode(self) -> str:
        """Return the kind of pixels that all images are read as, and note their size."""
        kinds = set()
        for path in self._paths:
            with open_image(path) as image:
                if path == self._paths[0]:
                    self._size = image.size
                if image.size != self._size:
                    first, other = ("x".join(map(str, size[::-1])) for size in (self._size, image.size))
                    raise UsageError(
                        f"'{self._paths[0]}' has {first} pixels and '{path}' has {other}; resize all images to one size"
                    )
                if image.mode[0] in "IF":
                    raise UsageError(f"'{path}' has more than 8 bits per pixel; save it with 8 bits per channel")
                transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
                kinds.add("RGBA" if transparent else "L" if image.mode in GREY_MODES else "RGB")
        return "RGBA" if "RGBA" in kinds else "RGB" if "RGB" in kinds else "L"


def find_images(folder: Path) -> Sequence[Path]:
    """Return the images in a folder and its subfolders, in order; hidden ones are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def open_image(path: Path) -> Image.Image:
    """Open an image; its pixels are not read yet."""
    try:
        from PIL import Image

        return Image.open(path)
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DeepmixError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DeepmixError(f"'{path}' can't be read as an image ({reason}); check that the file is whole")
