from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodc.attacks.threat_model import Images
from emodc.attacks.victims import Victim, network_victim

CLASSES, SIDE = 5, 8


def noisy_images(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy images (N, 1, 8, 8) float64 of one pattern a class, and their classes (N,)."""
    g = torch.Generator().manual_seed(99)
    patterns = torch.rand(CLASSES, 1, 4, 4, generator=g, dtype=torch.float64)
    patterns = F.interpolate(patterns, scale_factor=SIDE // 4)
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % CLASSES
    noise = torch.randn(number, 1, SIDE, SIDE, generator=g, dtype=torch.float64)
    return (0.2 + 0.6 * patterns[labels] + 0.12 * noise).clamp(0, 1), labels


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """A small network that knows the images and was not defended in any way."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(12, 12, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(12 * (SIDE // 2) ** 2, CLASSES),
        ).double()
    x, y = noisy_images(150, seed=1)
    weights = list(network.parameters())
    speed = [torch.zeros_like(weight) for weight in weights]
    for _ in range(120):  # by hand: importing torch's optimizers takes longer than this
        slopes = torch.autograd.grad(F.cross_entropy(network(x), y), weights)
        with torch.no_grad():
            for weight, v, slope in zip(weights, speed, slopes, strict=True):
                weight.sub_(v.mul_(0.9).add_(slope), alpha=0.03)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def victim(network: nn.Module) -> Victim:
    return network_victim(network)


@pytest.fixture(scope="session")
def images(network: nn.Module) -> Images:
    """Twenty images that the network knows."""
    x, y = noisy_images(30, seed=2)
    right = (network(x).argmax(dim=1) == y).nonzero().squeeze(1)[:20]
    assert len(right) == 20
    return Images(x[right], y[right], right)


def linear_victim(seed: int = 0) -> tuple[Victim, Tensor]:
    """A linear classifier, whose minimal perturbations are known, and its weights (K, 64)."""
    g = torch.Generator().manual_seed(seed)
    weights = torch.randn(CLASSES, SIDE * SIDE, generator=g, dtype=torch.float64)
    return network_victim(lambda pixels: (pixels - 0.5).flatten(1) @ weights.T), weights


def gray(number: int, victim: Victim, seed: int = 0) -> Images:
    """Nearly gray images, far from black and white, labeled as the victim answers."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(number, 1, SIDE, SIDE, generator=g, dtype=torch.float64)
    pixels = 0.5 + 0.1 * (x - 0.5)
    return Images(pixels, victim.answer(pixels, 0).argmax(dim=1), torch.arange(number))


def noisy(network: Callable[[Tensor], Tensor], size: float) -> Victim:
    """A victim that adds noise of its own to the logits: another for each seed of its draws."""

    def answer(pixels: Tensor, seed: int) -> Tensor:
        logits = network(pixels)
        g = torch.Generator().manual_seed(seed)
        return logits + size * torch.randn(logits.shape[1], generator=g, dtype=logits.dtype)

    return Victim(answer)
