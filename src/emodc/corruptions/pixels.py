"""What all corruptions share: how pixels are held, how lengths are measured, what is drawn."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.faces.geometry import FER2013_GEOMETRY, CropGeometry
from emodc.method.randomness import counter_rng

Pixels = NDArray[np.float32]
"""(H, W, C) in [0, 1], C = 1 (gray) or 3 (RGB): what corruptions take and return. What they
return may lie outside [0, 1] by rounding or overshoot; it is clipped between corruptions."""


@dataclass(frozen=True)
class Scene:
    """What a corruption may draw on besides the image.

    Attributes:
        rng: its random numbers.
        geometry: where the crop shows the eyes and the mouth.
    """

    rng: np.random.Generator
    geometry: CropGeometry = FER2013_GEOMETRY


def random_numbers(seed: int, purpose: str, index: int) -> np.random.Generator:
    """Return the random numbers of one image and one purpose, whatever was drawn before.

    Args:
        seed: 0..2**64-1.
        purpose: what they are for; different purposes are independent.
        index: number of the image, 0..2**64-1.

    Raises:
        ValueError: seed or index is out of range.
    """
    stream = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    return counter_rng(seed, int.from_bytes(stream), index)


def to_pixels(image: NDArray[np.uint8]) -> Pixels:
    """Return an image as `Pixels`; RGB with three equal channels becomes gray.

    Gray crops are often stored as RGB. Noise of its own in each channel would turn them into
    color images, and would be averaged away by a model that looks at the luminance.

    Args:
        image: (H, W) or (H, W, 3) uint8.

    Raises:
        ValueError: another dtype or shape, or no pixels.
    """
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not fits or image.size == 0:
        raise ValueError(
            f"an image to corrupt must be uint8 (H, W) or (H, W, 3) with H, W >= 1; "
            f"got {image.dtype} {image.shape}"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    elif (image == image[:, :, :1]).all():
        image = image[:, :, :1]
    return image.astype(np.float32) / np.float32(255)


def to_image(x: Pixels, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return pixels as a uint8 image of a shape, (H, W) or (H, W, 3), rounded to nearest."""
    image: NDArray[np.uint8] = np.rint(x.clip(0.0, 1.0) * 255).astype(np.uint8)  # (H, W, C)
    if len(shape) == 2:
        return image[:, :, 0]
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def at_100(x: Pixels, length: float) -> float:
    """Return a length in pixels that is stated for a crop whose shorter side is 100 pixels."""
    side: int = min(x.shape[:2])
    return length * side / 100


def resized(
    x: Pixels,
    height: int,
    width: int,
    filter_: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> Pixels:
    """Return the image, or a box (x0, y0, x1, y1 in pixels) of it, at another size."""
    channels = [
        Image.fromarray(np.ascontiguousarray(x[:, :, c])).resize((width, height), filter_, box)
        for c in range(x.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)
