"""Training samples: which image, how changed, at which timestep, with which noise and prompts.

Sample n of a run is a function of (seed, n) and the data alone, so a run that is resumed, or
spread over more processes, gets the same samples.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.codecs import Codec
from emodc.codecs.base import CPU
from emodc.data import FaceData
from emodc.method.loss import Batch
from emodc.method.prompts import non_class_prompt, null_prompt
from emodc.method.randomness import counter_rng
from emodc.method.schedule import Schedule
from emodc.support.distributed import ALONE, World
from emodc.training.augment import augment, corrupted, mirrored
from emodc.training.encoded_cache import X0Cache
from emodc.training.recipe import Recipe

_STREAM = 0x7EA1  # of `counter_rng`; evaluation draws use another
_READ_CHUNK = 1024
_MOST_BYTES = 2 << 30  # of images held in memory; where there are more, they are read when drawn


class Sampler:
    """Draws training samples by their global index.

    Images are held in memory at the codec's size, as bytes, if they are not too many; or x0
    comes from the cache, which is filled first, by all processes together.

    Args:
        data: the training split.
        recipe: says how samples are drawn.
        schedule: gives the timesteps their noise levels.
        device: where images are encoded.
        world: the processes that train together.

    Attributes:
        frequency: (K,) float64 on the CPU, how often each class is a sample's true one, after
            balancing and votes; sums to 1.

    Raises:
        ValueError: an image cannot be read, or the recipe wants votes or classes that the
            data lack.
        OSError: the cache cannot be written.
    """

    def __init__(
        self,
        data: FaceData,
        recipe: Recipe,
        schedule: Schedule,
        device: torch.device = CPU,
        world: World = ALONE,
    ) -> None:
        if recipe.soft_labels and data.votes is None:
            raise ValueError(f"{data.name} has no annotators' votes; set soft_labels=false")
        self._recipe, self._data, self._device = recipe, data, device
        self._codec: Codec = recipe.model.codec
        self._schedule = schedule
        self._classes = len(data.label_set)
        self._pixels: Tensor | None = None
        self._cache: X0Cache | None = None
        if recipe.cache:
            self._cache = X0Cache(data, self._codec, device=device, world=world)
        elif self._read([0]).numel() * len(data) <= _MOST_BYTES:
            starts = range(0, len(data), _READ_CHUNK)
            whole = range(len(data))
            self._pixels = torch.cat([self._read(whole[n : n + _READ_CHUNK]) for n in starts])
        weights = np.maximum(data.class_counts(), 1).astype(np.float64) ** -recipe.balance
        self._image_cdf = _cdf(weights[data.labels])
        votes = data.votes if recipe.soft_labels else None
        self._label_cdf = _cdf(
            np.eye(self._classes)[data.labels] if votes is None else votes.astype(np.float64)
        )
        self.frequency = _frequency(self._image_cdf, self._label_cdf)
        priors = [phase.objective.negative_prior for phase in recipe.phases]
        if "frequency" in priors and int((self.frequency > 0).sum()) < 2:
            raise ValueError(
                f"{data.name} has images of one class only; negative_prior=frequency needs two"
            )

    def batch(self, indices: Iterable[int]) -> Batch:
        """Return the samples with these global indices."""
        chances, noises, corruptions, more = [], [], [], []
        numbers = list(indices)
        for n in numbers:
            rng = counter_rng(self._recipe.seed, _STREAM, n)
            chances.append(rng.random(12))
            noises.append(rng.standard_normal(self._codec.shape, dtype=np.float32))
            corruptions.append(rng.random(3))
            more.append(rng.random(2))  # after the others, whose values older runs depend on
        u = np.stack(chances)  # (B, 12)
        image = np.searchsorted(self._image_cdf, u[:, 0], side="right")  # (B,)
        label = (u[:, 1:2] >= self._label_cdf[image]).sum(axis=1)  # (B,)
        also = np.stack(more)  # (B, 2)
        chosen = also[:, 0] < self._recipe.augment.share
        x0, augmentation = self._x0(image, u[:, 2:9], chosen, np.stack(corruptions), numbers)
        levels = self._recipe.noise_levels
        return Batch(
            x0=x0,
            c_p=torch.from_numpy(label),
            t=levels.timesteps(
                self._schedule, torch.from_numpy(u[:, 9]), torch.from_numpy(also[:, 1])
            ),
            eps=torch.from_numpy(np.stack(noises)),
            replaced=torch.from_numpy(self._replaced(u[:, 10])),
            u=torch.from_numpy(u[:, 11].astype(np.float32)),
            augmentation=augmentation,
        )

    def _x0(
        self,
        image: NDArray[np.int64],
        u: NDArray[np.float64],
        chosen: NDArray[np.bool_],
        corruptions: NDArray[np.float64],
        numbers: list[int],
    ) -> tuple[Tensor, Tensor]:
        settings = self._recipe.augment
        if self._cache is not None:
            return self._cache.x0(image, mirrored(u, settings)), torch.zeros(len(u), 6)
        pixels = self._read(image.tolist()) if self._pixels is None else self._pixels[image]
        changed, done = augment(pixels.float(), u, chosen, settings)
        if self._recipe.corrupt.share:
            changed = corrupted(
                changed, corruptions, numbers, self._recipe.corrupt, self._recipe.seed
            )
        return self._codec.to_x0(changed.to(self._device)), done

    def _read(self, indices: Sequence[int]) -> Tensor:
        return self._codec.to_pixels([self._data.image(i) for i in indices])

    def _replaced(self, u: NDArray[np.float64]) -> NDArray[np.int64]:
        p_null = self._recipe.p_null
        p_either = p_null + self._recipe.p_non_class
        stand_in = np.where(u < p_null, null_prompt(self._classes), non_class_prompt(self._classes))
        return np.where(u < p_either, stand_in, -1)


def _frequency(image_cdf: NDArray[np.float64], label_cdf: NDArray[np.float64]) -> Tensor:
    """Return the expected share of every class among the samples: (K,)."""
    images = np.diff(image_cdf, prepend=0.0)  # (N,)
    labels = np.diff(label_cdf, axis=1, prepend=0.0)  # (N, K)
    return torch.from_numpy(images @ labels)


def _cdf(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cumulative shares along the last axis, the last of them exactly 1."""
    total: NDArray[np.float64] = weights.cumsum(axis=-1)
    return total / total[..., -1:]
