"""FaceUNet: a small U-Net that answers for all prompts at the price of little more than one.

The trunk takes the noised image and its noise level and runs once. The prompt enters late: it
meets a globally pooled summary of the image in a small network whose output scales and
shifts the trunk's last features (FiLM; Perez et al., AAAI 2018), which a convolution turns
into one prediction per prompt.

Shapes below: B images, P prompts, E the embedding width, (h, w) the size of the image after
the stem has folded its pixels into channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodc.backbones.base import Backbone
from emodc.backbones.face_trunk import GROUPS, FaceTrunk, ResBlock, TrunkSizes
from emodc.method.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class FaceUNetConfig(TrunkSizes):
    """Size and starting point of a :class:`FaceUNet`.

    Attributes:
        patch: side of the squares of pixels that the stem folds into channels; the size of
            x0 must be a multiple of 4 * patch.
        widths: channels at full, half and quarter resolution of the folded image, and of
            the features that the prompts modulate; multiples of 8.
        depths: residual blocks at full, half and quarter resolution.
        embedding: E, width of the noise-level and prompt networks.
        film_scale: standard deviation of the prompts' scales and shifts at the start. At a
            symmetric start the gradient that tells classes apart vanishes, so this is not 0.

    Raises:
        ValueError: a size is not positive, or a width is not a multiple of 8.
    """

    generative = True
    auxiliary_head = True

    kind: Literal["face_unet"] = "face_unet"
    patch: int = 2
    widths: tuple[int, int, int, int] = (64, 128, 256, 64)
    depths: tuple[int, int, int] = (1, 2, 3)
    embedding: int = 256
    film_scale: float = 3.0

    def build(self, texts: Sequence[str], schedule: Schedule) -> "FaceUNet":
        """Return the network with fresh weights, drawn from torch's global generator.

        Args:
            texts: of the K + 2 prompts; only their number matters, the prompts are learned.
            schedule: gives every timestep its noise level.
        """
        return FaceUNet(self, len(texts) - 2, schedule)


class FaceUNet(FaceTrunk, Backbone):
    """The in-house backbone for small gray faces; see :class:`emodc.backbones.base.Backbone`.

    Args:
        config: sizes.
        num_classes: K; the network knows K + 2 prompts.
        schedule: gives every timestep its noise level.
    """

    def __init__(self, config: FaceUNetConfig, num_classes: int, schedule: Schedule) -> None:
        width0, width1, width2, head = config.widths
        embedding, pixels = config.embedding, config.patch**2
        super().__init__(config.patch, (width0, width1, width2), config.depths, embedding, schedule)
        self.prompt = nn.Embedding(num_classes + 2, embedding)
        self.trunk_classes = nn.Linear(embedding, num_classes)
        to_film = nn.Linear(embedding, 2 * head)
        self.film = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), to_film)

        self.from2 = nn.Conv2d(width2, width1, 1)
        self.from0 = nn.Conv2d(4 * width0, width1, 1)
        self.up1 = ResBlock(2 * width1, width1, embedding)
        self.features = nn.Conv2d(width1, head, 3, padding=1)
        self.features_norm = nn.GroupNorm(GROUPS, head)
        self.out = nn.Conv2d(head, 4 * pixels, 3, padding=1)

        nn.init.ones_(self.context.bias)  # prompts pass through until the context has a say
        nn.init.normal_(to_film.weight, std=config.film_scale / math.sqrt(embedding))

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise under each prompt: (B, 1, H, W), (B,), (B, P) -> (B, P, 1, H, W)."""
        return self._under_prompts(xt, prompts, *self._trunk(xt, t))

    def forward(
        self,
        xt: Tensor,
        t: Tensor,
        prompts: Tensor,
        constant: int = 0,
        augmentation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the noise (B, P, 1, H, W) and the auxiliary classification head's logits (B, K).

        All prompts share the trunk, so nothing is saved on those that need no gradient.
        """
        features, context, sigma = self._trunk(xt, t)
        logits = self.read_classes(context)  # (B, K)
        return self._under_prompts(xt, prompts, features, context, sigma), logits

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
        return self.noise_of(v, xt, sigma)

    def _trunk(self, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (B, head, h/2, w/2), context (B, E) and noise levels (B,)."""
        sigma = self.sigma[t]  # (B,)
        h0, h1, h, level, context = self.look(xt, sigma)
        h = F.interpolate(self.from2(h), scale_factor=2.0)  # (B, width1, h/2, w/2)
        h = h + self.from0(F.pixel_unshuffle(h0, 2))  # (B, width1, h/2, w/2)
        h = self.up1(torch.cat([h, h1], dim=1), level)  # (B, width1, h/2, w/2)
        return self.features_norm(self.features(h)), context, sigma
