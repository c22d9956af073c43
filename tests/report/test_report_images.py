from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from deepmix.data import Preparation, Split
from deepmix.report import writing
from deepmix.report.html import images


def decoded(content: bytes) -> np.ndarray:
    """Read back what `images.png` writes, checking the checksum of every chunk."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height, depth, colours = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    channels = {0: 1, 2: 3}[colours]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape((height, width, channels) if channels == 3 else (height, width))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_holds_the_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decoded(images.png(pixels)), pixels)


def test_strip_sets_images_side_by_side_with_a_clear_gap():
    pictures = np.stack([np.full((2, 2), 0.0), np.full((2, 2), 1.0), np.full((2, 2), 0.498)])
    strip = images.strip(pictures, 0.0, 1.0)
    assert strip[0].tolist() == [0, 0, 127, 255, 255, 127, 128, 128]  # no pixel of an image is clear


def test_large_images_are_thinned_and_colours_kept():
    assert images.thinned(np.zeros((2, 100, 60, 3))).shape == (2, 25, 15, 3)
    assert images.thinned(np.zeros((2, 32, 32))).shape == (2, 32, 32)


def split_of(x: np.ndarray, **facts: object) -> Split:
    rows = np.arange(len(x))
    return Split(
        x,
        rows[:-1],
        rows[-1:],
        None,
        str(facts.pop("likelihood", "bernoulli")),
        "",
        image_shape=facts.pop("image_shape", None),
        preparation=Preparation(**facts),
    )


@pytest.mark.parametrize(
    ("facts", "from_file", "shape"),
    [
        ({"image_shape": (2, 8, 1)}, True, (2, 8, 1)),
        ({"image_shape": (2, 2, 4)}, True, None),  # four channels are not colours
        ({"scale": "bytes"}, True, (4, 4)),
        ({}, False, (4, 4)),
        ({}, True, None),  # 0..1 in a file may be anything
        ({"likelihood": "gaussian"}, False, None),
        ({"scale": "bytes", "columns": tuple("abcdefghijklmnop")}, True, None),
    ],
)
def test_rows_are_images_only_where_that_is_known(facts, from_file, shape):
    split = split_of(np.zeros((3, 16), dtype=np.float32), **facts)
    assert writing.image_shape(split, from_file=from_file) == shape
