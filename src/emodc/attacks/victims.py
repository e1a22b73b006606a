"""What is attacked: a decision rule from pixels to class logits, with the draws it used.

Attacks treat every model as a function of pixels and of the seed of its draws, which must be the
deployed rule itself: a gradient of fewer terms, or of other ones, makes a classifier look robust
that is not. The victims made of models are in `emodc.inference.victim`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Rule = Callable[[Tensor, int], Tensor]
"""Pixels (B, C, H, W) in [0, 1] and the seed of the draws -> logits (B, K)."""


@dataclass(frozen=True)
class Victim:
    """What is attacked.

    Attributes:
        answer: pixels (B, C, H, W) in [0, 1] and the seed of the draws -> logits (B, K), of which
            the greatest is the answer. Gradient attacks need logits that are differentiable
            functions of the pixels; the black-box attack does not. An image's logits must not
            depend on the images beside it.
        batch: most images shown at once.
        deployed: what answers in the end, if ``answer`` is only a surrogate for it that has
            gradients; called alike.

    Raises:
        ValueError: ``batch`` is not positive.
    """

    answer: Rule
    batch: int = 64
    deployed: Rule | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"a victim is shown at least 1 image at once, not {self.batch}")


def network_victim(network: Callable[[Tensor], Tensor], batch: int = 64) -> Victim:
    """Return a discriminative classifier as a victim; it has no draws, so their seed is ignored.

    Args:
        network: pixels (B, C, H, W) in [0, 1] -> logits (B, K), with its own preprocessing.
        batch: most images shown at once.
    """
    return Victim(lambda pixels, seed: network(pixels), batch)


@torch.no_grad()
def predictions(victim: Victim, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return the deployed rule's answers, (B, R) int64, for each of R seeds of its draws.

    Args:
        victim: what answers.
        pixels: (B, C, H, W) in [0, 1].
        seeds: one for every evaluation.
    """
    parts, answer = torch.split(pixels, victim.batch), victim.deployed or victim.answer
    rows = [torch.cat([answer(x, seed).argmax(dim=1) for x in parts]) for seed in seeds]
    return torch.stack(rows, dim=1)


class Deployed(nn.Module):
    """A victim with fixed draws as a torch module, for attack libraries that expect one.

    Args:
        victim: what answers.
        seed: of its draws.
    """

    def __init__(self, victim: Victim, seed: int = 0) -> None:
        super().__init__()
        self._victim, self._seed = victim, seed

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K) of the pixels' dtype."""
        return self._victim.answer(pixels, self._seed).to(pixels.dtype)
