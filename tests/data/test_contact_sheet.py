from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from emodc.data.contact_sheet import contact_sheet
from emodc.data.release import Release
from emodc.labels import BASIC7, LabelSet

PURE = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255))


def release(**changes: Any) -> Release:
    """Sixty images of one color each, by class; two classes have none."""

    def read(index: int) -> NDArray[np.uint8]:
        return np.full((40, 20, 3), PURE[index % 5], np.uint8)

    fields: dict[str, Any] = {
        "name": "made",
        "label_set": BASIC7,
        "ids": [f"p{i}" for i in range(60)],
        "splits": np.array([0] * 40 + [2] * 20, dtype=np.int8),
        "labels": np.arange(60) % 5,
        "reader": read,
        "stamp": str,
    }
    return Release(**(fields | changes))


def colors(page: Image.Image) -> dict[tuple[int, int, int], NDArray[np.int64]]:
    """Return the rows and columns (2, N) in which each pure color is seen."""
    pixels = np.asarray(page)
    return {c: np.stack(np.nonzero((pixels == c).all(axis=2))) for c in PURE}


def test_every_class_has_its_row_and_every_split_its_column() -> None:
    page = contact_sheet(release())
    seen = colors(page)
    spans = [(int(seen[c][0].min()), int(seen[c][0].max())) for c in PURE[:5]]
    assert all(above[1] < below[0] for above, below in pairwise(spans))
    # 8 of train and 4 of test, 36 x 72 pixels each: the proportions are kept.
    for color in PURE[:5]:
        assert seen[color].shape[1] == 12 * 36 * 72
        columns = np.unique(seen[color][1])
        assert (np.diff(columns) > 50).sum() == 1  # the space between the splits
    assert seen[PURE[5]].shape[1] == 0
    assert page.height > spans[-1][1] + 2 * 72  # rows of the classes without an image


def test_the_same_seed_shows_the_same_images() -> None:
    def read(index: int) -> NDArray[np.uint8]:
        return np.full((20, 20), index * 4, np.uint8)

    data = release(reader=read)
    page = contact_sheet(data, seed=3).tobytes()
    assert contact_sheet(data, seed=3).tobytes() == page
    assert contact_sheet(data, seed=4).tobytes() != page


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_odd_shapes_and_long_names_fit(shape: tuple[int, int]) -> None:
    names = LabelSet("mine", tuple(f"{'very ' * 20}long {i}" for i in range(5)))
    data = release(label_set=names, reader=lambda index: np.zeros(shape, np.uint8))
    assert contact_sheet(data).width < 2000
