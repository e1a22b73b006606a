"""Gray pixels as x0."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from emodc.codecs.base import CPU, MOST_PIXELS, square

# The contrast below which a crop counts as blank: scaling it up would only amplify noise.
_LEAST_CONTRAST = 4.0

# Mean and standard deviation of FER2013's pixels, for turning x0 back into a viewable image.
_TYPICAL_MEAN, _TYPICAL_CONTRAST = 129.0, 54.0


@dataclass(frozen=True, kw_only=True)
class PixelCodec:
    """Gray pixels, each image standardized by itself; see :class:`emodc.codecs.base.Codec`.

    Every crop gets zero mean and unit variance of its own, so x0 has the unit variance that
    noise schedules assume, and brightness and contrast of the photograph drop out.

    Attributes:
        size: height and width of x0 in pixels.

    Raises:
        ValueError: the size is not positive, or above `MOST_PIXELS`.
    """

    kind: Literal["pixel"] = "pixel"
    size: int = 48

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MOST_PIXELS:
            raise ValueError(
                f"the codec's size must be positive and at most {MOST_PIXELS}, not {self.size}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one x0."""
        return (1, self.size, self.size)

    @property
    def identity(self) -> str:
        """What, beside the crop, decides x0."""
        return f"pixel/{self.size}"

    def encode(self, crops: Sequence[NDArray[np.uint8]], device: torch.device = CPU) -> Tensor:
        """Turn face crops into x0 of mean 0 and variance 1 each: (B, 1, size, size) float32."""
        return self.to_x0(self.to_pixels(crops).to(device))

    def to_pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return crops as luma (ITU-R 601) at the codec's size: (B, 1, size, size) uint8.

        Raises:
            ValueError: a crop has another dtype or shape than `encode` takes.
        """
        gray = [np.array(Image.fromarray(square(c, self.size)).convert("L")) for c in crops]
        return torch.from_numpy(np.stack(gray)).unsqueeze(1)

    def to_x0(self, pixels: Tensor) -> Tensor:
        """Standardize images (B, 1, H, W) of any dtype; blank ones come out as zeros."""
        values = pixels.float()
        mean = values.mean(dim=(1, 2, 3), keepdim=True)
        deviation = values.std(dim=(1, 2, 3), keepdim=True, correction=0)
        return (values - mean) / deviation.clamp_min(_LEAST_CONTRAST)

    def decode(self, x0: Tensor) -> NDArray[np.uint8]:
        """Turn x0 (B, 1, H, W) into viewable images (B, H, W) uint8 of typical contrast."""
        pixels = x0.detach().float().squeeze(1) * _TYPICAL_CONTRAST + _TYPICAL_MEAN
        return pixels.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
