"""Latents of a Stable Diffusion checkpoint's autoencoder as x0."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.backbones.stable_diffusion.checkpoint import CheckpointSource, SDCheckpoint
from emodc.codecs.base import CPU, square
from emodc.faces.reading import as_rgb
from emodc.support.optional import importing

_AT_ONCE = 4  # images in one call of the autoencoder: bounds memory, hardly costs speed


@dataclass(frozen=True, kw_only=True)
class VAECodec(CheckpointSource):
    """Posterior mean of the autoencoder, shifted and scaled; see :class:`emodc.codecs.base.Codec`.

    ``x0 = (mean - shift) * factor`` with the checkpoint's own numbers (Rombach et al., CVPR 2022,
    appendix G), so that x0 has about unit variance. The mean instead of a sample: the classifier
    must give the same answer twice. Computed in float32.

    Attributes:
        resolution: side of the crops in pixels; what the checkpoint was made for if not given.
    """

    kind: Literal["vae"] = "vae"
    resolution: int | None = None

    @cached_property
    def checkpoint(self) -> SDCheckpoint:
        """The checkpoint that the autoencoder is part of.

        Raises:
            ValueError: there is none, or it cannot take the resolution.
        """
        checkpoint = self.open()
        size, factor = self.resolution or checkpoint.size, checkpoint.factor
        if size < 1 or size % factor:
            raise ValueError(
                f"codec.resolution {size}: the autoencoder of {self.path} takes multiples of "
                f"{factor}; it was made for {checkpoint.size}"
            )
        return checkpoint

    @property
    def size(self) -> int:
        """Height and width of the crops in pixels."""
        return self.resolution or self.checkpoint.size

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one x0."""
        side = self.size // self.checkpoint.factor
        return (int(self.checkpoint.vae["latent_channels"]), side, side)

    @property
    def identity(self) -> str:
        """What, beside the crop, decides x0."""
        return f"vae/{self.size}/{self.checkpoint.sha256()}"

    @torch.no_grad()
    def encode(self, crops: Sequence[NDArray[np.uint8]], device: torch.device = CPU) -> Tensor:
        """Turn face crops into latents: (B, C, H, W) float32 on the device."""
        return self.to_x0(self.to_pixels(crops).to(device))

    def to_pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return crops in RGB at the codec's size: (B, 3, size, size) uint8.

        Raises:
            ValueError: a crop has another dtype or shape than `encode` takes.
        """
        stacked = np.stack([as_rgb(square(crop, self.size)) for crop in crops])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2)

    def to_x0(self, pixels: Tensor) -> Tensor:
        """Turn images (B, 3, size, size) of any dtype, 0..255, into latents where they are."""
        vae = self._vae(pixels.device)
        with torch.autocast(pixels.device.type, enabled=False):
            means = [
                vae.encode(part.float() / 127.5 - 1).latent_dist.mean
                for part in torch.split(pixels, _AT_ONCE)
            ]
        latents: Tensor = (torch.cat(means) - self.checkpoint.shift) * self.checkpoint.scaling
        return latents.contiguous()

    @torch.no_grad()
    def decode(self, x0: Tensor) -> NDArray[np.uint8]:
        """Turn latents (B, C, H, W) into images (B, size, size, 3) uint8."""
        vae = self._vae(x0.device)
        latents = x0.float() / self.checkpoint.scaling + self.checkpoint.shift
        values = torch.cat([vae.decode(part).sample for part in torch.split(latents, _AT_ONCE)])
        pixels = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def _vae(self, device: torch.device) -> Any:
        checkpoint = self.checkpoint
        checkpoint.weights("vae")  # refuses an unfinished file
        return _load_vae(checkpoint.folder, checkpoint.variant, device)


@lru_cache(maxsize=1)  # the codec is a value that is copied freely, the network must not be
def _load_vae(folder: Path, variant: str | None, device: torch.device) -> Any:
    with importing("sd", "Stable Diffusion"):
        from diffusers import AutoencoderKL
    vae = AutoencoderKL.from_pretrained(
        folder, subfolder="vae", variant=variant, torch_dtype=torch.float32, use_safetensors=True
    )
    return vae.requires_grad_(False).eval().to(device)
