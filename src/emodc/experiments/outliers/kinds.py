"""What is no such face: faces spoiled in some way, and images of other things."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.data.synthetic.dataset import read_synthetic
from emodc.faces.reading import as_rgb
from emodc.faces.sources import image_paths, read_source
from emodc.method.randomness import counter_rng
from emodc.support.files import one_line
from emodc.support.optional import importing
from emodc.support.text import printable

Crop = NDArray[np.uint8]

_STREAM = 0x0D11E5  # of `counter_rng`
_LEAST_SIDE = 32  # pixels of a patch
_FEW_PIXELS = 12

# Pictures of scikit-image that show no face.
_OBJECTS = (
    *("chelsea", "clock", "coffee", "coins", "colorwheel", "horse", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "page", "retina", "rocket", "text"),
)
_TEXTURES = ("brick", "grass", "gravel")


def upside_down(crop: Crop) -> Crop:
    """Turn a face upside down."""
    return np.ascontiguousarray(crop[::-1])


def cut(crop: Crop) -> Crop:
    """Keep the left half of a face, in the middle; beside it, its edges go on."""
    width = crop.shape[1]
    pad = [(0, 0), (width // 4, width - width // 2 - width // 4)] + [(0, 0)] * (crop.ndim - 2)
    return np.pad(crop[:, : width // 2], pad, mode="edge")


def occluded(crop: Crop) -> Crop:
    """Put a gray bar over the lower half of a face, as a mask does."""
    covered = crop.copy()
    covered[crop.shape[0] // 2 :, crop.shape[1] // 8 : -(crop.shape[1] // 8)] = 128
    return covered


def low_resolution(crop: Crop) -> Crop:
    """Show a face as 12 x 12 pixels."""
    small = Image.fromarray(crop).resize((_FEW_PIXELS, _FEW_PIXELS), Image.Resampling.BOX)
    return np.asarray(small.resize(crop.shape[1::-1], Image.Resampling.BICUBIC))


SPOILED: Mapping[str, Callable[[Crop], Crop]] = {
    "upside down": upside_down,
    "cut": cut,
    "occluded": occluded,
    "low resolution": low_resolution,
}
"""Faces that are not shown as faces are."""


def noise(count: int, seed: int) -> list[Crop]:
    """Return images of Gaussian noise."""
    rng = counter_rng(seed, _STREAM, 0)
    return list(rng.normal(128, 40, (count, 48, 48)).round().clip(0, 255).astype(np.uint8))


def drawn(count: int, seed: int) -> list[Crop]:
    """Return faces drawn by EmoDC."""
    release = read_synthetic(count=count, seed=seed)
    return [release.reader(row) for row in range(count)]


def objects(count: int, seed: int) -> list[Crop]:
    """Return patches of photographs of things and animals; needs scikit-image."""
    return patches(_pictures(_OBJECTS), count, seed)


def textures(count: int, seed: int) -> list[Crop]:
    """Return patches of brick, grass and gravel; needs scikit-image."""
    return patches(_pictures(_TEXTURES), count, seed)


OTHER: Mapping[str, Callable[[int, int], list[Crop]]] = {
    "noise": noise,
    "textures": textures,
    "objects": objects,
    "drawn": drawn,
}
"""Images of something else: ``make(count, seed)``."""


def folder_patches(folder: Path, count: int, seed: int) -> list[Crop]:
    """Return patches of a folder's images, which show no faces.

    Raises:
        ValueError: the folder is missing or empty, or no image can be read.
    """
    readable, reason = [], ""
    for source in image_paths([str(folder)]):
        try:
            readable.append(read_source(source))
        except ValueError as error:
            reason = one_line(error)
    if not readable:
        raise ValueError(f"{printable(str(folder))}: no image can be read ({reason})")
    return patches(readable, count, seed)


def patches(pictures: Sequence[Crop], count: int, seed: int) -> list[Crop]:
    """Return square patches at random places and of random sizes, from each picture in turn."""
    found = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        rng = counter_rng(seed, _STREAM, 1 + number)
        height, width = picture.shape[:2]
        longest = min(height, width)
        side = int(rng.integers(min(_LEAST_SIDE, longest), longest + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in (height, width))
        found.append(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    return found


def _pictures(names: Sequence[str]) -> list[Crop]:
    with importing("outliers", "pictures without faces (scikit-image)"):
        from skimage import data
    pictures = []
    for name in names:
        picture = np.asarray(getattr(data, name)())
        if picture.dtype == np.bool_:
            picture = picture.astype(np.uint8) * 255
        pictures.append(as_rgb(picture))
    return pictures
