from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from emodc.experiments.analysis.measurement import Measured
from emodc.method.draws import spaced_timesteps
from emodc.method.errors import posterior

CLASSES = ("neutral", "happiness", "surprise")
Make = Callable[..., Measured]


def make(
    errors: Tensor,
    labels: Tensor,
    *,
    name: str = "model",
    d_null: Tensor | None = None,
    weights: Tensor | None = None,
) -> Measured:
    """A measured model of three classes; the non-class prompt errs like the null prompt."""
    images, _, draws = errors.shape
    null = torch.ones(images, draws) if d_null is None else d_null
    weighing = torch.ones(draws, dtype=torch.float64) if weights is None else weights
    t = spaced_timesteps(1000, draws)
    return Measured(
        name=name,
        classes=CLASSES,
        labels=labels,
        t=t,
        sigma=t / 1000,
        errors=errors.float(),
        d_null=null,
        d_nc=null,
        weights=weighing,
        probabilities=posterior(errors, 1.0, weighing),
    )


@pytest.fixture
def labels() -> Tensor:
    """24 images, eight of each class."""
    return torch.arange(24) % 3


@pytest.fixture
def difficulty() -> Tensor:
    """(24, 10) errors that fall thirty-fold over the draws and differ between images."""
    generator = torch.Generator().manual_seed(0)
    by_image = 1 + 0.3 * torch.rand(24, 1, generator=generator)
    return by_image * torch.logspace(0, -1.5, 10)


def separated(
    difficulty: Tensor, labels: Tensor, share: float | Tensor, **more: object
) -> Measured:
    """A model whose wrong classes err by this share more than the true one."""
    true = torch.nn.functional.one_hot(labels, 3).bool().unsqueeze(2)  # (N, 3, 1)
    d_p = difficulty.unsqueeze(1)
    return make(torch.where(true, d_p, (1 + share) * d_p), labels, **more)  # type: ignore[arg-type]
