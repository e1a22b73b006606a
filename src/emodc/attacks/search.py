"""The search for an image that fools the victim: what it may ask, and the best so far."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from emodc.attacks.losses import LossName, attack_loss, margin
from emodc.attacks.threat_model import Images, Norm
from emodc.attacks.victims import Victim
from emodc.method.randomness import counter_rng

# Streams of `counter_rng`.
_ATTACKER, _DEFENDER = 0xA77AC, 0xDEFE2D

_FEW_BANKS, _SURE = 4, 4.0  # from so many fresh banks on, so many standard deviations are enough


@dataclass(frozen=True)
class FixedDraws:
    """The deployed rule has one bank of draws for all time, and the attacker knows it.

    Attributes:
        seed: of the bank.
    """

    seed: int = 0

    def attacker(self, query: int) -> list[int]:
        """Return the seeds over which the attacker averages in its n-th query."""
        return [self.seed]

    def defender(self, evaluations: int) -> list[int]:
        """Return the seeds of the deployed rule: all evaluations are the same."""
        return [self.seed]


@dataclass(frozen=True)
class FreshDraws:
    """The deployed rule takes new draws for every image it is shown.

    The attacker averages over draws of its own (expectation over transformation; Athalye et al.,
    ICML 2018); the defender's are others.

    Attributes:
        eot: banks that the attacker averages over in one query.
        seed: of both parties' seeds.

    Raises:
        ValueError: ``eot`` is not positive.
    """

    eot: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.eot < 1:
            raise ValueError(f"eot must be at least 1, not {self.eot}")

    def attacker(self, query: int) -> list[int]:
        """Return the seeds over which the attacker averages in its n-th query."""
        return _seeds(self.seed, _ATTACKER, query, self.eot)

    def defender(self, evaluations: int) -> list[int]:
        """Return the seeds of as many evaluations by the deployed rule."""
        return _seeds(self.seed, _DEFENDER, 0, evaluations)


Draws = FixedDraws | FreshDraws


def _seeds(seed: int, stream: int, index: int, number: int) -> list[int]:
    return [int(n) for n in counter_rng(seed, stream, index).integers(2**63, size=number)]


@dataclass(frozen=True)
class Found:
    """The outcome of an attack.

    Attributes:
        pixels: (B, C, H, W) in [0, 1], the strongest image found for each image.
        margin: (B,) float64, by how much the best wrong class leads on it, under the draws that
            the attacker tried: with fixed draws, positive exactly if what it asked is fooled.
    """

    pixels: Tensor
    margin: Tensor

    @property
    def fooled(self) -> Tensor:
        """Whether the attacker believes in its success, (B,) bool."""
        return self.margin > 0


class Attack(Protocol):
    """A way to look for images that fool a victim."""

    def __call__(
        self,
        victim: Victim,
        images: Images,
        eps: float | Tensor,
        norm: Norm,
        draws: Draws,
        seed: int = 0,
    ) -> Found:
        """Attack every image; see :class:`emodc.attacks.gradient.GradientAttack`."""


class Search:
    """An attack on a batch of images while it runs.

    An image is finished as soon as it is fooled, and costs nothing any more. With fresh draws one
    success may be luck: there the margin must be several times its standard deviation between
    the attacker's banks, of which it takes a few to tell, so that new banks will be fooled too.

    Args:
        victim: what is asked.
        images: the images under attack.
        draws: the draws behind the victim's answers.
        stop_when_fooled: False keeps raising the margin of images that are fooled already, for
            images that are to fool another victim.

    Attributes:
        images: as given.
        strongest: (B, C, H, W), the image of the greatest margin so far; first the clean one.
        margin: (B,) float64, its margin.
        queries: how often the victim was asked, for each image that was not finished.
    """

    def __init__(
        self, victim: Victim, images: Images, draws: Draws, stop_when_fooled: bool = True
    ) -> None:
        self.images, self.queries = images, 0
        self._victim, self._draws, self._stops = victim, draws, stop_when_fooled
        self._finished = torch.zeros_like(images.labels).bool()
        self.strongest = images.pixels
        self.margin = images.pixels.new_full((len(images),), -torch.inf, dtype=torch.float64)
        self.try_out(images.pixels)

    @property
    def open(self) -> Tensor:
        """Which images are still searched for, (B,) bool."""
        return ~self._finished

    def climb(
        self, pixels: Tensor, loss: LossName, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Ask for the loss at these images and its gradient, and remember the strongest.

        Args:
            pixels: (B, C, H, W), allowed images.
            loss: what is raised.
            targets: see `attack_loss`.

        Returns:
            The loss (B,) float64 and its gradient (B, C, H, W), averaged over the attacker's
            draws; 0 for images that are finished, and where the gradient is not a number.

        Raises:
            ValueError: the victim's logits have no gradient.
        """
        values, gradients = torch.zeros_like(self.margin), torch.zeros_like(pixels)
        seeds = self._next_seeds()
        for rows in self._parts():
            labels = self.images.labels[rows]
            margins = []
            for seed in seeds:
                asked = pixels[rows].detach().requires_grad_()
                logits = self._victim.answer(asked, seed)
                goals = None if targets is None else targets[rows]
                value = attack_loss(loss, logits, labels, goals)
                gradients[rows] += loss_gradient(value, asked) / len(seeds)
                values[rows] += value.detach().double() / len(seeds)
                margins.append(margin(logits.detach(), labels).double())
            self._remember(pixels, rows, torch.stack(margins))
        return values, gradients.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    @torch.no_grad()
    def try_out(self, pixels: Tensor) -> Tensor:
        """Ask for the margins of these images, and remember the strongest.

        Args:
            pixels: (B, C, H, W), allowed images.

        Returns:
            (B,) float64, averaged over the attacker's draws; those known for finished images.
        """
        found, seeds = self.margin.clone(), self._next_seeds()
        for rows in self._parts():
            x, labels = pixels[rows], self.images.labels[rows]
            asked = [margin(self._victim.answer(x, seed), labels).double() for seed in seeds]
            margins = torch.stack(asked)  # (R, rows)
            found[rows] = margins.mean(dim=0)
            self._remember(pixels, rows, margins)
        return found

    def found(self) -> Found:
        """Return the outcome so far."""
        return Found(self.strongest, self.margin)

    def _next_seeds(self) -> list[int]:
        self.queries += 1
        return self._draws.attacker(self.queries - 1)

    def _parts(self) -> tuple[Tensor, ...]:
        """Return the numbers of the open images, as many at once as the victim takes."""
        rows = self.open.nonzero().squeeze(1)
        return torch.split(rows, self._victim.batch) if len(rows) else ()

    def _remember(self, pixels: Tensor, rows: Tensor, margins: Tensor) -> None:
        """Take note of the margins (R, rows) of some images under R seeds."""
        mean, certain = margins.mean(dim=0), torch.zeros_like(rows).bool()
        if self._stops and isinstance(self._draws, FixedDraws):
            certain = mean > 0
        elif self._stops and len(margins) >= _FEW_BANKS:
            certain = mean > _SURE * margins.std(dim=0)
        # The image that settles it replaces one of a greater margin that may have been luck.
        taken = certain | (mean > self.margin[rows])
        self._finished[rows] = certain
        self.margin = self.margin.index_copy(0, rows[taken], mean[taken])
        self.strongest = self.strongest.index_copy(0, rows[taken], pixels[rows[taken]].detach())


def loss_gradient(value: Tensor, pixels: Tensor) -> Tensor:
    """Return the gradient of losses (B,) with respect to the images (B, C, H, W).

    Raises:
        ValueError: there is none.
    """
    if not value.requires_grad:
        raise ValueError(
            "the victim's logits have no gradient: attack it with square, or with images "
            "found on another victim"
        )
    (gradient,) = torch.autograd.grad(value.sum(), pixels, allow_unused=True)
    return torch.zeros_like(pixels) if gradient is None else gradient.to(pixels.dtype)
