"""What a prediction is asked about: files, folders, patterns and images in memory.

`sources` turns them into a flat sequence, one item an image, and `read_source` into pixels.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.faces.reading import as_rgb, list_images, natural_key, read_image, to_rgb

Pixels = NDArray[np.uint8]
"""An image as an array: (H, W, 3) RGB or (H, W) gray."""

SourceImage = str | os.PathLike[str] | Image.Image | Pixels
"""One thing to look at: a file, a folder, a glob pattern, or an image in memory."""

Source = Path | Image.Image | Pixels
"""One image: its file, or itself; an array is (H, W, 3)."""


def image_paths(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the image files that paths, folders and glob patterns stand for.

    Args:
        patterns: a folder stands for the images in it, a pattern for the files that match, both
            in natural order; any other path for itself, whether it exists or not.

    Raises:
        ValueError: a folder without images, or a pattern that no file matches.
    """
    paths: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        found = [path]
        if path.is_dir():
            found = list_images(path)
            if not found:
                raise ValueError(
                    f"{path}: no images in this folder; for those in the folders inside it, "
                    f"give a pattern such as '{path / '**' / '*.jpg'}'"
                )
        elif any(character in str(path) for character in "*?[") and not path.exists():
            # Not Path.glob, which needs the pattern apart from the folder it starts in.
            matches = sorted(glob.glob(str(path), recursive=True), key=natural_key)  # noqa: PTH207
            found = [match for match in map(Path, matches) if match.is_file()]
            if not found:
                raise ValueError(f"{path}: no file matches this pattern")
        paths += found
    return paths


def sources(images: SourceImage | Iterable[SourceImage]) -> Iterator[Source]:
    """Go through one or many things to look at, image by image.

    Args:
        images: one of them or an iterable; an array (N, H, W, 3) is an iterable too.

    Raises:
        ValueError: as for `image_paths`, or something is not an image, when its turn comes.
    """
    is_array = isinstance(images, np.ndarray) and images.ndim < 4
    is_one = is_array or isinstance(images, str | os.PathLike | Image.Image)
    many = cast(Iterable[SourceImage], [images] if is_one else images)
    for image in many:
        if isinstance(image, str | os.PathLike):
            yield from image_paths([image])
        elif isinstance(image, Image.Image):
            yield image
        else:
            yield _as_rgb(image)


def read_source(source: Source) -> Pixels:
    """Return an image's pixels, (H, W, 3) RGB, upright.

    Raises:
        ValueError: the image is damaged, missing or none; see `emodc.faces.reading.read_image`.
    """
    if isinstance(source, Path):
        return read_image(source)
    if isinstance(source, np.ndarray):
        return source
    try:
        return to_rgb(source, "image")
    except OSError as error:  # Pillow decodes a file only when its pixels are asked for
        raise ValueError(f"damaged or incomplete image ({error})") from error


def _as_rgb(array: Pixels) -> Pixels:
    shape, dtype = getattr(array, "shape", ()), getattr(array, "dtype", type(array).__name__)
    if dtype != np.uint8 or 0 in shape or len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
        raise ValueError(
            "an image is a path, a PIL image or a uint8 array of shape (H, W, 3) or (H, W), "
            f"not {dtype} {shape or ''}".rstrip()
        )
    return as_rgb(array)
