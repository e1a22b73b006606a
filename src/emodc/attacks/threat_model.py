"""The threat model: which images an attacker may show instead of the clean one.

Distances are in units of the full range of a pixel, so 1/255 is one gray level. Pixels are real
numbers: that an image file rounds them is left out, which can only help the attacker.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from emodc.method.randomness import counter_rng

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")


@dataclass(frozen=True)
class Images:
    """The images under attack.

    Attributes:
        pixels: (B, C, H, W) in [0, 1], as the victim takes them.
        labels: (B,) int64, true classes.
        index: (B,) int64, the images' numbers in their dataset: what is random in the attack
            on an image depends on its number, not on the images beside it.

    Raises:
        ValueError: the lengths differ or a pixel is outside [0, 1].
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.labels) == len(self.index):
            raise ValueError(
                f"{len(self.pixels)} images, {len(self.labels)} labels and {len(self.index)} "
                "numbers: give one of each for every image"
            )
        if not bool(((self.pixels >= 0) & (self.pixels <= 1)).all()):
            raise ValueError("pixels under attack must be within [0, 1]: divide by the full range")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: Tensor | slice) -> "Images":
        return Images(self.pixels[rows], self.labels[rows], self.index[rows])


@dataclass(frozen=True)
class Ball:
    """The images within a distance of the clean ones, and within [0, 1].

    Attributes:
        center: (B, C, H, W) in [0, 1], the clean images.
        eps: (B,) float64, the greatest distance for each image.
        norm: how distance is measured.
    """

    center: Tensor
    eps: Tensor
    norm: Norm

    def project(self, pixels: Tensor) -> Tensor:
        """Return allowed images next to these, (B, C, H, W).

        The ball is shrunk by the rounding of pixels, so that no result is outside it.
        """
        elements = self.center[0].numel()
        rounding = torch.finfo(self.center.dtype).eps
        if self.norm == "linf":
            radius = self._per_image((self.eps - rounding).clamp_min(0))
            moved = torch.minimum(torch.maximum(pixels, self.center - radius), self.center + radius)
        else:
            radius = (self.eps - rounding * math.sqrt(elements)).clamp_min(0)
            change = pixels - self.center
            length = distances(change, "l2").clamp_min(torch.finfo(torch.float64).tiny)
            moved = self.center + change * self._per_image((radius / length).clamp_max(1))
        # The clean image is within [0, 1] too, so this only brings the result nearer to it.
        return moved.clamp(0, 1)

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the direction of unit length that climbs fastest, (B, C, H, W); 0 for 0."""
        if self.norm == "linf":
            return gradient.sign()
        length = distances(gradient, "l2").clamp_min(torch.finfo(torch.float64).tiny)
        return (gradient.double() / length.view(-1, 1, 1, 1)).to(gradient.dtype)

    def random_points(self, seed: int, stream: int, counters: list[int]) -> Tensor:
        """Return a random allowed image for each image, (B, C, H, W).

        Args:
            seed: of :func:`emodc.method.randomness.counter_rng`.
            stream: as there.
            counters: B numbers, as there.
        """
        shape = self.center.shape[1:]
        rngs = [counter_rng(seed, stream, counter) for counter in counters]
        if self.norm == "linf":
            rows = [torch.from_numpy(rng.uniform(-1, 1, shape)) for rng in rngs]
        else:
            rows = [torch.from_numpy(rng.standard_normal(shape)) for rng in rngs]
            rows = [row / row.norm() for row in rows]
        change = torch.stack(rows).to(self.center)
        return self.project(self.center + change * self.step(self.eps))

    def step(self, size: Tensor) -> Tensor:
        """Return lengths (B,) as factors (B, 1, 1, 1) of the images' dtype."""
        return self._per_image(size)

    def _per_image(self, values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1).to(self.center)


def distances(change: Tensor, norm: Norm) -> Tensor:
    """Return the length of each perturbation (B, C, H, W), (B,) float64."""
    flat = change.double().flatten(1)
    return flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)


def full_range(pixels: Tensor, norm: Norm) -> float:
    """Return the eps at which every image of this shape (B, C, H, W) is allowed."""
    return 1.0 if norm == "linf" else math.sqrt(pixels[0].numel())
