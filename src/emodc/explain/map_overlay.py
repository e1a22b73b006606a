"""A map over a face, as an image of its own: small enough for a page of many."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.explain.map_smoothing import Map, smoothed

FOR, AGAINST = (224, 130, 20), (128, 115, 172)
"""Orange and purple of ColorBrewer's PuOr, which people with any color vision tell apart."""

_SIDE = 144
_STRONGEST = 0.85  # opacity


def overlay(face: NDArray[np.uint8], values: Map, side: int = _SIDE) -> NDArray[np.uint8]:
    """Color a face where a map speaks for a class, orange, or against it, purple.

    Args:
        face: (H, W) gray or (H, W, 3) RGB, the crop that the map belongs to.
        values: (N, N).
        side: of the result in pixels.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    gray = Image.fromarray(face).convert("L").resize((side, side), Image.Resampling.BICUBIC)
    base = np.asarray(gray.convert("RGB"), np.float64) * 0.7 + 50  # lighter, so that colors show
    soft = smoothed(values, len(values) / 48)
    wide = Image.fromarray(soft.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    shown = np.asarray(wide, np.float64)
    share = np.abs(shown) / (np.abs(shown).max() or 1.0)
    opacity = (_STRONGEST * np.sqrt(share))[..., None]
    color = np.where((shown > 0)[..., None], np.array(FOR), np.array(AGAINST))
    return np.rint((1 - opacity) * base + opacity * color).clip(0, 255).astype(np.uint8)
