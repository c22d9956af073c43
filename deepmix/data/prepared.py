"""Prepared archives in the user's data folder."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from deepmix.data.files import load_file
from deepmix.data.split import Split
from deepmix.data.split_options import SplitOptions
from deepmix.errors import UsageError, option


def find_prepared(name: str, data_dir: Path) -> Path | None:
    """Return the data folder's NAME.npz; '-' and '_' in the name mean the same."""
    candidates = (data_dir / f"{name.replace('-', '_')}.npz", data_dir / f"{name}.npz")
    return next((path for path in candidates if path.is_file()), None)


def load_prepared(
    name: str,
    data_dir: Path | None,
    options: SplitOptions,
    label_key: str | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> Split:
    """Read NAME.npz (keys x, y, n_train) from the data folder.

    Raises:
        UsageError: no data folder was named, it does not exist, or it has no such file.

    """
    file_name = name.replace("-", "_") + ".npz"
    if data_dir is None:
        raise UsageError(
            f"data set '{name}' is read from {file_name} in a data folder, or fetched into one; "
            f"name it by {option('data_dir')} or DEEPMIX_DATA"
        )
    if not data_dir.is_dir():
        raise UsageError(f"the data folder '{data_dir}' does not exist; choose another with {option('data_dir')}")
    path = find_prepared(name, data_dir)
    if path is None:
        raise UsageError(
            f"the data folder '{data_dir}' has no {file_name}; put it there or choose another with {option('data_dir')}"
        )
    if options.storage == "auto":  # known sets fit into memory, and plugins go on to work with their arrays
        options = dataclasses.replace(options, storage="memory")
    split = load_file(path, label_key, options)
    is_image = image_shape is not None and math.prod(image_shape) == split.x.shape[1]
    return dataclasses.replace(split, image_shape=image_shape) if split.image_shape is None and is_image else split
