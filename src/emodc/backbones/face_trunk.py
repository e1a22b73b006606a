"""The trunk of FaceUNet: what it computes from a noised image before the prompt enters.

Shapes below: B images, E the embedding width, (h, w) the size of the image after the stem has
folded its pixels into channels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodc.backbones.base import Network, NetworkSettings
from emodc.backbones.sizes import check_sizes
from emodc.method.schedule import Schedule

GROUPS = 8
"""Of group normalization; every width is a multiple of it."""

_FREQUENCIES = 32

MOST_PATCH = 16
"""The largest squares of pixels that are folded into channels."""

AUGMENTATIONS = 6
"""A: the numbers that tell a network how an image was changed, see `emodc.training.augment`."""


class TrunkSizes(NetworkSettings):
    """What the settings of networks with this trunk share; they are dataclasses with its sizes.

    Raises:
        ValueError: a size is not positive, a width is not a multiple of 8, or a size is beyond
            `MOST_PATCH` or the bounds of `emodc.backbones.sizes`.
    """

    patch: int
    widths: tuple[int, ...]
    depths: tuple[int, int, int]
    embedding: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.patch, self.embedding, *self.widths) < 1 or min(self.depths) < 0:
            raise ValueError("patch, widths and embedding must be positive, depths not negative")
        if any(width % GROUPS for width in self.widths):
            raise ValueError(f"widths must be multiples of {GROUPS}, not {self.widths}")
        if self.patch > MOST_PATCH:
            raise ValueError(f"patch is at most {MOST_PATCH}, not {self.patch}")
        check_sizes(self.widths, self.depths, self.embedding)

    @property
    def multiple(self) -> int:
        """What the size of x0 must be a multiple of."""
        return 4 * self.patch


class Seen(NamedTuple):
    """What the trunk makes of noised images.

    Attributes:
        full: (B, width0, h, w) features.
        half: (B, width1, h/2, w/2) features.
        quarter: (B, width2, h/4, w/4) features.
        level: (B, E), the noise level's embedding.
        context: (B, E), a globally pooled summary.
    """

    full: Tensor
    half: Tensor
    quarter: Tensor
    level: Tensor
    context: Tensor


class FaceTrunk(Network):
    """Three resolutions of residual blocks and a pooled summary; knows the noise level.

    Args:
        patch: side of the squares of pixels that the stem folds into channels.
        widths: channels at full, half and quarter resolution.
        depths: residual blocks at each.
        embedding: E.
        schedule: gives every timestep its noise level.
    """

    shares_trunk = True
    knows_augmentation = False
    sigma: Tensor
    class_rows = frozenset({"prompt.weight", "trunk_classes.weight", "trunk_classes.bias"})
    trunk_classes: nn.Linear  # of those that read classes from the context

    def __init__(
        self,
        patch: int,
        widths: tuple[int, int, int],
        depths: tuple[int, int, int],
        embedding: int,
        schedule: Schedule,
    ) -> None:
        super().__init__()
        width0, width1, width2 = widths
        self.patch = patch
        self.register_buffer(
            "sigma", schedule.sigma(torch.arange(schedule.timesteps)), persistent=False
        )
        self.noise_level = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
            nn.SiLU(),
        )

        if self.knows_augmentation:
            self.augmentation = nn.Linear(AUGMENTATIONS, embedding, bias=False)

        def blocks(width: int, depth: int) -> nn.ModuleList:
            return nn.ModuleList(ResBlock(width, width, embedding) for _ in range(depth))

        self.stem = nn.Conv2d(patch**2, width0, 3, padding=1)
        self.blocks0 = blocks(width0, depths[0])
        self.down1 = nn.Conv2d(width0, width1, 3, stride=2, padding=1)
        self.blocks1 = blocks(width1, depths[1])
        self.down2 = nn.Conv2d(width1, width2, 3, stride=2, padding=1)
        self.blocks2 = blocks(width2, depths[2])

        self.pooled = nn.GroupNorm(GROUPS, width2)
        self.context = nn.Linear(width2 + embedding, embedding)

    def look(self, xt: Tensor, sigma: Tensor, augmentation: Tensor | None = None) -> Seen:
        """Encode noised images.

        Args:
            xt: (B, 1, H, W).
            sigma: (B,) noise levels.
            augmentation: (B, A) how they were changed, for a network that is told; zeros, which
                add nothing, if not given.
        """
        level = self.noise_level(_fourier(sigma.log()))  # (B, E)
        if augmentation is not None:
            level = level + self.augmentation(augmentation)

        h = F.pixel_unshuffle(xt, self.patch)  # (B, patch^2, h, w)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))  # (B, width0, h, w)
        for block in self.blocks0:
            h = block(h, level)
        h0 = h
        h = self.down1(h)  # (B, width1, h/2, w/2)
        for block in self.blocks1:
            h = block(h, level)
        h1 = h
        h = self.down2(h)  # (B, width2, h/4, w/4)
        for block in self.blocks2:
            h = block(h, level)

        pooled = F.silu(self.pooled(h)).mean(dim=(2, 3))  # (B, width2)
        context = self.context(torch.cat([pooled, level], dim=1))  # (B, E)
        return Seen(h0, h1, h, level, context)

    def embed(self, x0: Tensor) -> Tensor:
        """Return the pooled summary of clean images: (B, 1, H, W) -> (B, E)."""
        return self.look(x0, self.sigma[:1].expand(len(x0))).context

    def read_classes(self, context: Tensor) -> Tensor:
        """Return the linear classification head's logits: (B, E) -> (B, K) float32."""
        with torch.autocast(context.device.type, enabled=False):  # last layers in float32
            logits: Tensor = self.trunk_classes(F.silu(context.to(self.trunk_classes.weight.dtype)))
        return logits

    def noise_of(self, v: Tensor, xt: Tensor, sigma: Tensor) -> Tensor:
        """Return the noise that a prediction of v means.

        ``v = sqrt(abar) eps - sqrt(1 - abar) x0`` (Salimans & Ho, ICLR 2022) stays of unit size at
        every noise level; ``eps = sqrt(1 - abar) xt + sqrt(abar) v``.

        Args:
            v: (B, P, C, H, W) float32.
            xt: (B, C, H, W).
            sigma: (B,) noise levels.

        Returns:
            (B, P, C, H, W) float32.
        """
        sigma = sigma.view(-1, 1, 1, 1, 1)
        signal = torch.rsqrt(1 + sigma**2)
        eps_theta: Tensor = signal * (sigma * xt.unsqueeze(1) + v)
        return eps_theta

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the matrices and filters between layers, which Muon is made for.

        Input and output layers, embeddings, and vectors are left to AdamW.
        """
        ends = ("stem.", "out.", "prompt.", "noise_level.0.", "augmentation.", "trunk_classes.")
        return [
            p for name, p in self.named_parameters() if p.ndim > 1 and not name.startswith(ends)
        ]


class ResBlock(nn.Module):
    """Two convolutions with group norm; the noise level scales and shifts between them."""

    def __init__(self, width_in: int, width: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.level = nn.Linear(embedding, 2 * width)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)
        nn.init.zeros_(self.conv2.weight)  # every block starts as its skip

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, width_in, h, w), (B, E) -> (B, width, h, w)."""
        scale, shift = self.level(level)[:, :, None, None].chunk(2, dim=1)  # (B, width, 1, 1)
        h = self.conv1(F.silu(self.norm1(x)))  # (B, width, h, w)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        residual: Tensor = self.skip(x) + self.conv2(F.silu(h))
        return residual


def _fourier(log_sigma: Tensor) -> Tensor:
    """Return (B, 64) cosines and sines of the log noise level (B,), from 1/4 to 16 rad/e-fold."""
    frequencies = torch.logspace(-2, 4, _FREQUENCIES, base=2.0, device=log_sigma.device)
    angles = log_sigma.unsqueeze(1) * frequencies  # (B, 32)
    return torch.cat([angles.cos(), angles.sin()], dim=1)
