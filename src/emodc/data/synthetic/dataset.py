"""Drawn faces: a dataset that needs no download and whose truth is known.

Image i of a split is a pure function of (seed, split, i): the number of images, the order
in which they are read and the process that reads them make no difference. Expression,
person, pose, light and noise vary independently of each other, so that only the expression
tells the class.

The faces are schematic. What a model scores on them says that the machinery works, nothing
about real faces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emodc.data.face_data import SPLITS
from emodc.data.release import Release
from emodc.data.synthetic.brush import Color, Pose
from emodc.data.synthetic.drawn_face import NUM_ACTIONS, Person, draw_face
from emodc.labels import BASIC7

DEFAULT_COUNTS: Mapping[str, int] = {"train": 2100, "validation": 350, "test": 350}
"""How many images each split has unless told otherwise."""

_CACHE_BYTES = 256 * 2**20

# Facial actions of each expression (after Ekman and Friesen's EMFACS table): the range their
# strength is drawn from. A range that begins below 0 is an action that may be absent.
_ACTIONS: Mapping[str, Mapping[int, tuple[float, float]]] = {
    "neutral": {25: (-1.0, 0.35)},
    "happiness": {6: (0.3, 1.0), 12: (0.55, 1.0), 25: (-0.4, 1.2), 26: (-0.4, 0.35)},
    "surprise": {1: (0.6, 1.0), 2: (0.6, 1.0), 5: (0.4, 1.0), 25: (0.1, 0.5), 26: (0.4, 1.0)},
    "sadness": {1: (0.6, 1.0), 4: (0.2, 0.6), 15: (0.55, 1.0), 17: (0.2, 0.8), 43: (0.15, 0.7)},
    "anger": {
        4: (0.65, 1.0),
        5: (-0.4, 0.5),
        7: (0.3, 0.9),
        15: (0.0, 0.4),
        23: (0.4, 1.0),
        25: (-0.8, 0.8),
    },
    "disgust": {4: (0.1, 0.5), 9: (0.65, 1.0), 10: (0.6, 1.0), 15: (0.1, 0.6), 25: (-0.5, 0.7)},
    "fear": {
        **{1: (0.65, 1.0), 2: (0.3, 0.7), 4: (0.3, 0.6), 5: (0.6, 1.0)},
        **{20: (0.6, 1.0), 25: (0.4, 1.0), 26: (0.0, 0.5)},
    },
}

_SKIN: tuple[Color, ...] = (
    (252.0, 222.0, 196.0),
    (232.0, 188.0, 152.0),
    (200.0, 146.0, 108.0),
    (158.0, 108.0, 78.0),
    (118.0, 80.0, 60.0),
)
_HAIR: tuple[Color, ...] = (
    (28.0, 22.0, 20.0),
    (66.0, 44.0, 30.0),
    (124.0, 82.0, 48.0),
    (196.0, 158.0, 98.0),
    (152.0, 150.0, 148.0),
    (118.0, 54.0, 32.0),
)
_IRIS: tuple[Color, ...] = ((62.0, 38.0, 24.0), (70.0, 104.0, 140.0), (84.0, 100.0, 62.0))


def read_synthetic(
    *, count: int | None = None, seed: int = 0, size: int = 48, color: bool = False
) -> Release:
    """Make drawn faces.

    Args:
        count: number of images in each split, `DEFAULT_COUNTS` if not given. Each run of 7 from
            the first holds every class once, and a smaller split is the start of a larger one.
        seed: 0..2**64-1; another seed draws other people.
        size: height and width in pixels, 16..1024.
        color: draw in color; gray otherwise.

    Returns:
        Images as (size, size) gray or (size, size, 3) RGB uint8, drawn when first read,
        and the classes of `BASIC7`; no image is in two splits.

    Raises:
        ValueError: a number is out of its range.
    """
    counts = {split: DEFAULT_COUNTS[split] if count is None else count for split in SPLITS}
    for name, value, low, high in (
        ("count", min(counts.values()), 1, 1_000_000),
        ("seed", seed, 0, 2**64 - 1),
        ("size", size, 16, 1024),
    ):
        if not low <= value <= high:
            raise ValueError(f"synthetic: {name} is {value}, but must be {low} to {high}")
    places = [(split, number) for split in SPLITS for number in range(counts[split])]
    labels = np.concatenate([_labels(seed, split, counts[split]) for split in SPLITS])

    @lru_cache(maxsize=max(1, _CACHE_BYTES // (size * size * (3 if color else 1))))
    def image(index: int) -> NDArray[np.uint8]:
        split, number = places[index]
        expression = BASIC7.classes[labels[index]]
        return _draw(_generator(seed, split, 1, number), expression, size, color)

    return Release(
        name="synthetic",
        label_set=BASIC7,
        ids=[f"seed{seed}-{split}-{number:05d}" for split, number in places],
        splits=np.array([SPLITS.index(split) for split, _ in places], dtype=np.int8),
        labels=labels,
        reader=lambda index: image(index).copy(),
        stamp=lambda index: f"{size}{'color' if color else 'gray'}",
        terms="drawn by the project",
    )


@dataclass(frozen=True, eq=False)
class Change:
    """One drawn face twice: nothing but one part of it changes.

    Attributes:
        before: (size, size) uint8 gray, at rest.
        after: the same face, one part of which shows an expression.
        label: of `BASIC7`, which the part belongs to.
    """

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    label: str


CHANGES: Mapping[str, tuple[str, Mapping[int, float]]] = {
    "mouth": ("happiness", {12: 0.9, 25: 0.7}),
    "brows": ("anger", {4: 1.0}),
    "eyes": ("surprise", {5: 1.0}),
}
"""What changes, by part: towards which expression, and the facial actions."""


def draw_change(part: str, number: int, *, seed: int = 0, size: int = 48) -> Change:
    """Draw a face at rest, and again with one part of it changed.

    Args:
        part: of `CHANGES`.
        number: of the person; the same for every part.
        seed: another seed draws other people.
        size: height and width in pixels.
    """
    rng = _generator(seed, "test", 2, number)
    person, pose = _some_person(rng), _some_pose(rng)
    label, strengths = CHANGES[part]
    rest = np.zeros(NUM_ACTIONS)
    moved = rest.copy()
    moved[list(strengths)] = list(strengths.values())
    before, after = (
        np.asarray(draw_face(actions, person, pose, size).convert("L"), np.uint8)
        for actions in (rest, moved)
    )
    return Change(before, after, label)


def _generator(seed: int, split: str, stream: int, index: int) -> np.random.Generator:
    """Return the numbers that belong to one image, whatever was drawn before."""
    counter = [0, stream, SPLITS.index(split), index]
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


def _labels(seed: int, split: str, count: int) -> NDArray[np.int64]:
    classes = len(BASIC7)
    blocks = range(-(-count // classes))
    runs = [_generator(seed, split, 0, block).permutation(classes) for block in blocks]
    return np.concatenate(runs)[:count].astype(np.int64)


def _draw(rng: np.random.Generator, expression: str, size: int, color: bool) -> NDArray[np.uint8]:
    face = draw_face(_some_actions(rng, expression), _some_person(rng), _some_pose(rng), size)
    pixels = np.asarray(face if color else face.convert("L"), dtype=np.float32)
    angle, slope = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.45)
    across = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    light = 1.0 + slope * (np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None])
    pixels *= (rng.uniform(0.75, 1.1) * light).reshape(size, size, *[1] * (pixels.ndim - 2))
    pixels += rng.uniform(0.0, 6.0) * rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _some_actions(rng: np.random.Generator, expression: str) -> NDArray[np.float64]:
    actions = np.zeros(NUM_ACTIONS)
    # Nobody's face is ever quite still: without this a single action would give a class away.
    visible = [1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 43]
    actions[visible] = rng.normal(0.0, 0.08, len(visible))
    for number, (low, high) in _ACTIONS[expression].items():
        actions[number] += rng.uniform(low, high)
    clipped: NDArray[np.float64] = actions.clip(0.0, 1.0)
    return clipped


def _some_person(rng: np.random.Generator) -> Person:
    tone = rng.uniform(0.0, len(_SKIN) - 1.0)
    steps = np.arange(len(_SKIN))
    skin = np.array([np.interp(tone, steps, channel) for channel in zip(*_SKIN, strict=True)])
    lips = skin + rng.uniform(0.3, 0.6) * (np.array([168.0, 62.0, 70.0]) - skin)
    backdrop = rng.uniform(25.0, 235.0) + rng.normal(0.0, 18.0, 3)
    bearded, bald, long_haired = rng.random(3) < (0.15, 0.06, 0.4)
    return Person(
        skin=_color(skin),
        hair=_HAIR[rng.integers(len(_HAIR))],
        lips=_color(lips),
        iris=_IRIS[rng.integers(len(_IRIS))],
        backdrop=_color(backdrop),
        width=rng.uniform(0.70, 0.84),
        taper=rng.uniform(0.08, 0.26),
        eye_distance=rng.uniform(0.30, 0.37),
        eye_size=rng.uniform(0.85, 1.15),
        nose_length=rng.uniform(0.85, 1.15),
        mouth_size=rng.uniform(0.88, 1.15),
        lip_size=rng.uniform(0.65, 1.3),
        brow_size=rng.uniform(0.65, 1.3),
        brow_height=rng.uniform(-0.03, 0.05),
        mouth_slope=rng.normal(0.0, 0.012),
        hairline=-1.2 if bald else rng.uniform(-0.98, -0.82),
        hair_length=rng.uniform(0.3, 1.3) if long_haired and not bald else 0.0,
        beard=rng.uniform(0.4, 1.0) if bearded else 0.0,
        glasses=bool(rng.random() < 0.12),
        age=rng.uniform(0.0, 0.8),
    )


def _some_pose(rng: np.random.Generator) -> Pose:
    return Pose(
        roll=rng.normal(0.0, 0.07),
        yaw=rng.uniform(-0.28, 0.28),
        pitch=rng.uniform(-0.10, 0.10),
        scale=rng.uniform(0.43, 0.50),
        center=(rng.uniform(0.47, 0.53), rng.uniform(0.47, 0.53)),
    )


def _color(channels: NDArray[np.float64]) -> Color:
    red, green, blue = channels.clip(0.0, 255.0).tolist()
    return red, green, blue
