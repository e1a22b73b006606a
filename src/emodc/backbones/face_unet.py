"""FaceUNet: a small U-Net that answers for all prompts at the price of little more than one.

The trunk sees the noised picture and its noise level and runs once. The prompt enters late: it
meets a globally pooled summary of the picture in a small network whose output scales and
shifts the trunk's last features (FiLM; Perez et al., AAAI 2018), which a convolution turns
into one prediction per prompt.

Shapes below: B images, P prompts, E the embedding width, (h, w) the size of the picture after
the stem has folded its pixels into channels.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodc.diffusion import Schedule

_GROUPS = 8
_FREQUENCIES = 32


@dataclass(frozen=True, kw_only=True)
class FaceUNetConfig:
    """Size and starting point of a :class:`FaceUNet`.

    Attributes:
        patch: side of the squares of pixels that the stem folds into channels; the size of
            x0 must be a multiple of 4 * patch.
        widths: channels at full, half and quarter resolution of the folded picture, and of
            the features that the prompts modulate; multiples of 8.
        depths: residual blocks at full, half and quarter resolution.
        embedding: E, width of the noise-level and prompt networks.
        film_scale: standard deviation of the prompts' scales and shifts at the start. At a
            symmetric start the gradient that tells classes apart vanishes, so this is not 0.

    Raises:
        ValueError: a size is not positive, or a width is not a multiple of 8.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (read by pydantic, not a field)

    kind: Literal["face_unet"] = "face_unet"
    patch: int = 2
    widths: tuple[int, int, int, int] = (64, 128, 256, 64)
    depths: tuple[int, int, int] = (1, 2, 3)
    embedding: int = 256
    film_scale: float = 3.0

    def __post_init__(self) -> None:
        if min(self.patch, self.embedding, *self.widths) < 1 or min(self.depths) < 0:
            raise ValueError("patch, widths and embedding must be positive, depths not negative")
        if any(width % _GROUPS for width in self.widths):
            raise ValueError(f"widths must be multiples of {_GROUPS}, not {self.widths}")

    @property
    def multiple(self) -> int:
        """What the size of x0 must be a multiple of."""
        return 4 * self.patch

    def build(self, num_classes: int, schedule: Schedule) -> "FaceUNet":
        """Return the network with fresh weights, drawn from torch's global generator."""
        return FaceUNet(self, num_classes, schedule)


class FaceUNet(nn.Module):
    """The in-house backbone for small gray faces; see :class:`emodc.backbones.base.Backbone`.

    Args:
        config: sizes.
        num_classes: K; the network knows K + 2 prompts.
        schedule: gives every timestep its noise level.
    """

    shares_trunk = True
    sigma: Tensor

    def __init__(self, config: FaceUNetConfig, num_classes: int, schedule: Schedule) -> None:
        super().__init__()
        width0, width1, width2, head = config.widths
        embedding, pixels = config.embedding, config.patch**2
        self.patch = config.patch
        self.register_buffer(
            "sigma", schedule.sigma(torch.arange(schedule.timesteps)), persistent=False
        )
        self.noise_level = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
            nn.SiLU(),
        )

        def blocks(width: int, depth: int) -> nn.ModuleList:
            return nn.ModuleList(_ResBlock(width, width, embedding) for _ in range(depth))

        self.stem = nn.Conv2d(pixels, width0, 3, padding=1)
        self.blocks0 = blocks(width0, config.depths[0])
        self.down1 = nn.Conv2d(width0, width1, 3, stride=2, padding=1)
        self.blocks1 = blocks(width1, config.depths[1])
        self.down2 = nn.Conv2d(width1, width2, 3, stride=2, padding=1)
        self.blocks2 = blocks(width2, config.depths[2])

        self.pooled = nn.GroupNorm(_GROUPS, width2)
        self.context = nn.Linear(width2 + embedding, embedding)
        self.prompt = nn.Embedding(num_classes + 2, embedding)
        self.trunk_classes = nn.Linear(embedding, num_classes)
        to_film = nn.Linear(embedding, 2 * head)
        self.film = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), to_film)

        self.from2 = nn.Conv2d(width2, width1, 1)
        self.from0 = nn.Conv2d(4 * width0, width1, 1)
        self.up1 = _ResBlock(2 * width1, width1, embedding)
        self.features = nn.Conv2d(width1, head, 3, padding=1)
        self.features_norm = nn.GroupNorm(_GROUPS, head)
        self.out = nn.Conv2d(head, 4 * pixels, 3, padding=1)

        nn.init.ones_(self.context.bias)  # prompts pass through until the context has a say
        nn.init.normal_(to_film.weight, std=config.film_scale / math.sqrt(embedding))

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise under each prompt: (B, 1, H, W), (B,), (B, P) -> (B, P, 1, H, W)."""
        return self._under_prompts(xt, prompts, *self._trunk(xt, t))

    def forward(self, xt: Tensor, t: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise (B, P, 1, H, W) and a linear reading of the classes (B, K).

        The reading is logits of the context. Training can warm the trunk up with it; the
        classifier never looks at it.
        """
        features, context, sigma = self._trunk(xt, t)
        with torch.autocast(xt.device.type, enabled=False):  # last layers in float32
            logits = self.trunk_classes(F.silu(context.float()))  # (B, K)
        return self._under_prompts(xt, prompts, features, context, sigma), logits

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the matrices and filters between layers, which Muon is made for.

        Input and output layers, embeddings, and vectors are left to AdamW.
        """
        ends = ("stem.", "out.", "prompt.", "noise_level.0.", "trunk_classes.")
        return [
            p for name, p in self.named_parameters() if p.ndim > 1 and not name.startswith(ends)
        ]

    def _under_prompts(
        self, xt: Tensor, prompts: Tensor, features: Tensor, context: Tensor, sigma: Tensor
    ) -> Tensor:
        meeting = context.unsqueeze(1) * self.prompt(prompts)  # (B, P, E)
        scale, shift = self.film(meeting)[..., None, None].chunk(2, dim=2)  # (B, P, head, 1, 1)
        y = F.silu(torch.addcmul(shift, features.unsqueeze(1), 1 + scale))  # (B, P, head, h/2, w/2)
        y = y.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(xt.device.type, enabled=False):  # last layers in float32
            v = F.pixel_shuffle(self.out(y.float()), 2 * self.patch)  # (B*P, 1, H, W)
        v = v.view(*prompts.shape, *v.shape[1:])  # (B, P, 1, H, W)
        # The network predicts v = sqrt(abar) eps - sqrt(1-abar) x0 (Salimans & Ho, ICLR 2022),
        # which stays of unit size at every noise level; eps = noise * xt + signal * v.
        sigma = sigma.view(-1, 1, 1, 1, 1)
        signal = torch.rsqrt(1 + sigma**2)
        eps_theta: Tensor = signal * (sigma * xt.unsqueeze(1) + v)
        return eps_theta

    def _trunk(self, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (B, head, h/2, w/2), context (B, E) and noise levels (B,)."""
        sigma = self.sigma[t]  # (B,)
        level = self.noise_level(_fourier(sigma.log()))  # (B, E)

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

        h = F.interpolate(self.from2(h), scale_factor=2.0)  # (B, width1, h/2, w/2)
        h = h + self.from0(F.pixel_unshuffle(h0, 2))  # (B, width1, h/2, w/2)
        h = self.up1(torch.cat([h, h1], dim=1), level)  # (B, width1, h/2, w/2)
        return self.features_norm(self.features(h)), context, sigma


class _ResBlock(nn.Module):
    """Two convolutions with group norm; the noise level scales and shifts between them."""

    def __init__(self, width_in: int, width: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.level = nn.Linear(embedding, 2 * width)
        self.norm2 = nn.GroupNorm(_GROUPS, width)
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
