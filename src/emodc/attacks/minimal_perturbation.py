"""How far an image must be changed: the minimal perturbation that fools the victim."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emodc.attacks.gradient import GradientAttack
from emodc.attacks.search import FixedDraws
from emodc.attacks.threat_model import Images, Norm, distances, full_range
from emodc.attacks.victims import Victim, predictions

_GROWTH = 4.0  # between epsilons, until one fools and one does not
_SHRINKS = 8  # halvings of the way back from an image found towards the clean one


@dataclass(frozen=True)
class MinimalPerturbation:
    """The minimal perturbations that were found: upper bounds of the true ones.

    Attributes:
        distance: (B,) float64; 0 for images that need none, inf where none was found at all.
        pixels: (B, C, H, W) in [0, 1], the images; the clean one where none was found.
    """

    distance: Tensor
    pixels: Tensor


def minimal_perturbation(
    attack: GradientAttack,
    victim: Victim,
    images: Images,
    norm: Norm,
    draws: FixedDraws,
    *,
    start: float,
    rounds: int = 8,
    seed: int = 0,
) -> MinimalPerturbation:
    """Search the epsilon from which on the attack succeeds, for every image by itself.

    Each round attacks all images, each at an epsilon of its own: four times larger or smaller than
    the last until one success and one failure are known, then their geometric mean. A success is
    pulled back towards the clean image as long as it fools, so its distance, not the round's
    epsilon, is what counts.

    Args:
        attack: how to attack at one epsilon.
        victim: what is attacked.
        images: B images.
        norm: how distance is measured.
        draws: must be fixed: with fresh ones no image fools once and for all.
        start: first epsilon.
        rounds: attacks on each image.
        seed: of the attack's starting points.

    Raises:
        ValueError: ``start`` is not positive.
    """
    if not start > 0:
        raise ValueError(f"the first epsilon must be positive, not {start}")
    most = full_range(images.pixels, norm)
    failed = torch.zeros(len(images), dtype=torch.float64, device=images.pixels.device)
    best = torch.full_like(failed, torch.inf)
    pixels = images.pixels
    eps = torch.full_like(failed, min(start, most))
    attack = replace(attack, stop_when_fooled=True)
    for number in range(rounds):
        # Images that need no change at all, or fail at any, have nothing left to search.
        rows = ((best > 0) & (failed < most)).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        these = images[rows]
        found = attack(victim, these, eps[rows], norm, draws, seed + number)
        nearer = _pulled_back(victim, these, found.pixels, found.fooled, draws)
        reached = distances(nearer - these.pixels, norm)
        won = found.fooled & (reached < best[rows])
        pixels = pixels.index_copy(0, rows[won], nearer[won])
        best[rows[won]] = reached[won]
        lost = rows[~found.fooled]
        failed[lost] = eps[lost]
        eps = torch.where(
            best.isinf(),
            eps * _GROWTH,
            torch.where(failed == 0, best / _GROWTH, (failed * best).sqrt()),
        ).clamp_max(most)
    return MinimalPerturbation(best, pixels)


def _pulled_back(
    victim: Victim, images: Images, pixels: Tensor, fooled: Tensor, draws: FixedDraws
) -> Tensor:
    """Return images on the way to the clean ones that still fool, (B, C, H, W)."""
    nearer = pixels
    rows = (fooled & (pixels != images.pixels).flatten(1).any(dim=1)).nonzero().squeeze(1)
    if len(rows) == 0:
        return nearer
    clean, far = images.pixels[rows], pixels[rows]
    low, high = torch.zeros(len(rows)).to(pixels), torch.ones(len(rows)).to(pixels)
    for _ in range(_SHRINKS):
        middle = (low + high) / 2
        tried = torch.lerp(clean, far, middle.view(-1, 1, 1, 1))
        answers = predictions(victim, tried, draws.defender(1)).squeeze(1)
        fools = answers != images.labels[rows]
        nearer = nearer.index_copy(0, rows[fools], tried[fools])
        low, high = torch.where(fools, low, middle), torch.where(fools, middle, high)
    return nearer
