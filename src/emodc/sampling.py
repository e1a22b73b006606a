"""Training samples: which picture, how changed, at which timestep, with which noise and prompts.

Sample n of a run is a function of (seed, n) and the data alone, so a run that is resumed, or
spread over more processes, sees the same samples.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emodc.codecs import PixelCodec
from emodc.config import AugmentSettings, Recipe
from emodc.data import FaceData
from emodc.diffusion import counter_rng
from emodc.objectives import Objective
from emodc.prompts import draw_negative, non_class_prompt, null_prompt, other_classes

_STREAM = 0x7EA1  # of `counter_rng`; evaluation draws use another
_READ_CHUNK = 1024


@dataclass(frozen=True)
class Batch:
    """Training samples.

    Attributes:
        x0: (B, C, H, W) float32 pictures, augmented and encoded.
        c_p: (B,) int64 true classes.
        t: (B,) int64 timesteps.
        eps: (B, C, H, W) float32 noise.
        replaced: (B,) int64, the null or non-class prompt that stands in for the true class
            in this sample, or -1.
        u: (B,) float32, uniform numbers that decide the drawn negative.
    """

    x0: Tensor
    c_p: Tensor
    t: Tensor
    eps: Tensor
    replaced: Tensor
    u: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


class Sampler:
    """Draws training samples by their global index.

    All pictures are held in memory at the codec's size, as bytes.

    Args:
        data: the training split.
        recipe: says how samples are drawn.
        timesteps: T.

    Raises:
        ValueError: a picture cannot be read, or the recipe wants votes that the data lack.
    """

    def __init__(self, data: FaceData, recipe: Recipe, timesteps: int) -> None:
        if recipe.soft_labels and data.votes is None:
            raise ValueError(f"{data.name} has no annotators' votes; set soft_labels=false")
        self._recipe = recipe
        self._codec: PixelCodec = recipe.model.codec
        self._timesteps = timesteps
        self._classes = len(data.label_set)
        self._pixels = torch.cat(
            [
                self._codec.to_pixels([data.image(i) for i in range(start, stop)])
                for start in range(0, len(data), _READ_CHUNK)
                for stop in [min(start + _READ_CHUNK, len(data))]
            ]
        )
        weights = np.maximum(data.class_counts(), 1).astype(np.float64) ** -recipe.balance
        self._image_cdf = _cdf(weights[data.labels])
        votes = data.votes if recipe.soft_labels else None
        self._label_cdf = _cdf(
            np.eye(self._classes)[data.labels] if votes is None else votes.astype(np.float64)
        )

    def batch(self, indices: Iterable[int]) -> Batch:
        """Return the samples with these global indices."""
        chances, noises = [], []
        for n in indices:
            rng = counter_rng(self._recipe.seed, _STREAM, n)
            chances.append(rng.random(12))
            noises.append(rng.standard_normal(self._codec.shape, dtype=np.float32))
        u = np.stack(chances)  # (B, 12)
        image = np.searchsorted(self._image_cdf, u[:, 0], side="right")  # (B,)
        label = (u[:, 1:2] >= self._label_cdf[image]).sum(axis=1)  # (B,)
        pixels = augment(self._pixels[image].float(), u[:, 2:9], self._recipe.augment)
        return Batch(
            x0=self._codec.to_x0(pixels),
            c_p=torch.from_numpy(label),
            t=torch.from_numpy((u[:, 9] * self._timesteps).astype(np.int64)),
            eps=torch.from_numpy(np.stack(noises)),
            replaced=torch.from_numpy(self._replaced(u[:, 10])),
            u=torch.from_numpy(u[:, 11].astype(np.float32)),
        )

    def _replaced(self, u: NDArray[np.float64]) -> NDArray[np.int64]:
        p_null = self._recipe.p_null
        p_either = p_null + self._recipe.p_non_class
        stand_in = np.where(u < p_null, null_prompt(self._classes), non_class_prompt(self._classes))
        return np.where(u < p_either, stand_in, -1)


def training_prompts(batch: Batch, objective: Objective, num_classes: int) -> Tensor:
    """Return the prompts that an objective needs evaluated.

    Args:
        batch: B samples.
        objective: says which negatives and which reference.
        num_classes: K.

    Returns:
        (B, P) int64: the true class or what replaces it, then the negatives, then the reference
        prompt unless it is the true class.
    """
    first = torch.where(batch.replaced >= 0, batch.replaced, batch.c_p).unsqueeze(1)
    columns = [first]
    if objective.negatives == "one":
        columns.append(draw_negative(batch.c_p, num_classes, batch.u))
    elif objective.negatives == "all":
        columns.append(other_classes(batch.c_p, num_classes))
    if objective.reference == "null":
        columns.append(torch.full_like(first, null_prompt(num_classes)))
    elif objective.reference == "non_class":
        columns.append(torch.full_like(first, non_class_prompt(num_classes)))
    return torch.cat(columns, dim=1)


def augment(pixels: Tensor, u: NDArray[np.float64], settings: AugmentSettings) -> Tensor:
    """Mirror, turn, scale and shift pictures at random; what enters repeats the border.

    Args:
        pixels: (B, C, H, W) float32.
        u: (B, 7) uniform numbers in [0, 1): one for the mirror, three pairs that become normal
            ones (Box-Muller).
        settings: the spread of each change.

    Returns:
        (B, C, H, W) float32, resampled once, bilinearly.
    """
    radius = np.sqrt(-2 * np.log1p(-u[:, 1::2]))  # (B, 3)
    normal = np.concatenate(
        [radius * np.cos(2 * math.pi * u[:, 2::2]), radius * np.sin(2 * math.pi * u[:, 2::2])], 1
    )  # (B, 6), of which the last two are not needed
    angle = np.radians(settings.rotate) * normal[:, 0]
    scale = np.exp(settings.zoom * normal[:, 1])
    mirror = np.where(u[:, 0] < settings.flip, -1.0, 1.0)
    # affine_grid maps output to input coordinates, which run from -1 to 1 across the picture.
    theta = np.empty((len(u), 2, 3))
    theta[:, 0, 0] = scale * np.cos(angle) * mirror
    theta[:, 0, 1] = -scale * np.sin(angle)
    theta[:, 1, 0] = scale * np.sin(angle) * mirror
    theta[:, 1, 1] = scale * np.cos(angle)
    theta[:, :, 2] = 2 * settings.shift * normal[:, 2:4]
    grid = F.affine_grid(
        torch.from_numpy(theta).float(), list(pixels.shape), align_corners=False
    )  # (B, H, W, 2)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _cdf(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cumulative shares along the last axis, the last of them exactly 1."""
    total: NDArray[np.float64] = weights.cumsum(axis=-1)
    return total / total[..., -1:]
