"""FaceUNet's trunk with a linear head: the baseline that shares everything with it but diffusion.

The trunk is shown the clean image at the least noise level, or, as the control that isolates
diffusion, the very draws (t, eps) that a diffusion classifier is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emodc.backbones.base import Classifier
from emodc.backbones.face_trunk import FaceTrunk, TrunkSizes
from emodc.method.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class FaceClassifierConfig(TrunkSizes):
    """Size of a :class:`FaceClassifier`, and what it is shown.

    Attributes:
        patch: side of the squares of pixels that the stem folds into channels; the size of
            x0 must be a multiple of 4 * patch.
        widths: channels at full, half and quarter resolution; multiples of 8.
        depths: residual blocks at each.
        embedding: width of the noise-level network and of the head's input.
        sees_noise: whether it is shown noised images and their noise level.

    Raises:
        ValueError: a size is not positive, or a width is not a multiple of 8.
    """

    kind: Literal["face_classifier"] = "face_classifier"
    patch: int = 2
    widths: tuple[int, int, int] = (64, 128, 256)
    depths: tuple[int, int, int] = (1, 2, 3)
    embedding: int = 256
    sees_noise: bool = False

    def build(self, texts: Sequence[str], schedule: Schedule) -> "FaceClassifier":
        """Return the network with fresh weights, drawn from torch's global generator.

        Args:
            texts: of the K + 2 prompts; only their number matters.
            schedule: gives every timestep its noise level.
        """
        return FaceClassifier(self, len(texts) - 2, schedule)


class FaceClassifier(FaceTrunk, Classifier):
    """A convolutional classifier; see :class:`emodc.backbones.base.Classifier`.

    Args:
        config: sizes.
        num_classes: K.
        schedule: gives every timestep its noise level.
    """

    def __init__(self, config: FaceClassifierConfig, num_classes: int, schedule: Schedule) -> None:
        super().__init__(config.patch, config.widths, config.depths, config.embedding, schedule)
        self.sees_noise = config.sees_noise
        self.trunk_classes = nn.Linear(config.embedding, num_classes)

    def forward(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Return logits: (B, 1, H, W) twice, (B,) -> (B, K)."""
        if not self.sees_noise:
            return self.read_classes(self.look(x0, self.sigma[torch.zeros_like(t)]).context)
        return self.read_classes(self.look(xt, self.sigma[t]).context)
