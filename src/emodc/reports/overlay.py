"""Images with the faces that were found in them: boxes, labels and bars of probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from emodc.reports.colors import Color, class_color

_TEXT = (11, 30)  # pixels of the smallest and the largest text
_TEXT_SHARE = 0.09  # of a face's height
_SHADE = (0, 0, 0, 150)
_WHITE = (255, 255, 255)
_LONG = 4.0  # of a bar of probability 1, in heights of a letter


@dataclass(frozen=True)
class Shown:
    """A face as it is drawn.

    Attributes:
        box: x0, y0, x1, y1 in pixels.
        probabilities: by class name, in label order.
        name: whose it is, such as ``1``; may be empty.
    """

    box: tuple[float, float, float, float]
    probabilities: Mapping[str, float]
    name: str = ""


def draw_faces(image: NDArray[np.uint8], faces: Sequence[Shown]) -> NDArray[np.uint8]:
    """Return an image with faces marked.

    Each gets a box in the color of its most probable class, the class by name with its
    probability, and a bar for every class beside the box. Color is never all that tells classes
    apart.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: any number.

    Returns:
        (H, W, 3) uint8, another array.
    """
    page = Image.fromarray(image).convert("RGB")
    pen = ImageDraw.Draw(page, "RGBA")
    for face in sorted(faces, key=lambda face: face.box[3] - face.box[1]):
        _draw_face(pen, page.size, face)
    return np.array(page)


def _draw_face(pen: ImageDraw.ImageDraw, size: tuple[int, int], face: Shown) -> None:
    x0, y0, x1, y1 = face.box
    names = list(face.probabilities)
    best = max(names, key=face.probabilities.__getitem__)
    color = class_color(names.index(best))
    height = round(np.clip(_TEXT_SHARE * (y1 - y0), *_TEXT))
    line = max(2, height // 6)
    # A dark line on both sides: every color stands out from every background.
    pen.rectangle((x0 - line, y0 - line, x1 + line, y1 + line), outline=_SHADE, width=3 * line)
    pen.rectangle((x0, y0, x1, y1), outline=color, width=line)
    said = f"{best} {face.probabilities[best]:.2f}"
    title = f"{face.name}: {said}" if face.name else said
    _title(pen, size, (x0, y0 - line), title, color, height)
    _bars(pen, size, face, height)


def _title(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    corner: tuple[float, float],
    text: str,
    color: Color,
    height: int,
) -> None:
    """Write text on its color, above the corner if there is room."""
    font = _font(height)
    width, tall = pen.textlength(text, font) + height, round(1.5 * height)
    x = max(0.0, min(corner[0], size[0] - width))
    y = max(0.0, corner[1] - tall)
    pen.rectangle((x, y, x + width, y + tall), fill=color)
    # Black on light colors and white on dark ones.
    luminance = np.dot(color, (0.2126, 0.7152, 0.0722))
    ink = (0, 0, 0) if luminance > 120 else _WHITE
    pen.text((x + height / 2, y + tall / 2), text, ink, font, anchor="lm")


def _bars(pen: ImageDraw.ImageDraw, size: tuple[int, int], face: Shown, height: int) -> None:
    """Draw a bar for each class, beside the box where there is more room."""
    x0, y0, x1, _ = face.box
    small = max(_TEXT[0], round(0.75 * height))
    room, wanted = max(x0, size[0] - x1), _panel(pen, face, small)[1]
    if wanted > room:  # smaller, so as not to cover the face
        small = max(_TEXT[0], int(small * room / wanted))
    words, width = _panel(pen, face, small)
    font, row, long = _font(small), round(1.35 * small), _LONG * small
    right = size[0] - x1 >= x0 or size[0] - x1 > width
    x = x1 + small / 2 if right else x0 - small / 2 - width
    x = max(0.0, min(x, size[0] - width))
    y = max(0.0, min(y0, size[1] - row * len(face.probabilities) - small / 2))
    bottom = y + row * len(face.probabilities) + small / 2
    pen.rectangle((x, y, x + width, bottom), fill=_SHADE)
    for place, (name, p) in enumerate(face.probabilities.items()):
        middle = y + small / 4 + row * (place + 0.5)
        pen.text((x + small / 2 + words, middle), name, _WHITE, font, anchor="rm")
        start = x + words + small
        bar = (start, middle - small / 2.6, start + max(1.0, long * p), middle + small / 2.6)
        pen.rectangle(bar, fill=class_color(place))


def _panel(pen: ImageDraw.ImageDraw, face: Shown, small: int) -> tuple[float, float]:
    """Return how wide the names and the whole panel are, with letters of this height."""
    words = max(pen.textlength(name, _font(small)) for name in face.probabilities)
    return words, words + (_LONG + 2.5) * small


@lru_cache(maxsize=32)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)
