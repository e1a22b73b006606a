"""The same faces from another source: stand-ins for the domains that users' photos come from.

Each shift changes every face of a dataset, in a way that depends on the seed and the number of the
face alone, and leaves its label. They are to choose on where no other real data are at hand.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from emodc.corruptions import corrupt
from emodc.data.face_data import FaceData
from emodc.faces.detector import FaceDetector, enlarged
from emodc.faces.geometry import FER2013_GEOMETRY, CropGeometry
from emodc.faces.reading import as_rgb
from emodc.method.randomness import counter_rng

Crop = NDArray[np.uint8]
Change = Callable[[Crop, np.random.Generator], Crop]
"""A face crop, (H, W) gray or (H, W, 3) RGB, and random numbers of its own -> one like it."""

_STREAM = 0x5417
_SEVERITY = 4  # of the corruptions among the shifts


def warped(image: Crop, matrix: NDArray[np.float64]) -> Crop:
    """Return an image whose pixel p shows ``matrix @ (p, 1)`` of the given one; edges go on.

    Args:
        image: (H, W) or (H, W, 3).
        matrix: (2, 3), in pixels from the corner of the first one.
    """
    height, width = image.shape[:2]
    margin = max(height, width)
    padding = ((margin, margin), (margin, margin), (0, 0))[: image.ndim]
    padded = Image.fromarray(np.pad(image, padding, mode="edge"))
    shifted = matrix + np.array([[0, 0, margin], [0, 0, margin]])
    # Pillow's matrix, too, counts from corners: it looks at p + 0.5.
    done = padded.transform(
        (width, height),
        Image.Transform.AFFINE,
        tuple(shifted.flatten().tolist()),
        Image.Resampling.BICUBIC,
    )
    return np.asarray(done, np.uint8)


def zoomed(image: Crop, x: float, y: float, shift: tuple[float, float] = (0.0, 0.0)) -> Crop:
    """Return the image enlarged about its center, by factors for width and height.

    Args:
        image: (H, W) or (H, W, 3).
        x: factor of the width.
        y: factor of the height.
        shift: of the content, as shares of the image.
    """
    size = np.array(image.shape[1::-1])  # width, height
    scale = 1 / np.array([x, y])
    offset = size / 2 - scale * (size / 2 + np.array(shift) * size)
    return warped(image, np.column_stack([np.diag(scale), offset]))


def recropped(image: Crop, rng: np.random.Generator) -> Crop:
    """Crop wider or tighter, by up to a quarter, and off the center by up to 6 %."""
    zoom = float(np.exp(rng.uniform(-1, 1) * np.log(1.25)))
    x, y = rng.uniform(-0.06, 0.06, 2)
    return zoomed(image, zoom, zoom, (float(x), float(y)))


def sharpened(image: Crop, rng: np.random.Generator) -> Crop:
    """Sharpen by an unsharp mask, as cameras do."""
    mask = ImageFilter.UnsharpMask(radius=1.5, percent=200, threshold=0)
    return np.asarray(Image.fromarray(image).filter(mask), np.uint8)


def relit(image: Crop, rng: np.random.Generator) -> Crop:
    """Light from a side: brightness falls to a third across the face, in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    along = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)  # -1..1
    light = 3.0 ** -((along + 1) / 2) * 3**0.5
    factor = light if image.ndim == 2 else light[:, :, None]
    return np.asarray((image * factor).clip(0, 255).round(), np.uint8)


def gamma(image: Crop, rng: np.random.Generator) -> Crop:
    """Darken or brighten the midtones: an exponent of 2 or 1/2."""
    power = 2.0 if rng.random() < 0.5 else 0.5
    return np.asarray((255 * (image / 255) ** power).round(), np.uint8)


def jpeg(image: Crop, rng: np.random.Generator) -> Crop:
    """Compress as JPEG at quality 15."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=15)
    with Image.open(file, formats=("JPEG",)) as decoded:
        return np.asarray(decoded, np.uint8).reshape(image.shape)


def low_resolution(image: Crop, rng: np.random.Generator) -> Crop:
    """Shrink and enlarge again, as of a face that was small in its photo."""
    return corrupt(image, "low_resolution", _SEVERITY)


def squeezed(image: Crop, rng: np.random.Generator, geometry: CropGeometry) -> Crop:
    """Map eyes and mouth onto fixed points by an affine map, as several published sets are cut.

    Raises:
        ValueError: no face is found, or its eyes and mouth lie on a line.
        ImportError: the extra `faces` is not installed.
    """
    shown = enlarged(as_rgb(image))
    faces = _detector().detect(shown)
    if not faces:
        raise ValueError("no face found")
    size = np.array(image.shape[1::-1])  # width, height
    found = faces[0].landmarks * (size / np.array(shown.shape[1::-1]))
    source, target = _three(found), _three(np.array(geometry.landmarks) * size)
    try:
        # The map from the target to the source: what each pixel of the new crop shows.
        solved = np.linalg.solve(np.column_stack([target, np.ones(3)]), source)
    except np.linalg.LinAlgError:
        raise ValueError("eyes and mouth lie on a line") from None
    return warped(image, np.asarray(solved.T, np.float64))


def _three(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 2): the eyes, and the middle of the mouth."""
    return np.stack([landmarks[0], landmarks[1], (landmarks[3] + landmarks[4]) / 2])


@cache
def _detector() -> FaceDetector:
    return FaceDetector()


_CHANGES: Mapping[str, Change] = {
    "crop": recropped,
    "low-resolution": low_resolution,
    "sharpened": sharpened,
    "lighting": relit,
    "jpeg": jpeg,
    "gamma": gamma,
}

SHIFTS = ("none", "labels", "squeezed", *_CHANGES)
"""The shifts: none; ``labels``, those of FER2013 for images of FER+; and changed faces."""


def shifted(data: FaceData, shift: str, seed: int = 0) -> FaceData:
    """Return a dataset whose faces are changed.

    Args:
        data: face crops.
        shift: ``squeezed`` or another change of `SHIFTS`; ``none`` returns the data.
        seed: of what is random.

    Raises:
        ValueError: there is no such change.
    """
    if shift == "none":
        return data
    geometry = data.geometry or FER2013_GEOMETRY
    if shift != "squeezed" and shift not in _CHANGES:
        raise ValueError(f"unknown shift '{shift}': known are {', '.join(SHIFTS)}")

    def read(index: int) -> Crop:
        rng = counter_rng(seed, _STREAM, index)
        try:
            if shift == "squeezed":
                return squeezed(data.image(index), rng, geometry)
            return _CHANGES[shift](data.image(index), rng)
        except ValueError as error:
            raise ValueError(f"{data.ids[index]}: {error}") from None

    return replace(data, reader=read, stamp=lambda i: f"{data.stamp(i)}/{shift}/{seed}")
