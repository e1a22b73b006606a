"""The interface of codecs, and what they share."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.faces.detector import whole_image_crop
from emodc.faces.reading import as_rgb

CPU = torch.device("cpu")

MOST_PIXELS = 1024
"""The largest size of a codec that works on pixels."""


class Codec(Protocol):
    """Turns face crops into x0, the space in which a backbone works, and back."""

    @property
    def size(self) -> int:
        """Height and width of the crops in pixels."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one x0."""

    @property
    def identity(self) -> str:
        """What, beside the crop, decides x0: names what was kept of it on disk."""

    def encode(self, crops: Sequence[NDArray[np.uint8]], device: torch.device = CPU) -> Tensor:
        """Turn face crops into x0: `to_pixels`, then `to_x0`.

        Args:
            crops: B images, uint8, each (H, W) gray or (H, W, 3) RGB, of any size; see
                :func:`emodc.faces.detector.whole_image_crop` for how they become square.
            device: where to compute.

        Returns:
            (B, C, H, W) float32 on the device.

        Raises:
            ValueError: a crop has another dtype or shape.
        """

    def to_pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return crops at the codec's size and colors: (B, 1 or 3, size, size) uint8.

        Raises:
            ValueError: a crop has another dtype or shape than `encode` takes.
        """

    def to_x0(self, pixels: Tensor) -> Tensor:
        """Turn images (B, 1 or 3, size, size) of any dtype, 0..255, into x0 where they are."""

    def decode(self, x0: Tensor) -> NDArray[np.uint8]:
        """Turn x0 into viewable images: (B, H, W) gray or (B, H, W, 3) RGB, uint8."""


def square(crop: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a crop at this size, resampled only if it has another.

    Args:
        crop: (H, W) gray or (H, W, 3) RGB, uint8.
        size: side of the result.

    Raises:
        ValueError: it has another dtype or shape.
    """
    if crop.dtype != np.uint8 or crop.ndim not in (2, 3) or crop.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a face crop must be uint8 of shape (H, W) or (H, W, 3), not {crop.dtype} {crop.shape}"
        )
    return crop if crop.shape[:2] == (size, size) else whole_image_crop(as_rgb(crop), size)
