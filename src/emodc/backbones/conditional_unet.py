"""ConditionalUNet: a U-Net that draws faces, and runs on a laptop.

Its encoder is FaceUNet's trunk: it sees the noised image and its noise level, never a prompt, and
runs once for all prompts. Its decoder climbs back to the resolution of the folded image, and every
block of it is modulated by the noise level and the prompt together (adaptive group norm; Dhariwal &
Nichol, NeurIPS 2021, section 3.1). What the decoder takes from the encoder is added, not
concatenated, so that it too is computed once for all prompts.

Shapes below: B images, P prompts, M = B * P, E the embedding width, (h, w) the size of the image
after the stem has folded its pixels into channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodc.backbones.base import Backbone
from emodc.backbones.face_trunk import GROUPS, FaceTrunk, ResBlock, TrunkSizes
from emodc.backbones.sizes import check_sizes
from emodc.method.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class ConditionalUNetConfig(TrunkSizes):
    """Size of a :class:`ConditionalUNet`.

    Attributes:
        patch: side of the squares of pixels that the stem folds into channels; the size of
            x0 must be a multiple of 4 * patch.
        widths: channels at full, half and quarter resolution of the folded image; multiples of 8.
        depths: residual blocks of the encoder at full, half and quarter resolution.
        decoder_depths: residual blocks of the decoder at full, half and quarter resolution.
        embedding: E, width of the noise-level and prompt networks.

    Raises:
        ValueError: a size is not positive, or a width is not a multiple of 8.
    """

    generative = True
    auxiliary_head = True

    kind: Literal["conditional_unet"] = "conditional_unet"
    patch: int = 2
    widths: tuple[int, int, int] = (64, 128, 256)
    depths: tuple[int, int, int] = (1, 2, 3)
    decoder_depths: tuple[int, int, int] = (1, 1, 2)
    embedding: int = 256

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        if min(self.decoder_depths) < 1:
            raise ValueError("decoder_depths must be positive: each resolution needs a prompt")
        check_sizes(self.widths, self.decoder_depths, self.embedding)

    def build(self, texts: Sequence[str], schedule: Schedule) -> "ConditionalUNet":
        """Return the network with fresh weights, drawn from torch's global generator.

        Args:
            texts: of the K + 2 prompts; only their number matters, the prompts are learned.
            schedule: gives every timestep its noise level.
        """
        return ConditionalUNet(self, len(texts) - 2, schedule)


class Encoded(NamedTuple):
    """What the encoder makes of noised images; the prompts are yet to come.

    Attributes:
        quarter: (B, width2, h/4, w/4) features, where the decoder begins.
        half: (B, width1, h/2, w/2), added on the way up.
        full: (B, width0, h, w), likewise.
        level: (B, E), the noise level's embedding.
        context: (B, E), a globally pooled summary.
        sigma: (B,) noise levels.
    """

    quarter: Tensor
    half: Tensor
    full: Tensor
    level: Tensor
    context: Tensor
    sigma: Tensor


class ConditionalUNet(FaceTrunk, Backbone):
    """The in-house generator for small gray faces; see :class:`emodc.backbones.base.Backbone`.

    Args:
        config: sizes.
        num_classes: K; the network knows K + 2 prompts.
        schedule: gives every timestep its noise level.
    """

    shares_trunk = False  # of its cost, most is the decoder's, once for each prompt
    knows_augmentation = True

    def __init__(self, config: ConditionalUNetConfig, num_classes: int, schedule: Schedule) -> None:
        width0, width1, width2 = config.widths
        embedding = config.embedding
        super().__init__(config.patch, config.widths, config.depths, embedding, schedule)
        self.prompt = nn.Embedding(num_classes + 2, embedding)
        self.trunk_classes = nn.Linear(embedding, num_classes)
        self.condition = nn.Sequential(
            nn.Linear(2 * embedding, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
            nn.SiLU(),
        )

        def blocks(width: int, depth: int) -> nn.ModuleList:
            return nn.ModuleList(ResBlock(width, width, embedding) for _ in range(depth))

        self.skip0 = nn.Conv2d(width0, width0, 3, padding=1)
        self.skip1 = nn.Conv2d(width1, width1, 3, padding=1)
        self.attention = SelfAttention(width2)
        self.decode2 = blocks(width2, config.decoder_depths[2])
        self.up1 = nn.Conv2d(width2, width1, 1)
        self.decode1 = blocks(width1, config.decoder_depths[1])
        self.up0 = nn.Conv2d(width1, width0, 1)
        self.decode0 = blocks(width0, config.decoder_depths[0])
        self.out_norm = nn.GroupNorm(GROUPS, width0)
        self.out = nn.Conv2d(width0, config.patch**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.out.weight)  # at first v is predicted as 0, its mean

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise under each prompt: (B, 1, H, W), (B,), (B, P) -> (B, P, 1, H, W)."""
        return self.decode(xt, self.encode(xt, t), prompts)

    def forward(
        self,
        xt: Tensor,
        t: Tensor,
        prompts: Tensor,
        constant: int = 0,
        augmentation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the noise (B, P, 1, H, W) and the auxiliary head's logits (B, K).

        Args:
            xt: (B, 1, H, W) noised images.
            t: (B,) timesteps.
            prompts: (B, P) ids.
            constant: so many of the last prompts need no gradient; their graph is not kept.
            augmentation: (B, A) what was done to the images, see `emodc.training.augment`.
        """
        encoded = self.encode(xt, t, augmentation)
        logits = self.read_classes(encoded.context)  # (B, K)
        learned = prompts.shape[1] - constant
        eps_theta = self.decode(xt, encoded, prompts[:, :learned])
        if constant:
            with torch.no_grad():
                fixed = self.decode(xt, encoded, prompts[:, learned:])
            eps_theta = torch.cat([eps_theta, fixed], dim=1)
        return eps_theta, logits

    def encode(self, xt: Tensor, t: Tensor, augmentation: Tensor | None = None) -> Encoded:
        """Look at noised images (B, 1, H, W) at timesteps (B,), whatever the prompts."""
        sigma = self.sigma[t]  # (B,)
        h0, h1, h2, level, context = self.look(xt, sigma, augmentation)
        return Encoded(h2, self.skip1(h1), self.skip0(h0), level, context, sigma)

    def decode(self, xt: Tensor, encoded: Encoded, prompts: Tensor) -> Tensor:
        """Predict the noise under each prompt (B, P) from what the encoder saw."""
        images, asked = prompts.shape
        quarter, half, full, level, _, sigma = encoded

        def each(features: Tensor) -> Tensor:  # (B, ...) -> (M, ...)
            return features if asked == 1 else features.repeat_interleave(asked, dim=0)

        named = self.prompt(prompts).flatten(0, 1)  # (M, E)
        condition = self.condition(torch.cat([each(level), named], dim=1))  # (M, E)
        h = each(quarter)  # (M, width2, h/4, w/4)
        for number, block in enumerate(self.decode2):
            h = block(h, condition)
            if number == 0:
                h = self.attention(h)
        h = _twice(self.up1(h)) + each(half)  # (M, width1, h/2, w/2)
        for block in self.decode1:
            h = block(h, condition)
        h = _twice(self.up0(h)) + each(full)  # (M, width0, h, w)
        for block in self.decode0:
            h = block(h, condition)
        with torch.autocast(xt.device.type, enabled=False):  # last layers in float32
            h = self.out(F.silu(self.out_norm(h.float())))  # (M, patch^2, h, w)
        v = F.pixel_shuffle(h, self.patch).view(images, asked, *xt.shape[1:])  # (B, P, 1, H, W)
        return self.noise_of(v, xt, sigma)


class SelfAttention(nn.Module):
    """Every place looks at every other; one head, added to what comes in.

    A plain product: on the few places of a small face torch's fused kernel is slower on a CPU,
    above all backwards.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        nn.init.zeros_(self.project.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(M, width, h, w) -> (M, width, h, w)."""
        places = self.norm(x).flatten(2).mT  # (M, h*w, width)
        q, k, v = self.qkv(places).chunk(3, dim=2)  # (M, h*w, width) each
        weights = torch.softmax(q @ k.mT * q.shape[2] ** -0.5, dim=2)  # (M, h*w, h*w)
        found = self.project(weights @ v).mT.reshape(x.shape)
        result: Tensor = x + found
        return result.contiguous(memory_format=torch.channels_last)


def _twice(x: Tensor) -> Tensor:
    """Double the resolution: (M, C, h, w) -> (M, C, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2.0)
