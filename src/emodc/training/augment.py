"""Random changes of the training images: of geometry, and corruptions."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emodc.corruptions import corrupt
from emodc.corruptions.registry import SEVERITIES
from emodc.training.recipe import AugmentSettings, CorruptSettings


def mirrored(u: NDArray[np.float64], settings: AugmentSettings) -> NDArray[np.bool_]:
    """Tell which images are mirrored: (B,) for the uniform numbers (B, 7) of `augment`."""
    return u[:, 0] < settings.flip


def augment(
    pixels: Tensor, u: NDArray[np.float64], chosen: NDArray[np.bool_], settings: AugmentSettings
) -> tuple[Tensor, Tensor]:
    """Mirror, turn, scale, stretch and shift images at random; what enters repeats the border.

    Args:
        pixels: (B, C, H, W) float32.
        u: (B, 7) uniform numbers in [0, 1): one for the mirror, three pairs that become normal
            ones (Box-Muller).
        chosen: (B,) whether an image is changed beyond the mirror.
        settings: the spread of each change.

    Returns:
        (B, C, H, W) float32, resampled once, bilinearly; and (B, 6) float32, what was done: whether
        anything was, and the five changes in their standard deviations. A network that is told need
        not learn to draw what augmentation does to faces (Karras et al., NeurIPS 2022, appendix
        F.2). Mirrored faces are faces, so the mirror is left out.
    """
    radius = np.sqrt(-2 * np.log1p(-u[:, 1::2]))  # (B, 3)
    normal = np.concatenate(
        [radius * np.cos(2 * math.pi * u[:, 2::2]), radius * np.sin(2 * math.pi * u[:, 2::2])], 1
    )  # (B, 6), of which the last is not needed
    spread = (settings.rotate, settings.zoom, settings.shift, settings.shift, settings.stretch)
    chosen = chosen & (max(spread) > 0)
    normal = np.where(chosen[:, None], normal, 0.0)
    angle = np.radians(settings.rotate) * normal[:, 0]
    scale = np.exp(settings.zoom * normal[:, 1])
    wide, high = (scale * np.exp(half * settings.stretch * normal[:, 4]) for half in (0.5, -0.5))
    mirror = np.where(mirrored(u, settings), -1.0, 1.0)
    # affine_grid maps output to input coordinates, which run from -1 to 1 across the image.
    theta = np.empty((len(u), 2, 3))
    theta[:, 0, 0] = wide * np.cos(angle) * mirror
    theta[:, 0, 1] = -wide * np.sin(angle)
    theta[:, 1, 0] = high * np.sin(angle) * mirror
    theta[:, 1, 1] = high * np.cos(angle)
    theta[:, :, 2] = 2 * settings.shift * normal[:, 2:4]
    grid = F.affine_grid(
        torch.from_numpy(theta).float(), list(pixels.shape), align_corners=False
    )  # (B, H, W, 2)
    changed = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    told = normal[:, :5] * np.array([size > 0 for size in spread])
    done = np.concatenate([chosen[:, None], told], axis=1).astype(np.float32)
    return changed, torch.from_numpy(done)


def corrupted(
    pixels: Tensor,
    u: NDArray[np.float64],
    indices: Sequence[int],
    settings: CorruptSettings,
    seed: int,
) -> Tensor:
    """Corrupt a share of the images at random.

    Args:
        pixels: (B, 1 or 3, H, W) of any dtype, 0..255, on the CPU.
        u: (B, 3) uniform numbers in [0, 1): whether, by which corruption, how severely.
        indices: B numbers that decide what each corruption draws.
        settings: the share and the corruptions.
        seed: as ``indices``.

    Returns:
        (B, 1 or 3, H, W) float32; corrupted images hold whole numbers.
    """
    result = pixels.float().clone()
    for row in np.flatnonzero(u[:, 0] < settings.share).tolist():
        name = settings.names[int(u[row, 1] * len(settings.names))]
        severity = 1 + int(u[row, 2] * len(SEVERITIES))
        image = result[row].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        gray = image.shape[2] == 1
        corrupted = corrupt(image[:, :, 0] if gray else image, name, severity, seed, indices[row])
        result[row] = torch.from_numpy(corrupted[None] if gray else corrupted.transpose(2, 0, 1))
    return result
