"""Rows of images as PNG data URIs."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from deepmix.maths import Array

GAP = 1
"""Pixels between two images of a strip."""


CLEAR = 127
"""The grey of those gaps, which is shown transparent; no pixel of an image has this value."""


MOST_PIXELS = 32
"""Larger images are thinned to at most this many pixels per side, because they are shown small."""


def thinned(image_NHW: Array) -> Array:
    """Return images (N, H, W) or (N, H, W, C), thinned to every second, third, ... row and column if they are large."""
    step = -(-max(image_NHW.shape[1:3]) // MOST_PIXELS)
    return image_NHW[:, ::step, ::step]


def strip(image_NHW: Array, low: float, high: float) -> Array:
    """Return images side by side, bytes (H, W') or (H, W', 3); `low` becomes black and `high` white."""
    scaled = np.clip((image_NHW - low) / ((high - low) or 1.0), 0.0, 1.0)
    pixels = np.round(255 * scaled).astype(np.uint8)
    pixels[pixels == CLEAR] += 1
    if pixels.ndim == 4 and pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    gap = np.full((pixels.shape[1], GAP, *pixels.shape[3:]), CLEAR, dtype=np.uint8)
    parts = [part for image in pixels for part in (gap, image)][1:]
    return np.concatenate(parts, axis=1)


def png(pixels: Array) -> bytes:
    """Return bytes (H, W) or (H, W, 3) as a PNG file (ISO/IEC 15948) in which CLEAR is transparent."""
    height, width = pixels.shape[:2]
    colour_type = 0 if pixels.ndim == 2 else 2
    lines = np.ascontiguousarray(pixels).reshape(height, -1)
    unfiltered = np.zeros((height, 1), dtype=np.uint8)  # filter type 0 before each line
    body = zlib.compress(np.concatenate([unfiltered, lines], axis=1).tobytes(), 9)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", CLEAR) * (1 if pixels.ndim == 2 else 3)),
        (b"IDAT", body),
        (b"IEND", b""),
    )
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        whole += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return whole


def data_uri(pixels: Array) -> str:
    """Return pixels as the source of an `img` element."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")
