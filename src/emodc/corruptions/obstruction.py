"""What gets between camera and face: drops on the lens, something over the eyes or the mouth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from emodc.corruptions.pixels import Pixels
from emodc.faces.geometry import LANDMARKS, CropGeometry

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
"""Colors of liquids: R, G, B in 0..1."""

_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Liquid:
    """Drops on the lens.

    Attributes:
        size: how far the field that the drops are cut from is smoothed; the drops grow with it.
        cover: share of the image under drops, 0..1.
        opacity: of the middle of a drop, 0..1.
        color: R, G, B in 0..1.
    """

    size: float
    cover: float
    opacity: float
    color: tuple[float, float, float]


def drops(x: Pixels, size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random field (H, W) over the image, smoothed by ``size`` pixels.

    It continues from each edge to the opposite one.
    """
    field: NDArray[np.float64] = gaussian_filter(
        rng.standard_normal(x.shape[:2]), size, mode="wrap"
    )
    return field


def splash(x: Pixels, field: NDArray[np.float64], liquid: Liquid) -> Pixels:
    """Lay liquid over the image where the field is highest; drops are thin at their rim."""
    above = field - np.quantile(field, 1 - liquid.cover)
    depth = (2 * above / (field.std() or 1.0)).clip(0.0, 1.0)
    opacity = (liquid.opacity * depth).astype(np.float32)[:, :, None]  # (H, W, 1)
    color = np.array(liquid.color, dtype=np.float32)
    if x.shape[2] == 1:
        color = color @ np.array(_LUMINANCE, dtype=np.float32)
    return (1 - opacity) * x + opacity * color


def cover_eyes(x: Pixels, reach: float, geometry: CropGeometry) -> Pixels:
    """Cover both eyes with black, as sunglasses do.

    Args:
        x: the image.
        reach: how far each of the two boxes extends to the left and right of the eye's center, in
            eye distances; 0.7 times as far up and down. The boxes meet from 0.5 on.
        geometry: where the crop shows the eyes.
    """
    places = dict(zip(LANDMARKS, geometry.landmarks, strict=True))
    left, right = places["left_eye"], places["right_eye"]
    half = reach * (right[0] - left[0])
    return _black(_black(x, left, (half, 0.7 * half)), right, (half, 0.7 * half))


def cover_mouth(x: Pixels, reach: float, geometry: CropGeometry) -> Pixels:
    """Cover the mouth with black, as a hand or a mask does.

    Args:
        x: the image.
        reach: how far the box extends to the left and right of the mouth's middle, in mouth widths
            (corner to corner); 0.6 times as far up and down. It reaches the corners at 0.5.
        geometry: where the crop shows the corners of the mouth.
    """
    places = dict(zip(LANDMARKS, geometry.landmarks, strict=True))
    left, right = places["left_mouth"], places["right_mouth"]
    middle = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    half = reach * (right[0] - left[0])
    return _black(x, middle, (half, 0.6 * half))


def _black(x: Pixels, center: tuple[float, float], half: tuple[float, float]) -> Pixels:
    """Blacken a box, given by center and half extent (x, y) in shares of width and height."""
    across = _covered(x.shape[1], center[0] - half[0], center[0] + half[0])
    down = _covered(x.shape[0], center[1] - half[1], center[1] + half[1])
    return x * (1 - down[:, None, None] * across[None, :, None])


def _covered(size: int, start: float, stop: float) -> NDArray[np.float32]:
    """Return which share of each of ``size`` pixels lies between two shares of the whole."""
    edges = np.arange(size + 1).clip(start * size, stop * size)
    return np.diff(edges).astype(np.float32)
