"""Where a face crop shows the five landmarks.

Positions are fractions (x, y) of the crop, origin top left. "Left" and "right" are the viewer's:
the left eye is the one nearer to the left edge of an upright image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""The order of the five landmarks everywhere: eye centers, tip of the nose, mouth corners."""


@dataclass(frozen=True)
class CropGeometry:
    """Where a crop shows the five landmarks: all that ties a classifier to its kind of crop.

    Attributes:
        landmarks: five (x, y) positions in the unit square (origin top left), in the order of
            `LANDMARKS`.

    Raises:
        ValueError: not five pairs of numbers in [0, 1], or a left landmark that is not to the left
            of its right counterpart.
    """

    landmarks: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.landmarks) != len(LANDMARKS) or any(len(p) != 2 for p in self.landmarks):
            raise ValueError(f"a crop geometry needs an (x, y) for each of {', '.join(LANDMARKS)}")
        for name, point in zip(LANDMARKS, self.landmarks, strict=True):
            # Written so that NaN, for which every comparison is false, is refused too.
            if not all(0.0 <= value <= 1.0 for value in point):
                raise ValueError(f"crop geometry: {name} is at {point}, outside the unit square")
        for left, right in ((0, 1), (3, 4)):
            if not self.landmarks[left][0] < self.landmarks[right][0]:
                raise ValueError(
                    f"crop geometry: {LANDMARKS[left]} must lie to the left of {LANDMARKS[right]}"
                )

    def to_dict(self) -> dict[str, list[float]]:
        """Return the positions by landmark name, ready for JSON."""
        return {name: list(p) for name, p in zip(LANDMARKS, self.landmarks, strict=True)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CropGeometry:
        """Read what `to_dict` returned.

        Raises:
            ValueError: a landmark is missing or unknown, or its position is not two numbers in
                [0, 1].
        """
        if not isinstance(values, Mapping) or set(values) != set(LANDMARKS):
            raise ValueError(f"a crop geometry has the keys {', '.join(LANDMARKS)}; got {values!r}")
        try:
            points = tuple((float(x), float(y)) for x, y in (values[name] for name in LANDMARKS))
        except (TypeError, ValueError):
            raise ValueError("crop geometry: every landmark needs two numbers, x and y") from None
        return cls(points)


FER2013_GEOMETRY = CropGeometry(
    ((0.314, 0.401), (0.686, 0.401), (0.5, 0.603), (0.352, 0.752), (0.648, 0.752))
)
"""Medians over 4,000 training images of FER2013 (99.3 % with a face found at a score above 0.3)
and their mirror images, as printed by scripts/fit_crop_geometry.py."""

ARCFACE_GEOMETRY = CropGeometry(
    (
        (38.2946 / 112, 51.6963 / 112),
        (73.5318 / 112, 51.5014 / 112),
        (56.0252 / 112, 71.7366 / 112),
        (41.5493 / 112, 92.3655 / 112),
        (70.7299 / 112, 92.2041 / 112),
    )
)
"""The 112x112 template of InsightFace, which ArcFace and most face recognition since is trained on
(Deng et al., "ArcFace", CVPR 2019; ``face_align.py`` of its code)."""


def with_margin(geometry: CropGeometry, margin: float) -> CropGeometry:
    """Return the geometry of crops that show more, or less, around the same face.

    Args:
        geometry: what is scaled, about the center of the crop.
        margin: what the crop gains on each side, as a share of its present side: 0.1 shows 1.2
            times as much in width and height. Negative values show less.

    Raises:
        ValueError: the margin is not a number above -0.5 (nothing would be left), or it moves a
            landmark out of the crop.
    """
    if not -0.5 < margin < float("inf"):
        raise ValueError(f"margin must be a number above -0.5, got {margin}")
    scale = 1.0 / (1.0 + 2.0 * margin)
    return CropGeometry(
        tuple((0.5 + (x - 0.5) * scale, 0.5 + (y - 0.5) * scale) for x, y in geometry.landmarks)
    )
