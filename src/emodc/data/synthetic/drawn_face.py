"""Drawing a face from its facial actions, for the synthetic dataset.

Facial actions are numbered as in the Facial Action Coding System (Ekman and Friesen, 1978)
and run from 0 (absent) to 1 (strong): 1 and 2 raise the inner and outer brow, 4 lowers the
brow, 5 raises the upper lid, 6 the cheeks, 7 tightens the lids, 9 wrinkles the nose, 10
raises the upper lip, 12 pulls the lip corners up, 15 pulls them down, 17 raises the chin, 20
stretches and 23 tightens the lips, 25 parts them, 26 drops the jaw, 43 lowers the upper lid.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.data.synthetic.brush import DARK, Brush, Color, Points, Pose, arc, ellipse, mixed

NUM_ACTIONS = 44
"""Length of an array of facial actions, which is indexed by action number."""

_TOOTH: Color = (236.0, 230.0, 220.0)


@dataclass(frozen=True)
class Person:
    """What stays when the expression changes. Lengths are in face coordinates.

    Attributes:
        skin, hair, lips, iris, backdrop: colors.
        width: half the width of the face.
        taper: how much narrower the jaw is than the temples, 0..1.
        eye_distance: from the middle of the face to the middle of an eye.
        eye_size, nose_length, mouth_size, lip_size, brow_size: factors, 1 is average.
        brow_height: added to the height of the brows at rest.
        mouth_slope: how far the corners of the resting mouth hang.
        hairline: y of the hairline, -0.98 to -0.82, or -1.2 for a bald head.
        hair_length: y down to which the hair hangs at the sides.
        beard: strength of the beard, 0..1.
        glasses: whether glasses are worn.
        age: strength of the lines of the resting face, 0..1.
    """

    skin: Color
    hair: Color
    lips: Color
    iris: Color
    backdrop: Color
    width: float
    taper: float
    eye_distance: float
    eye_size: float
    nose_length: float
    mouth_size: float
    lip_size: float
    brow_size: float
    brow_height: float
    mouth_slope: float
    hairline: float
    hair_length: float
    beard: float
    glasses: bool
    age: float


def draw_face(actions: NDArray[np.float64], person: Person, pose: Pose, size: int) -> Image.Image:
    """Draw a face, antialiased.

    Args:
        actions: (`NUM_ACTIONS`,) strengths 0..1 by action number.
        person: who it is.
        pose: how the head stands.
        size: height and width of the image in pixels.

    Returns:
        An RGB image, ``size`` x ``size``.
    """
    # Drawn larger and averaged down: Pillow's own polygons have jagged edges.
    factor = max(2, math.ceil(192 / size))
    brush = Brush(size * factor, pose, backdrop=person.backdrop, skin=person.skin)
    _head(brush, person, actions)
    for side in (-1.0, 1.0):
        _eye(brush, person, actions, side)
        _brow(brush, person, actions, side)
    _nose(brush, person, actions)
    _mouth(brush, person, actions)
    _fringe(brush, person)
    return brush.image.reduce(factor)


def _head(brush: Brush, person: Person, au: NDArray[np.float64]) -> None:
    shade = mixed(person.skin, DARK, 0.22)
    outline = ellipse(0.0, 0.0, person.width, 1.0, count=40)
    low = np.maximum(outline[:, 1], 0.0)
    outline[:, 0] *= 1.0 - person.taper * low**2
    outline[:, 1] += (0.14 * au[26] - 0.03 * au[17]) * low
    wide = person.width + 0.10
    if person.hairline > -1.1:
        brush.fill(ellipse(0.0, -0.18, wide, 1.02), person.hair, flat=True)
        if person.hair_length > 0.0:
            sides = np.array([[-wide, -0.2], [wide, -0.2]])
            ends = np.array([[wide + 0.06, person.hair_length], [-wide - 0.06, person.hair_length]])
            brush.fill(np.concatenate([sides, ends]), person.hair, flat=True)
    neck = 0.62 * person.width
    brush.fill(np.array([[-neck, 0.4], [neck, 0.4], [neck, 2.0], [-neck, 2.0]]), shade, flat=True)
    for side in (-1.0, 1.0):
        brush.fill(ellipse(side * person.width, -0.02, 0.09, 0.19), shade, flat=True)
    brush.fill(outline, person.skin, flat=True)
    if person.beard > 0.0:
        beard = outline[outline[:, 1] > 0.18]
        rim = arc((-0.8 * person.width, 0.2), (0.0, 0.36), (0.8 * person.width, 0.2))
        order = np.argsort(-beard[:, 0])
        brush.fill(
            np.concatenate([beard[order], rim]),
            mixed(person.skin, person.hair, 0.6 * person.beard),
            flat=True,
        )


def _fringe(brush: Brush, person: Person) -> None:
    if person.hairline > -1.1:
        top = 1.03 * ellipse(0.0, 0.0, person.width, 1.0, count=40)
        top = top[top[:, 1] < person.hairline + 0.1]
        brush.fill(top[np.argsort(top[:, 0])], person.hair, flat=True)


def _eye(brush: Brush, person: Person, au: NDArray[np.float64], side: float) -> None:
    x, y = side * person.eye_distance, -0.17
    half = 0.165 * person.eye_size
    squint = 0.5 * au[7] + 0.3 * au[6] + 0.35 * au[9]
    upper = person.eye_size * max(0.012, 0.078 * (1 + 1.05 * au[5] - 0.75 * au[43] - 0.8 * squint))
    lower = person.eye_size * max(0.004, 0.048 * (1 + 0.35 * au[5] - 1.1 * squint))
    droop = 0.16 * side * au[43]

    def lid(at: Points, height: float) -> Points:
        near = np.clip((at - x) / half, -1.0, 1.0)
        line: Points = y + height * (1 - near**2) + droop * half * near
        return line

    across = np.linspace(x - half, x + half, 13)
    top = np.stack([across, lid(across, -upper)], axis=1)
    bottom = np.stack([across, lid(across, lower)], axis=1)
    brush.fill(np.concatenate([top, bottom[::-1]]), (238.0, 236.0, 232.0))
    for radius, color in ((0.078, person.iris), (0.042, (12.0, 10.0, 10.0))):
        disc = ellipse(x, y - 0.012, radius * person.eye_size, radius * person.eye_size, 16)
        disc[:, 1] = np.clip(disc[:, 1], lid(disc[:, 0], -upper), lid(disc[:, 0], lower))
        brush.fill(disc, color)
    brush.stroke(top, 0.042, DARK, taper=0.4)
    brush.crease(bottom, 0.024, 0.5 + 0.3 * au[7])
    brush.crease(top - np.array([0.0, 0.06 - 0.03 * au[5]]), 0.02, 0.45 + 0.3 * au[9])
    bag = arc((x - half, y + 0.06), (x, y + 0.15 - 0.03 * au[6]), (x + half, y + 0.06))
    brush.crease(bag, 0.022, 0.25 * person.age + 0.55 * max(au[6], au[9]))
    for turn in (-0.05, 0.05):
        end = (x + side * (half + 0.13), y + 0.02 + turn)
        start = (x + side * (half + 0.03), y + 0.01)
        between = (x + side * (half + 0.08), y + 0.015 + 0.5 * turn)
        brush.crease(arc(start, between, end), 0.018, 0.7 * au[6])
    if person.glasses:
        rim = ellipse(x, y + 0.02, 0.25, 0.2)
        brush.stroke(np.concatenate([rim, rim[:1]]), 0.022, DARK, taper=0.0)
        brush.stroke(arc((0.0, y), (0.5 * side * 0.09, y), (side * 0.09, y)), 0.022, DARK)


def _brow(brush: Brush, person: Person, au: NDArray[np.float64], side: float) -> None:
    y = -0.40 - person.brow_height + 0.05 * au[9]
    together = 0.035 * max(au[4], au[9])
    near = person.eye_distance
    inner = (side * (near - 0.20 - together), y - 0.17 * au[1] + 0.15 * au[4] + 0.06 * au[9])
    middle = (side * near, y - 0.045 - 0.09 * au[1] - 0.10 * au[2] + 0.07 * au[4])
    outer = (side * (near + 0.20), y + 0.03 - 0.12 * au[2] + 0.01 * au[4])
    color = mixed(person.hair, DARK, 0.45)
    brush.stroke(arc(inner, middle, outer), 0.075 * person.brow_size, color, taper=0.55)
    frown = arc((side * 0.05, y + 0.1), (side * 0.045, y), (side * 0.055, y - 0.1))
    brush.crease(frown, 0.026, 0.95 * au[4])
    for row in range(3):
        height = -0.62 - 0.085 * row
        wrinkle = arc((0.0, height), (side * 0.2, height - 0.02), (side * 0.4, height + 0.02))
        brush.crease(wrinkle, 0.018, 0.25 * person.age + 0.5 * au[1] * (0.4 + 0.6 * au[2]))


def _nose(brush: Brush, person: Person, au: NDArray[np.float64]) -> None:
    length = person.nose_length
    tip = 0.27 * length - 0.035 * au[9]
    wide = 0.115 + 0.025 * au[9]
    brush.crease(arc((0.055, -0.18), (0.06, 0.0), (wide, tip - 0.03)), 0.022, 0.4)
    brush.crease(arc((-wide, tip - 0.04), (0.0, tip + 0.045), (wide, tip - 0.04)), 0.026, 0.5)
    for side in (-1.0, 1.0):
        brush.fill(ellipse(side * 0.058, tip, 0.028, 0.017, 10), DARK)
        for row in range(3):
            height = -0.17 + 0.075 * row
            line = arc(
                (side * 0.015, height), (side * 0.06, height + 0.012), (side * 0.11, height + 0.05)
            )
            brush.crease(line, 0.024, 1.1 * au[9])


def _mouth(brush: Brush, person: Person, au: NDArray[np.float64]) -> None:
    y = 0.53 + 0.03 * au[26] - 0.02 * au[17]
    half = 0.235 * person.mouth_size
    half *= 1 + 0.38 * au[12] + 0.34 * au[20] - 0.28 * au[26] * (1 - au[20]) - 0.12 * au[23]
    corner = y + person.mouth_slope - 0.15 * au[12] + 0.115 * au[15] + 0.035 * au[20]
    part = 0.05 * au[25] + 0.21 * au[26]
    upper = y - 0.3 * part - 0.045 * au[10] - 0.05 * au[17] + 0.02 * au[12]
    lower = max(y + 0.7 * part - 0.05 * au[17] * (1 - au[26]) + 0.03 * au[12], upper)
    full = person.lip_size * (1 - 0.75 * au[23]) * (1 - 0.25 * au[12])

    left, right = (-half, corner), (half, corner)
    inner_top, inner_bottom = arc(left, (0.0, upper), right), arc(left, (0.0, lower), right)
    outer_top = arc(left, (0.0, upper - 0.055 * full), right)
    outer_bottom = arc(left, (0.0, lower + 0.08 * full), right)
    brush.fill(np.concatenate([outer_top, outer_bottom[::-1]]), person.lips)
    if lower - upper > 0.02:
        brush.fill(np.concatenate([inner_top, inner_bottom[::-1]]), (52.0, 16.0, 20.0))
        shown = 0.075 * max(au[12], au[10], 0.5 * au[20], 0.8 * au[25]) * (1 - 0.5 * au[26])
        edge = np.minimum(inner_top + np.array([0.0, shown]), inner_bottom)
        brush.fill(np.concatenate([inner_top, edge[::-1]]), _TOOTH)
    else:
        brush.stroke(0.5 * (inner_top + inner_bottom), 0.034, mixed(person.lips, DARK, 0.75))
    brush.crease(
        outer_bottom[3:-3] + np.array([0.0, 0.045]), 0.03, 0.25 + 0.4 * max(au[15], au[17])
    )
    for side in (-1.0, 1.0):
        fold = arc(
            (side * 0.15, 0.25 - 0.04 * au[9]),
            (side * (0.235 + 0.09 * au[12]), 0.35),
            (side * (half + 0.07), corner + 0.02),
        )
        strength = 0.7 * max(au[12], au[9], 0.9 * au[10], 0.6 * au[20])
        brush.crease(fold, 0.028, 0.3 * person.age + strength)
        if au[15] > au[12]:
            hang = arc(
                (side * half, corner),
                (side * (half + 0.02), corner + 0.05),
                (side * (half + 0.03), corner + 0.1),
            )
            brush.crease(hang, 0.026, 0.8 * au[15])
