"""Light and encoding: brightness, contrast, JPEG, pixelation, low resolution."""

import io

import numpy as np
from PIL import Image

from emodc.corruptions.pixels import Pixels, resized, to_image


def brightness(x: Pixels, change: float) -> Pixels:
    """Add ``change`` to the value (the largest of R, G, B) and keep hue and saturation.

    Args:
        x: the image.
        change: in -1..1; the value stays within [0, 1].
    """
    value = x.max(axis=2, keepdims=True)  # (H, W, 1)
    changed = (value + np.float32(change)).clip(0.0, 1.0)
    # Black has no hue: it becomes gray.
    brightened: Pixels = np.divide(x, value, out=np.ones_like(x), where=value > 0)
    brightened *= changed
    return brightened


def contrast(x: Pixels, factor: float) -> Pixels:
    """Multiply the distance of every value from its channel's mean by ``factor``."""
    mean: Pixels = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * np.float32(factor) + mean


def jpeg(x: Pixels, quality: int) -> Pixels:
    """Compress as JPEG at a quality of 1..95 and decompress."""
    shape = x.shape[:2] if x.shape[2] == 1 else x.shape
    file = io.BytesIO()
    Image.fromarray(to_image(x, shape)).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=("JPEG",)) as decoded:
        values = np.asarray(decoded, dtype=np.float32) / np.float32(255)
    return values.reshape(x.shape)


def pixelate(x: Pixels, share: float) -> Pixels:
    """Show blocks: average down to a share of the size, then repeat."""
    height, width = x.shape[:2]
    small = resized(x, *_shrunk(x, share), Image.Resampling.BOX)
    return resized(small, height, width, Image.Resampling.NEAREST)


def low_resolution(x: Pixels, share: float) -> Pixels:
    """Shrink to a share of the size and enlarge again, both smoothly (bicubic)."""
    height, width = x.shape[:2]
    small = resized(x, *_shrunk(x, share), Image.Resampling.BICUBIC)
    return resized(small, height, width, Image.Resampling.BICUBIC)


def _shrunk(x: Pixels, share: float) -> tuple[int, int]:
    height, width = x.shape[:2]
    return max(1, int(height * share)), max(1, int(width * share))
