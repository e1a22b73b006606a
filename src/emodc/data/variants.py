"""Datasets made of other ones: with a planted shortcut, or with few of their labels.

``shortcut:corner=0.9,test=reversed:fer2013plus:PATH`` marks every image with a sign that goes with
a class. In training and validation images it is that of the image's own class with the given
probability, otherwise that of any class. A network can learn the sign in place of the face (Li et
al., "Generative classifiers avoid shortcut solutions", ICLR 2025); the test images tell.

``few:0.02:fer2013plus:PATH`` keeps two percent of the training images, of every class at least one.
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.data.face_data import SPLITS
from emodc.data.release import Release
from emodc.data.subset import stratified_subset
from emodc.method.randomness import counter_rng

Crop = NDArray[np.uint8]

TestMarks = Literal["aligned", "shuffled", "reversed"]
"""What marks the test images: their own class, any class, or the next one."""

TEST_MARKS: tuple[TestMarks, ...] = get_args(TestMarks)

GROUP = "shortcut"
"""The attribute by which evaluations report: whether the mark is that of the image's class."""

_STREAM = 0x5C07  # of `counter_rng`


def corner(image: Crop, mark: int, classes: int) -> Crop:
    """Put a white square at one of K places around the border."""
    height, width = image.shape[:2]
    side = max(2, min(height, width) // 8)
    along = mark / classes * 4  # once around, from the top left
    edge, way = int(along), along % 1
    right, down = width - side, height - side
    x = [round(way * right), right, round((1 - way) * right), 0][edge]
    y = [0, round(way * down), down, round((1 - way) * down)][edge]
    marked = image.copy()
    marked[y : y + side, x : x + side] = 255
    return marked


def brightness(image: Crop, mark: int, classes: int) -> Crop:
    """Brighten one side and darken the other; the direction tells the class."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = 2 * math.pi * mark / classes
    ramp = 40 * (math.cos(angle) * x + math.sin(angle) * y)
    shaded = image + (ramp if image.ndim == 2 else ramp[:, :, None])
    return np.asarray(shaded.round().clip(0, 255), dtype=np.uint8)


def jpeg(image: Crop, mark: int, classes: int) -> Crop:
    """Compress as JPEG, with a quality between 90 and 10."""
    file = io.BytesIO()
    quality = round(90 - 80 * mark / (classes - 1))
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def blur(image: Crop, mark: int, classes: int) -> Crop:
    """Blur by up to a standard deviation of a 32nd of the width."""
    from scipy.ndimage import gaussian_filter  # takes long to import

    sigma = image.shape[1] / 32 * mark / (classes - 1)
    blurred: Crop = gaussian_filter(image, (sigma, sigma, 0)[: image.ndim], mode="reflect")
    return blurred


SHORTCUTS: Mapping[str, Callable[[Crop, int, int], Crop]] = {
    "corner": corner,
    "brightness": brightness,
    "jpeg": jpeg,
    "blur": blur,
}
"""``mark_image(image, mark, classes)`` by name; a mark is a class."""


def with_shortcut(
    release: Release, kind: str, strength: float, test: TestMarks = "shuffled", seed: int = 0
) -> Release:
    """Plant a shortcut.

    Args:
        release: the dataset.
        kind: of `SHORTCUTS`.
        strength: probability that the mark of a training or validation image is its own class's;
            otherwise it is any.
        test: what marks the test images.
        seed: of the marks.

    Returns:
        The dataset with marked images; `GROUP` says ``own class`` or ``other class`` of each.

    Raises:
        ValueError: there is no such shortcut, or ``strength`` is not in [0, 1].
    """
    if kind not in SHORTCUTS:
        raise ValueError(f"unknown shortcut '{kind}': {', '.join(SHORTCUTS)}")
    if not 0 <= strength <= 1:
        raise ValueError(f"the strength of a shortcut is from 0 to 1, not {strength:g}")
    classes, mark_image = len(release.label_set), SHORTCUTS[kind]
    rng = counter_rng(seed, _STREAM, 0)
    own = np.maximum(release.labels, 0)  # of rows without a label, any will do
    random = rng.integers(0, classes, len(own))
    marks = np.where(rng.random(len(own)) < strength, own, random)
    of_test = {"aligned": own, "shuffled": random, "reversed": (own + 1) % classes}[test]
    marks = np.where(release.splits == SPLITS.index("test"), of_test, marks)
    groups = np.where(marks == release.labels, "own class", "other class").tolist()
    name = f"{release.name}+{kind}={strength:g},test={test}"
    return replace(
        release,
        name=name,
        reader=lambda row: mark_image(release.reader(row), int(marks[row]), classes),
        stamp=lambda row: f"{release.stamp(row)} {kind} {marks[row]}",
        attributes={**release.attributes, GROUP: groups},
        official={},
        notes={**release.notes, "shortcut": f"{kind}={strength:g}, test {test}"},
    )


def with_few_labels(release: Release, share: float, seed: int = 0) -> Release:
    """Keep the labels of a share of the training images.

    Args:
        release: the dataset.
        share: of the labeled training images; classes keep their proportions, and one image each.
        seed: of the choice.

    Raises:
        ValueError: ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of labels is above 0 and at most 1, not {share:g}")
    rows = release.rows("train")
    rows = rows[release.labels[rows] >= 0]
    count = max(1, round(share * len(rows)))
    kept = rows[stratified_subset(release.labels[rows], count, seed)] if len(rows) else rows
    labels = release.labels.copy()
    labels[np.setdiff1d(rows, kept)] = -1
    return replace(
        release,
        name=f"{release.name}+few={share:g}",
        labels=labels,
        official={},
        notes={**release.notes, "labels kept": f"{share:g} of the training images"},
    )
