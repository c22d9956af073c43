"""A folder of images is an array of bytes, labelled by its subfolders."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from deepmix.data import SplitOptions, load_file, open_blocks
from deepmix.errors import DeepmixError, UsageError

OPTIONS = SplitOptions()


def save(path, shape=(4, 6), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_images_of_one_size_are_rows(tmp_path):
    pixels = [save(tmp_path / name, seed=i) for i, name in enumerate(("a.png", "b.PNG", "c.png"))]
    (tmp_path / "notes.txt").write_text("not an image")
    split = load_file(tmp_path, None, OPTIONS)
    np.testing.assert_array_equal(split.x, np.stack(pixels).reshape(3, 24) / np.float32(255))
    assert split.image_shape == (4, 6, 1)
    assert split.labels is None
    assert split.row_names.tolist() == ["a.png", "b.PNG", "c.png"]


def test_subfolders_name_labels_and_new_rows_are_read_in_blocks(tmp_path, monkeypatch):
    save(tmp_path / "cat" / "1.png", (4, 6, 3), 1)
    save(tmp_path / "dog" / "1.png", (4, 6), 2)
    save(tmp_path / "x.png", (4, 6, 3), 3)
    split = load_file(tmp_path, None, OPTIONS)
    assert split.labels.tolist() == ["cat", "dog", ""]
    assert split.known.tolist() == [True, True, False]
    assert split.image_shape == (4, 6, 3)
    monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", 1)
    with ExitStack() as stack:
        blocks = list(open_blocks(stack, tmp_path, 72).rows)
    assert [block.shape for block in blocks] == [(1, 4, 6, 3)] * 3
    np.testing.assert_array_equal(np.concatenate(blocks).reshape(3, 72) / np.float32(255), split.x)


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(UsageError, match="has no images"):
        load_file(tmp_path, None, OPTIONS)
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", (4, 7))
    with pytest.raises(UsageError, match=r"a.png' has 4x6 pixels and '.*b.png' has 4x7"):
        load_file(tmp_path, None, OPTIONS)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(DeepmixError, match=r"b.png' can't be read as an image"):
        load_file(tmp_path, None, OPTIONS)
    with pytest.raises(UsageError, match="labelled by its subfolders' names"):
        load_file(tmp_path, "kind", OPTIONS)
