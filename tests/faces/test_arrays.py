from typing import Any

import numpy as np
import pytest
import torch

from emodc.faces.arrays import images_of

ACCEPTED = [
    ((48, 40), [(48, 40)]),
    ((48, 40, 1), [(48, 40)]),
    ((48, 48, 3), [(48, 48)]),
    ((1, 48, 40), [(48, 40)]),
    ((5, 48, 40), [(48, 40)] * 5),
    ((5, 48, 40, 1), [(48, 40)] * 5),
    ((3, 48, 40, 3), [(48, 40)] * 3),
    ((0, 48, 40, 3), []),
    ((0, 48, 40), []),
]


@pytest.mark.parametrize(("shape", "found"), ACCEPTED)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_every_shape_that_means_one_thing_is_taken(
    shape: tuple[int, ...], found: list[tuple[int, int]], library: str
) -> None:
    array: Any = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = images_of(torch.from_numpy(array) if library == "torch" else array)
    assert [image.shape for image in images] == [(*side, 3) for side in found]
    if images and shape[-1] == 3:
        np.testing.assert_array_equal(np.stack(images).reshape(shape), array)
    elif images:
        gray = array.reshape(len(images), *found[0])
        np.testing.assert_array_equal(np.stack(images), np.stack([gray] * 3, axis=3))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((3, 48, 48), r"three gray images or one whose channels come first.*permute\(1, 2, 0\)"),
        ((48, 48, 4), r"four channels.*\[\.\.\., :3\]"),
        ((5, 3, 48, 48), r"channels first.*transpose\(0, 2, 3, 1\)"),
        ((5, 1, 48, 48), r"channels first"),
        ((5, 48, 48, 2), r"2 channels; there must be 1 or 3"),
        ((5, 48, 48, 4), r"4 channels"),
        ((48,), r"uint8 array of shape"),
        ((), r"uint8 array of shape"),
        ((1, 1, 48, 48, 3), r"uint8 array of shape"),
        ((0, 5, 3), r"uint8 array of shape"),
        ((5, 0, 48), r"uint8 array of shape"),
    ],
)
def test_a_shape_that_could_mean_two_things_is_refused(shape: tuple[int, ...], says: str) -> None:
    for array in (np.zeros(shape, np.uint8), torch.zeros(shape, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=says):
            images_of(array)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (
            np.full((48, 48), 0.5),
            r"float64 with values from 0.5 to 0.5.*\(255 \* x\)\.round",
        ),
        (np.full((48, 48), 80.0), r"once in 0\.\.255"),
        (np.full((48, 48), np.nan), r"with values from nan to nan"),
        (np.zeros((0, 48, 48)), r"float64"),
        (torch.zeros(48, 48, dtype=torch.bfloat16), r"bfloat16.*255"),
        (torch.zeros(48, 48, requires_grad=True), r"float32"),
        (np.zeros((48, 48), np.int64), r"int64 numbers.*convert it to uint8"),
        (np.zeros((48, 48), np.uint16), r"uint16 numbers"),
        (np.zeros((48, 48), bool), r"bool numbers"),
        (np.zeros((48, 48), complex), r"complex128 numbers"),
    ],
)
def test_other_numbers_are_refused_by_name(array: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        images_of(array)


def test_in_a_list_an_array_is_one_image() -> None:
    assert len(images_of(np.zeros((1, 48, 48), np.uint8), single=True)) == 1
    with pytest.raises(ValueError, match="each item must be one image"):
        images_of(np.zeros((5, 48, 48), np.uint8), single=True)
