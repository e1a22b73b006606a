"""Pixels shifted and scaled by fixed numbers as x0: what published classifiers are shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from emodc.codecs.base import CPU, MOST_PIXELS, square
from emodc.faces.reading import as_rgb


@dataclass(frozen=True, kw_only=True)
class NormalizedCodec:
    """``(pixels - mean) / std`` channel by channel; see :class:`emodc.codecs.base.Codec`.

    Attributes:
        size: height and width of x0 in pixels.
        mean: of each channel, in units of the full range; one number for gray images, three
            for RGB.
        std: likewise; 1/255 keeps values of 0..255.

    Raises:
        ValueError: the size or a deviation is not positive, the size is above `MOST_PIXELS`, or
            the numbers are not 1 or 3.
    """

    kind: Literal["normalized"] = "normalized"
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.size > MOST_PIXELS:
            raise ValueError(f"size is at most {MOST_PIXELS}, not {self.size}")
        if self.size < 1 or len(self.mean) not in (1, 3) or len(self.mean) != len(self.std):
            raise ValueError(
                "size must be positive, mean and std one number each (gray) or three (RGB)"
            )
        if not all(map(math.isfinite, self.mean)) or not all(0 < s < math.inf for s in self.std):
            raise ValueError("mean must be finite, std positive and finite")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one x0."""
        return (len(self.mean), self.size, self.size)

    @property
    def identity(self) -> str:
        """What, beside the crop, decides x0."""
        return f"normalized/{self.size}/{self.mean}/{self.std}"

    def encode(self, crops: Sequence[NDArray[np.uint8]], device: torch.device = CPU) -> Tensor:
        """Turn face crops into x0: (B, C, size, size) float32."""
        return self.to_x0(self.to_pixels(crops).to(device))

    def to_pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return crops at the codec's size, gray as luma: (B, C, size, size) uint8.

        Raises:
            ValueError: a crop has another dtype or shape than `encode` takes.
        """
        sized = [as_rgb(square(crop, self.size)) for crop in crops]
        if len(self.mean) == 1:
            gray = [np.array(Image.fromarray(crop).convert("L")) for crop in sized]
            return torch.from_numpy(np.stack(gray)).unsqueeze(1)
        return torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2)

    def to_x0(self, pixels: Tensor) -> Tensor:
        """Shift and scale images (B, C, H, W) of any dtype, 0..255."""
        mean, std = (
            torch.tensor(numbers, device=pixels.device).view(1, -1, 1, 1)
            for numbers in (self.mean, self.std)
        )
        return (pixels.float() / 255 - mean) / std

    def decode(self, x0: Tensor) -> NDArray[np.uint8]:
        """Turn x0 back into images: (B, H, W) gray or (B, H, W, 3) RGB, uint8."""
        mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (self.mean, self.std))
        values = (x0.detach().float().cpu() * std + mean) * 255
        pixels = values.round().clamp(0, 255).to(torch.uint8)
        return (pixels.squeeze(1) if len(self.mean) == 1 else pixels.permute(0, 2, 3, 1)).numpy()
