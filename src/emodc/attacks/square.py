"""Square, a black-box attack: random squares of change, kept when they help.

Andriushchenko et al., "Square Attack" (ECCV 2020, arXiv 1912.00049). It asks for logits only, so
it finds what a gradient that is masked would hide.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.attacks.gradient import ball_around
from emodc.attacks.search import Draws, Found, FreshDraws, Search
from emodc.attacks.threat_model import Images, Norm
from emodc.attacks.victims import Victim
from emodc.method.randomness import counter_rng

_STREAM = 0x5C0A2E  # of `counter_rng`
_MOST_QUERIES = 2**24

# The share of pixels in a square halves after these numbers of 10,000 queries (section 4.1).
_HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
_TILES = 5  # along a side, in the first image of the L2 attack


@dataclass(frozen=True, kw_only=True)
class Square:
    """How to search without gradients.

    Attributes:
        queries: how often the victim is asked about an image.
        share: of the pixels in the first squares.
        stop_when_fooled: see :class:`emodc.attacks.search.Search`.

    Raises:
        ValueError: a number is out of range.
    """

    queries: int = 1000
    share: float = 0.8
    stop_when_fooled: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.queries < _MOST_QUERIES or not 0 < self.share <= 1:
            raise ValueError(
                f"square needs 1 to {_MOST_QUERIES - 1} queries and a share of pixels in (0, 1]"
            )

    def __call__(
        self,
        victim: Victim,
        images: Images,
        eps: float | Tensor,
        norm: Norm,
        draws: Draws,
        seed: int = 0,
    ) -> Found:
        """Attack every image.

        When the victim's draws are fresh, the image to be improved on is asked about again
        before each comparison: a margin that luck made great would never be beaten.

        Args:
            victim: what is attacked; needs no gradient.
            images: B images.
            eps: the greatest distance from the clean image, one for all or (B,).
            norm: how distance is measured.
            draws: the draws behind the victim's answers.
            seed: of the squares.
        """
        ball = ball_around(images, eps, norm)
        search = Search(victim, images, draws, self.stop_when_fooled)
        first, change = (_stripes, _recolor) if norm == "linf" else (_tiles, _move_mass)

        def rngs(query: int) -> list[np.random.Generator]:
            counters = [int(i) * _MOST_QUERIES + query for i in images.index]
            return [counter_rng(seed, _STREAM, counter) for counter in counters]

        def changed(changes: list[NDArray[np.float64]]) -> Tensor:
            return ball.project(ball.center + torch.from_numpy(np.stack(changes)).to(ball.center))

        sizes = ball.eps.tolist()
        shape = tuple(images.pixels.shape[1:])
        x = changed([first(shape, eps, rng) for eps, rng in zip(sizes, rngs(0), strict=True)])
        reached = search.try_out(x)
        for query in range(1, self.queries):
            if not bool(search.open.any()):
                break
            if isinstance(draws, FreshDraws):
                reached = search.try_out(x)
            side = _side(self._share_at(query), shape)
            at = (x - ball.center).double().cpu().numpy()
            each = zip(at, sizes, rngs(query), strict=True)
            candidate = changed([change(delta, eps, side, rng) for delta, eps, rng in each])
            margins = search.try_out(candidate)
            better = margins > reached
            x = torch.where(better.view(-1, 1, 1, 1), candidate, x)
            reached = torch.where(better, margins, reached)
        return search.found()

    def _share_at(self, query: int) -> float:
        halvings = sum(query > n * self.queries / 10_000 for n in _HALVINGS)
        return float(self.share / 2**halvings)


def _side(share: float, shape: tuple[int, ...]) -> int:
    """Return the side of squares that cover a share of the image."""
    return min(max(round(math.sqrt(share * shape[1] * shape[2])), 1), *shape[1:])


# --- L-inf: Algorithm 2 ------------------------------------------------------------------------


def _stripes(shape: tuple[int, ...], eps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return vertical stripes of +-eps, (C, H, W)."""
    signs = rng.choice([-eps, eps], size=(shape[0], 1, shape[2]))
    return np.broadcast_to(signs, shape).copy()


def _recolor(
    delta: NDArray[np.float64], eps: float, side: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the perturbation with one square set to +-eps, a sign for each channel."""
    changed = delta.copy()
    changed[_window(delta.shape, side, rng)] = rng.choice([-eps, eps], size=(len(delta), 1, 1))
    return changed


def _window(
    shape: tuple[int, ...], side: int, rng: np.random.Generator
) -> tuple[slice, slice, slice]:
    top, left = (int(rng.integers(0, size - side + 1)) for size in shape[1:])
    return slice(None), slice(top, top + side), slice(left, left + side)


# --- L2: Algorithm 3 ---------------------------------------------------------------------------


def _bump(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a pyramid up and one down, side by side or one above the other (Eq. 2), of norm 1."""
    half = side // 2
    bump = np.concatenate([_pyramid(side, half), -_pyramid(side, side - half)], axis=1)
    bump = bump / np.linalg.norm(bump)
    turned: NDArray[np.float64] = bump.T if rng.random() < 0.5 else bump
    return turned


def _pyramid(height: int, width: int) -> NDArray[np.float64]:
    n = height // 2
    rows = np.abs(np.arange(height) - n)[:, None]
    columns = np.abs(np.arange(width) - width // 2)[None, :]
    steps = np.cumsum([1 / (n + 1 - k) ** 2 for k in range(n + 1)])
    levels: NDArray[np.float64] = steps[n - np.maximum(rows, columns)]
    return levels


def _tiles(shape: tuple[int, ...], eps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a grid of bumps of random sign, (C, H, W), of length eps."""
    delta = np.zeros(shape)
    side = max(min(shape[1:]) // _TILES, 1)
    for top in range(0, shape[1] - side + 1, side):
        for left in range(0, shape[2] - side + 1, side):
            signs = rng.choice([-1.0, 1.0], size=(shape[0], 1, 1))
            delta[:, top : top + side, left : left + side] = signs * _bump(side, rng)
    changed: NDArray[np.float64] = delta * (eps / np.linalg.norm(delta))
    return changed


def _move_mass(
    delta: NDArray[np.float64], eps: float, side: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the perturbation with the mass of one window moved to another, shaped as a bump."""
    side = min(max(side, 3), *delta.shape[1:])
    to, of = _window(delta.shape, side, rng), _window(delta.shape, side, rng)
    both = np.zeros(delta.shape, dtype=bool)
    both[to] = both[of] = True
    unused = max(eps**2 - float(np.square(delta).sum()), 0.0)
    mass = np.square(np.where(both, delta, 0)).sum(axis=(1, 2), keepdims=True)  # (C, 1, 1)
    signs = rng.choice([-1.0, 1.0], size=(len(delta), 1, 1))
    length = np.linalg.norm(delta[to], axis=(1, 2), keepdims=True)
    shape = signs * _bump(side, rng) + delta[to] / np.maximum(length, 1e-12)
    shape = shape / np.maximum(np.linalg.norm(shape, axis=(1, 2), keepdims=True), 1e-12)
    changed = delta.copy()
    changed[of] = 0
    changed[to] = shape * np.sqrt(mass + unused / len(delta))
    return changed
