"""Antialiased shapes on the front of a head, for the synthetic dataset.

Coordinates are those of the face: x to the right, y down, the origin between eyes and mouth,
the chin of a resting face at y = 1.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
"""(N, 2), x and y in face coordinates."""

Color = tuple[float, float, float]
"""Red, green and blue, 0..255."""

DARK: Color = (38.0, 24.0, 22.0)
"""What lines and shadows are mixed from."""

_NORMAL = np.array([-1.0, 1.0])  # turns a direction, its coordinates swapped, by 90 degrees
_STEPS = np.linspace(0.0, 1.0, 11)
_PARABOLA = np.stack(  # the parabola through three points, at the ends and half way
    [(1 - _STEPS) * (1 - 2 * _STEPS), 4 * _STEPS * (1 - _STEPS), _STEPS * (2 * _STEPS - 1)], axis=1
)


@dataclass(frozen=True)
class Pose:
    """How the head stands in the image.

    Attributes:
        roll: turn in the image plane, radians.
        yaw: turn to the side, radians.
        pitch: nod, radians.
        scale: half the height of the face as a share of the side of the image.
        center: x and y of the middle of the face as shares of the side of the image.
    """

    roll: float
    yaw: float
    pitch: float
    scale: float
    center: tuple[float, float]


class Brush:
    """Draws shapes given in face coordinates onto an image.

    Attributes:
        image: the image so far, RGB.

    Args:
        side: height and width of the image in pixels.
        pose: how the head stands in it.
        backdrop: the color it begins with.
        skin: the color that creases darken.
    """

    def __init__(self, side: int, pose: Pose, *, backdrop: Color, skin: Color) -> None:
        self.image = Image.new("RGB", (side, side), _channels(backdrop))
        self._draw = ImageDraw.Draw(self.image)
        self._pose = pose
        self._skin = skin
        cos, sin = math.cos(pose.roll), math.sin(pose.roll)
        self._turn = np.array([[cos, sin], [-sin, cos]]) * (pose.scale * side)
        self._shift = np.array(pose.center) * side

    def fill(self, points: Points, color: Color, *, flat: bool = False) -> None:
        """Fill a polygon (N, 2).

        Args:
            points: its corners.
            color: its color.
            flat: it belongs to the outline of the head, which does not turn as its front does.
        """
        points = self._leant(points) if flat else self._turned(points)
        corners = points @ self._turn + self._shift
        self._draw.polygon(corners.ravel().tolist(), fill=_channels(color))

    def stroke(self, points: Points, width: float, color: Color, *, taper: float = 0.7) -> None:
        """Draw a line through points (N, 2), at its widest half way.

        Args:
            points: the line.
            width: the greatest width.
            color: its color.
            taper: by which share of the width the ends are thinner.
        """
        along = np.empty_like(points)
        along[1:-1] = points[2:] - points[:-2]
        along[0], along[-1] = points[1] - points[0], points[-1] - points[-2]
        along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
        half = 0.5 * width * (1.0 - taper * _squares(len(points)))
        across = half * along[:, ::-1] * _NORMAL
        self.fill(np.concatenate([points + across, (points - across)[::-1]]), color)

    def crease(self, points: Points, width: float, strength: float) -> None:
        """Draw a fold of the skin along points (N, 2), from invisible (0) to dark (1)."""
        if strength > 0.05:
            self.stroke(points, width, mixed(self._skin, DARK, 0.55 * min(strength, 1.0)))

    def _leant(self, points: Points) -> Points:
        """Move the outline's chin sideways with the yaw, so that the features stay inside."""
        lean = 0.4 * math.sin(self._pose.yaw) * np.maximum(points[:, 1], 0.0)
        return points + np.stack([lean, np.zeros_like(lean)], axis=1)

    def _turned(self, points: Points) -> Points:
        """Turn points on the front of a rounded head by yaw and pitch."""
        x, y = points[:, 0], points[:, 1]
        depth = 0.65 * np.sqrt(np.maximum(1.0 - 0.9 * x**2 - 0.3 * y**2, 0.0))
        yaw, pitch = self._pose.yaw, self._pose.pitch
        turned = np.empty_like(points)
        turned[:, 0] = x * math.cos(yaw) + depth * math.sin(yaw)
        turned[:, 1] = y * math.cos(pitch) + depth * math.sin(pitch)
        return turned


def mixed(color: Color, other: Color, share: float) -> Color:
    """Return the color that goes from one (share 0) to another (share 1)."""
    red, green, blue = (a + share * (b - a) for a, b in zip(color, other, strict=True))
    return red, green, blue


def arc(
    start: tuple[float, float], middle: tuple[float, float], end: tuple[float, float]
) -> Points:
    """Return a smooth line (11, 2) through three points."""
    line: Points = _PARABOLA @ np.array((start, middle, end))
    return line


def ellipse(x: float, y: float, width: float, height: float, count: int = 24) -> Points:
    """Return the outline (count, 2) of an ellipse with these half axes."""
    outline: Points = _circle(count) * np.array((width, height)) + np.array((x, y))
    return outline


def _channels(color: Color) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, int(channel))) for channel in color)
    return red, green, blue


@lru_cache
def _circle(count: int) -> Points:
    angle = np.linspace(0.0, 2.0 * math.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@lru_cache
def _squares(count: int) -> Points:
    squares: Points = np.linspace(-1.0, 1.0, count)[:, None] ** 2
    return squares
