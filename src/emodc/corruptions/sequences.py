"""Sequences of slightly changed images, and how often an answer flips along them.

The ten sequences of RAF-DB-P (Greco et al., 2023; see `emodc.corruptions.registry`), after
ImageNet-P (Hendrycks and Dietterich, ICLR 2019). Theirs move a window over the photograph;
a crop has no surroundings, so here it is mirrored at its edges.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, shift

from emodc.corruptions import blur, digital, noise, obstruction
from emodc.corruptions.obstruction import WATER, Liquid
from emodc.corruptions.pixels import Pixels, at_100, random_numbers, to_image, to_pixels

FRAMES = 30
"""Frames of a sequence unless told otherwise."""

_SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])


@dataclass(frozen=True)
class Sequence:
    """A kind of sequence.

    Attributes:
        frame: makes a frame from the image, the frame's number i = 0.., its distance k from the
            middle frame, and random numbers.
        fresh: whether every frame has random numbers of its own. Such frames have no order:
            their answers are compared with the first one's.
    """

    frame: Callable[[Pixels, int, int, np.random.Generator], Pixels]
    fresh: bool = False


def _streak(x: Pixels, degrees: float) -> Pixels:
    return blur.motion_blur(x, at_100(x, 3.0), at_100(x, 20.0), degrees)


def _running_drops(x: Pixels, i: int, rng: np.random.Generator) -> Pixels:
    liquid = Liquid(3.7, 0.05, 0.6, WATER)
    field = obstruction.drops(x, at_100(x, liquid.size), rng)
    down = at_100(x, 0.5 * i)
    return obstruction.splash(x, shift(field, (down, 0), order=1, mode="grid-wrap"), liquid)


def _warp(x: Pixels, matrix: NDArray[np.float64], right: float = 0.0) -> Pixels:
    """Show at (row, column) from the center what lies at ``matrix @ (row, column - right)``."""
    center = (np.array(x.shape[:2]) - 1) / 2
    offset = center - matrix @ (center + np.array([0.0, right]))
    channels = [
        affine_transform(x[:, :, c], matrix, offset, order=1, mode="reflect")
        for c in range(x.shape[2])
    ]
    return np.stack(channels, axis=2)


def _turn(degrees: float) -> NDArray[np.float64]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, sin], [-sin, cos]])


SEQUENCES: Mapping[str, Sequence] = {
    "gaussian_noise": Sequence(
        lambda x, i, k, rng: x if i == 0 else noise.gaussian_noise(x, 0.12, rng), fresh=True
    ),
    "shot_noise": Sequence(
        lambda x, i, k, rng: x if i == 0 else noise.shot_noise(x, 29, rng), fresh=True
    ),
    "gaussian_blur": Sequence(
        lambda x, i, k, rng: blur.gaussian_blur(x, at_100(x, 0.25 + 0.035 * i))
    ),
    "motion_blur": Sequence(lambda x, i, k, rng: _streak(x, 4.0 * (i - FRAMES))),
    "spatter": Sequence(lambda x, i, k, rng: _running_drops(x, i, rng)),
    "brightness": Sequence(lambda x, i, k, rng: digital.brightness(x, 0.02 * k)),
    "translate": Sequence(lambda x, i, k, rng: _warp(x, np.eye(2), 0.01 * k * x.shape[1])),
    "rotate": Sequence(lambda x, i, k, rng: _warp(x, _turn(k))),
    "scale": Sequence(lambda x, i, k, rng: _warp(x, (1 - 0.017 * k) * np.eye(2))),
    "shear": Sequence(lambda x, i, k, rng: _warp(x, np.eye(2) + 0.01 * k * _SWAP)),
}
"""Every sequence by name."""


def sequence(
    image: NDArray[np.uint8], name: str, frames: int = FRAMES, seed: int = 0, index: int = 0
) -> NDArray[np.uint8]:
    """Change a face crop a little from frame to frame.

    The step between two frames does not depend on their number, so that flip rates of shorter and
    longer sequences compare.

    Args:
        image: (H, W) gray or (H, W, 3) RGB uint8; RGB with three equal channels stays gray.
        name: one of `SEQUENCES`.
        frames: F, 2..60.
        seed: 0..2**64-1.
        index: number of the image, 0..2**64-1.

    Returns:
        (F, H, W) or (F, H, W, 3) uint8.

    Raises:
        ValueError: the image is not as described, or an argument is not known or out of range.
    """
    if name not in SEQUENCES:
        raise ValueError(f"unknown sequence {name!r}; known are {', '.join(SEQUENCES)}")
    if not 2 <= frames <= 60:
        raise ValueError(f"{name}: frames is {frames}, but must be 2 to 60")
    x, kind = to_pixels(image), SEQUENCES[name]
    made = []
    for i in range(frames):
        purpose = f"sequence/{name}/{i if kind.fresh else 'all'}"
        rng = random_numbers(seed, purpose, index)
        made.append(to_image(kind.frame(x, i, i - frames // 2, rng), image.shape))
    return np.stack(made)


def flip_rate(answers: NDArray[np.int64], name: str) -> float:
    """Return how often the answer changes along sequences (Hendrycks and Dietterich, ICLR 2019).

    The share of the frames, from the second on, whose answer differs from the frame before, or,
    where frames have no order, from the first.

    Args:
        answers: (N, F) predicted classes of N images' sequences, F >= 2.
        name: which of `SEQUENCES` they are.

    Raises:
        ValueError: unknown name, or fewer than two frames or no image.
    """
    if name not in SEQUENCES:
        raise ValueError(f"unknown sequence {name!r}; known are {', '.join(SEQUENCES)}")
    if answers.ndim != 2 or answers.shape[0] < 1 or answers.shape[1] < 2:
        raise ValueError(
            f"{name}: a flip rate needs answers (images, frames >= 2), got {answers.shape}"
        )
    reference = answers[:, :1] if SEQUENCES[name].fresh else answers[:, :-1]
    return float((answers[:, 1:] != reference).mean())
