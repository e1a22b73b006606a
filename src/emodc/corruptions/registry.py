"""The corruptions by name, their severities, the named suites, and `corrupt`.

Severities follow RAF-DB-C (Greco, Strisciuglio, Vento, Vigilante, "Benchmarking deep networks for
facial emotion recognition in the wild", Multimedia Tools and Applications 82, 2023, and the
authors' published parameters), which adapts ImageNet-C (Hendrycks and Dietterich, ICLR 2019,
arXiv 1903.12261) to faces. docs/corruptions.md says for each one what is theirs and what is ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.corruptions import blur, digital, noise, obstruction
from emodc.corruptions.obstruction import MUD, WATER, Liquid
from emodc.corruptions.pixels import Pixels, Scene, at_100, random_numbers, to_image, to_pixels
from emodc.faces.geometry import FER2013_GEOMETRY, CropGeometry

SEVERITIES = (1, 2, 3, 4, 5)
"""From mild to severe."""


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Attributes:
        group: what it is of: noise, blur, light, encoding, obstruction or mixed.
        levels: what ``apply`` is given at severity 1..5; lengths are pixels of a crop whose
            shorter side is 100 pixels.
        apply: corrupts pixels.
    """

    group: str
    levels: tuple[Any, ...]
    apply: Callable[[Pixels, Any, Scene], Pixels]


def _motion(x: Pixels, level: tuple[float, float], scene: Scene) -> Pixels:
    sigma, length = level
    angle = scene.rng.uniform(-45.0, 45.0)
    return blur.motion_blur(x, at_100(x, sigma), at_100(x, length), angle)


def _spatter(x: Pixels, liquid: Liquid, scene: Scene) -> Pixels:
    return obstruction.splash(x, obstruction.drops(x, at_100(x, liquid.size), scene.rng), liquid)


_SINGLE: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(
        "noise",
        (0.08, 0.12, 0.18, 0.24, 0.30),
        lambda x, sigma, scene: noise.gaussian_noise(x, sigma, scene.rng),
    ),
    "shot_noise": Corruption(
        "noise",
        (60, 29, 15, 8, 5),
        lambda x, photons, scene: noise.shot_noise(x, photons, scene.rng),
    ),
    "salt_and_pepper": Corruption(
        "noise",
        (0.03, 0.06, 0.09, 0.17, 0.27),
        lambda x, share, scene: noise.salt_and_pepper(x, share, scene.rng),
    ),
    "speckle_noise": Corruption(
        "noise",
        (0.15, 0.20, 0.35, 0.45, 0.60),
        lambda x, sigma, scene: noise.speckle_noise(x, sigma, scene.rng),
    ),
    "gaussian_blur": Corruption(
        "blur",
        (1.0, 1.8, 2.6, 3.4, 4.0),
        lambda x, sigma, _: blur.gaussian_blur(x, at_100(x, sigma)),
    ),
    "defocus_blur": Corruption(
        "blur",
        tuple(radius / 0.48 for radius in (1.5, 2.0, 2.25, 2.5, 3.0)),
        lambda x, radius, _: blur.defocus_blur(x, at_100(x, radius)),
    ),
    "motion_blur": Corruption("blur", ((2, 12), (3, 20), (5, 20), (8, 20), (10, 26)), _motion),
    "zoom_blur": Corruption(
        "blur",
        ((0.01, 12), (0.01, 18), (0.02, 13), (0.02, 17), (0.03, 14)),
        lambda x, level, _: blur.zoom_blur(x, *level),
    ),
    "brightness_up": Corruption(
        "light", (0.1, 0.2, 0.3, 0.4, 0.5), lambda x, change, _: digital.brightness(x, change)
    ),
    "brightness_down": Corruption(
        "light", (-0.1, -0.2, -0.3, -0.4, -0.5), lambda x, change, _: digital.brightness(x, change)
    ),
    "contrast_up": Corruption(
        "light", (1.5, 1.9, 2.6, 3.3, 5.0), lambda x, factor, _: digital.contrast(x, factor)
    ),
    "contrast_down": Corruption(
        "light", (0.4, 0.33, 0.24, 0.16, 0.1), lambda x, factor, _: digital.contrast(x, factor)
    ),
    "jpeg": Corruption(
        "encoding", (25, 18, 15, 10, 7), lambda x, quality, _: digital.jpeg(x, quality)
    ),
    "pixelate": Corruption(
        "encoding", (0.6, 0.5, 0.41, 0.3, 0.25), lambda x, share, _: digital.pixelate(x, share)
    ),
    "low_resolution": Corruption(
        "encoding",
        (1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8),
        lambda x, share, _: digital.low_resolution(x, share),
    ),
    "spatter": Corruption(
        "obstruction",
        (
            Liquid(4.0, 0.05, 0.6, WATER),
            Liquid(3.0, 0.14, 0.6, WATER),
            Liquid(2.0, 0.24, 0.6, WATER),
            Liquid(1.8, 0.30, 1.0, MUD),
            Liquid(1.8, 0.40, 1.0, MUD),
        ),
        _spatter,
    ),
    "occlude_eyes": Corruption(
        "obstruction",
        (0.15, 0.23, 0.31, 0.4, 0.5),
        lambda x, reach, scene: obstruction.cover_eyes(x, reach, scene.geometry),
    ),
    "occlude_mouth": Corruption(
        "obstruction",
        (0.2, 0.35, 0.5, 0.65, 0.8),
        lambda x, reach, scene: obstruction.cover_mouth(x, reach, scene.geometry),
    ),
}


def _mixed(*names: str, levels: tuple[tuple[int, ...], ...]) -> Corruption:
    """Return several corruptions, one after the other, whose levels are their severities."""

    def apply(x: Pixels, severities: tuple[int, ...], scene: Scene) -> Pixels:
        for name, severity in zip(names, severities, strict=True):
            part = _SINGLE[name]
            x = part.apply(x, part.levels[severity - 1], scene).clip(0.0, 1.0)
        return x

    return Corruption("mixed", levels, apply)


_LIGHT_LEVELS = ((1, 1), (2, 1), (2, 2), (2, 3), (3, 4))

CORRUPTIONS: Mapping[str, Corruption] = {
    **_SINGLE,
    "contrast_down_brightness_up": _mixed("brightness_up", "contrast_down", levels=_LIGHT_LEVELS),
    "contrast_down_brightness_down": _mixed(
        "brightness_down", "contrast_down", levels=_LIGHT_LEVELS
    ),
    "gaussian_noise_faded": _mixed(
        "gaussian_noise",
        "brightness_down",
        "contrast_down",
        levels=((1, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 3), (3, 3, 4)),
    ),
    "motion_blur_faded": _mixed(
        "motion_blur",
        "brightness_down",
        "contrast_down",
        levels=((2, 1, 1), (3, 1, 1), (4, 2, 2), (5, 2, 3), (5, 3, 3)),
    ),
    "pixelate_faded": _mixed(
        "pixelate",
        "brightness_down",
        "contrast_down",
        levels=((1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 2), (4, 3, 3)),
    ),
}
"""Every corruption by name."""

SUITES: Mapping[str, tuple[str, ...]] = {
    "noise-blur": tuple(
        name for name, corruption in CORRUPTIONS.items() if corruption.group in ("noise", "blur")
    ),
    "rafdb-c": (
        *("gaussian_blur", "defocus_blur", "zoom_blur", "motion_blur"),
        *("gaussian_noise", "shot_noise"),
        *("contrast_up", "contrast_down", "brightness_up", "brightness_down"),
        *("spatter", "pixelate", "jpeg"),
        *("contrast_down_brightness_up", "contrast_down_brightness_down"),
        *("gaussian_noise_faded", "motion_blur_faded", "pixelate_faded"),
    ),
    "all": tuple(CORRUPTIONS),
}
"""The corruptions of each suite, in the order of its tables."""


def corrupt(
    image: NDArray[np.uint8],
    name: str,
    severity: int,
    seed: int = 0,
    index: int = 0,
    geometry: CropGeometry = FER2013_GEOMETRY,
) -> NDArray[np.uint8]:
    """Corrupt a face crop. The result is a function of the arguments alone.

    Meant for the crop at its native resolution, before any resizing: resizing afterwards averages
    noise away and sharpens blur, as it would in use.

    Args:
        image: (H, W) gray or (H, W, 3) RGB uint8, of any size. RGB with three equal channels is
            corrupted as gray.
        name: one of `CORRUPTIONS`.
        severity: 1..5.
        seed: 0..2**64-1.
        index: number of the image, so that each has noise of its own; 0..2**64-1.
        geometry: where the crop shows the eyes and the mouth; only occlusions ask.

    Returns:
        A new array like ``image``.

    Raises:
        ValueError: the image is not as described, or the name, severity, seed or index is not
            known.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; known are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"{name}: severity is {severity}, but must be 1 to {SEVERITIES[-1]}")
    x = to_pixels(image)
    scene = Scene(random_numbers(seed, f"corruption/{name}/{severity}", index), geometry)
    corruption = CORRUPTIONS[name]
    return to_image(corruption.apply(x, corruption.levels[severity - 1], scene), image.shape)
