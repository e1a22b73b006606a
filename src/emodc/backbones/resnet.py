"""A residual network (He et al., CVPR 2016): the baseline that everybody compares with.

It is transformers' ResNet with two changes. Its first convolution keeps half the resolution, as
FaceUNet's stem does, where the original for 224-pixel photographs keeps a quarter. And group
normalization (Wu & He, ECCV 2018) stands for batch normalization: averaged weights have no batch
statistics of their own, and an answer must not depend on the images beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from emodc.backbones.base import Classifier, NetworkSettings
from emodc.backbones.sizes import check_sizes
from emodc.method.schedule import Schedule
from emodc.support.optional import importing

_GROUPS = 8
_MOST_STAGES = 8  # each halves the resolution


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(NetworkSettings):
    """Size of a :class:`ResNet`; the default is about as large as FaceUNet's trunk.

    Attributes:
        widths: channels of each stage, every one at half the resolution of the one before;
            multiples of 8.
        depths: residual blocks of each stage.

    Raises:
        ValueError: there are no stages, or as many depths as widths, or a size is wrong.
    """

    kind: Literal["resnet"] = "resnet"
    widths: tuple[int, ...] = (64, 128, 256)
    depths: tuple[int, ...] = (2, 2, 4)

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.depths):
            raise ValueError("widths and depths must name the same number of stages, at least one")
        if any(width < 1 or width % _GROUPS for width in self.widths) or min(self.depths) < 1:
            raise ValueError(f"widths must be multiples of {_GROUPS}, depths positive")
        if len(self.widths) > _MOST_STAGES:
            raise ValueError(f"at most {_MOST_STAGES} stages, not {len(self.widths)}")
        check_sizes(self.widths, self.depths)

    def build(self, texts: Sequence[str], schedule: Schedule) -> "ResNet":
        """Return the network with fresh weights, drawn from torch's global generator.

        Args:
            texts: of the K + 2 prompts; only their number matters.
            schedule: of no importance.

        Raises:
            ImportError: the extra `baselines` is not installed.
        """
        return ResNet(self, len(texts) - 2)


class ResNet(Classifier):
    """A residual classifier of gray images; see :class:`emodc.backbones.base.Classifier`.

    Args:
        config: sizes.
        num_classes: K.
    """

    class_rows = frozenset({"network.classifier.1.weight", "network.classifier.1.bias"})

    def __init__(self, config: ResNetConfig, num_classes: int) -> None:
        super().__init__()
        with importing("baselines", "a ResNet"):
            from transformers import ResNetConfig as Described
            from transformers import ResNetForImageClassification
        described = Described(
            num_channels=1,
            embedding_size=config.widths[0],
            hidden_sizes=list(config.widths),
            depths=list(config.depths),
            layer_type="basic",
            num_labels=num_classes,
        )
        network = ResNetForImageClassification(described)
        stem = network.resnet.embedder
        stem.embedder.convolution = nn.Conv2d(1, config.widths[0], 3, 2, padding=1, bias=False)
        stem.pooler = nn.Identity()
        _normalize_groups(network)
        self.network = network

    def embed(self, x0: Tensor) -> Tensor:
        """Return the pooled features: (B, 1, H, W) -> (B, width)."""
        x0 = x0.contiguous(memory_format=torch.channels_last)
        pooled: Tensor = self.network.resnet(pixel_values=x0).pooler_output  # (B, width, 1, 1)
        return pooled.flatten(1)

    def forward(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Return logits: (B, 1, H, W) twice, (B,) -> (B, K)."""
        pooled = self.embed(x0)
        head = self.network.classifier
        with torch.autocast(x0.device.type, enabled=False):  # last layer in float32
            logits: Tensor = head(pooled.to(head[-1].weight.dtype))
        return logits

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the filters between layers; the first convolution and the head are AdamW's."""
        ends = ("network.resnet.embedder.", "network.classifier.")
        return [
            p for name, p in self.named_parameters() if p.ndim > 1 and not name.startswith(ends)
        ]


def _normalize_groups(module: Any) -> None:
    """Put group normalization in the place of all batch normalization."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(_GROUPS, child.num_features))
        else:
            _normalize_groups(child)
