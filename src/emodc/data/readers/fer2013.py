"""FER2013, 35,887 images of 48x48 gray pixels.

Two layouts::

    ROOT/fer2013.csv        (or fer2013.csv.gz) as released: columns emotion,pixels,Usage
    ROOT/icml_face_data.csv                     the same rows, columns in another order
    ROOT/train.csv                              the Training rows alone, without Usage
    ROOT/{train,test}/{angry,disgust,fear,happy,neutral,sad,surprise}/*.jpg    the folder copy

The Training, PublicTest and PrivateTest rows of the file (28,709, 3,589, 3,589) are the train,
validation and test splits; figures are reported on PrivateTest.

Rows repeat: hundreds of images of the two evaluation splits are also Training rows, pixel for
pixel. Those rows are left out of training and counted in the notes; the evaluation splits stay as
released, so that figures compare with published ones. The dozen blank images need no rule of
their own: FER+ marks them "not a face", and those in Training are copies of one in PublicTest.

The folder copy holds the same images, but its folder ``test`` is PublicTest and PrivateTest
together (7,178). Where all its files still carry these names (``PrivateTest_88305.jpg``), they are
parted by them. Where not (``im0.png``), the test split is both, whose figures compare with none on
PrivateTest, and validation is carved out of train. The copies of evaluated images cannot be left
out of training without reading all images, so they are not; ``emodc data check`` finds them.
A folder for validation beside these two is taken as it is. FER+ goes by the order of the rows,
which the folder copy has lost.

Source: Goodfellow et al., "Challenges in Representation Learning", ICONIP 2013. The images were
collected by web search and have no license of their own.
"""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emodc.data.face_data import SPLITS
from emodc.data.readers.fer2013_rows import FER2013_CODES, USAGES, is_folder_copy, read_rows
from emodc.data.readers.folder import read_folder
from emodc.data.release import Release
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.labels import BASIC7, LabelSet

_TERMS = (
    "images of FER2013, collected by web search without a license of their own; "
    "FER+ labels by Microsoft, MIT license"
)

_OWNERS_NAMES = dict(zip(SPLITS, USAGES, strict=True))

OFFICIAL: Mapping[str, Mapping[str, int]] = {
    split: {"total": rows} for split, rows in zip(SPLITS, (28_709, 3_589, 3_589), strict=True)
}
"""The number of rows in each split, whatever their label."""

_PER_CLASS: Mapping[str, tuple[int, ...]] = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "validation": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
_OFFICIAL: Mapping[str, Mapping[str, int]] = {
    split: {**total, **dict(zip(FER2013_CODES, _PER_CLASS[split], strict=True))}
    for split, total in OFFICIAL.items()
}
_COPY_NOTES = {"copies of test images in train": "kept; `emodc data check` finds them"}


def read_fer2013(folder: Path) -> Release:
    """Read the images with their original labels.

    Args:
        folder: holds ``fer2013.csv`` or another of `emodc.data.readers.fer2013_rows.FILES`, or is
            the folder copy.

    Returns:
        Images as (48, 48) uint8 gray, classes in the order of `BASIC7`, no votes. An id
        is ``row`` and the number of the row in the file, counted from 0. From the folder copy:
        images as (48, 48, 3) uint8 RGB; an id is the path relative to ``folder``.

    Raises:
        ValueError: the file is missing or malformed, and the message names file and line; or
            the folder copy has other folders.
    """
    if is_folder_copy(folder):
        return _read_folder_copy(folder)
    rows = read_rows(folder)
    to_class = np.array([BASIC7.index(name) for name in FER2013_CODES], dtype=np.int64)
    return release_of(rows, to_class[rows["emotion"]], "fer2013", BASIC7, _OFFICIAL)


def _read_folder_copy(folder: Path) -> Release:
    whole = read_folder(folder)
    if whole.label_set is not BASIC7:
        raise ValueError(
            f"{folder}: the class folders are {', '.join(whole.label_set.classes)}, but those of "
            f"FER2013 are {', '.join(BASIC7.classes)}; open other images as folder:PATH"
        )
    facts = replace(
        whole,
        name="fer2013",
        geometry=FER2013_GEOMETRY,
        terms=_TERMS,
        notes={**whole.notes, **_COPY_NOTES},
    )
    if len(whole.rows("validation")):
        return replace(facts, official=_OFFICIAL)
    tests = whole.rows("test")
    usages = [Path(whole.ids[row]).name.partition("_")[0] for row in tests]
    if set(usages) != set(USAGES[1:]):
        both = {key: n + _OFFICIAL["test"][key] for key, n in _OFFICIAL["validation"].items()}
        return replace(
            facts,
            official={"train": _OFFICIAL["train"], "test": both},
            owners_names={"train": USAGES[0], "test": " + ".join(USAGES[1:])},
        )
    splits = whole.splits.copy()
    splits[tests] = [USAGES.index(usage) for usage in usages]
    return replace(facts, splits=splits, official=_OFFICIAL, owners_names=_OWNERS_NAMES)


def release_of(
    rows: NDArray[np.void],
    labels: NDArray[np.int64],
    name: str,
    label_set: LabelSet,
    official: Mapping[str, Mapping[str, int]],
    votes: NDArray[np.float32] | None = None,
) -> Release:
    """Return the images with these labels.

    Args:
        rows: (N,) all rows, from `read_rows`.
        labels: (N,) class indices, -1 where a row has no label.
        name: what the dataset is called.
        label_set: the K classes that ``labels`` index.
        official: see `Release`.
        votes: (N, K) label distributions that sum to 1 in labeled rows.
    """
    usage, first, pixels = rows["usage"], rows["first"], rows["pixels"]
    in_training = usage == SPLITS.index("train")
    return Release(
        name=name,
        label_set=label_set,
        ids=[f"row{number:05d}" for number in range(len(rows))],
        splits=usage.astype(np.int8),
        labels=labels,
        reader=lambda index: np.array(pixels[index]),
        stamp=lambda index: f"{zlib.crc32(pixels[index].tobytes()):08x}",
        votes=votes,
        copied=in_training & np.isin(first, first[~in_training]),
        official=official,
        owners_names=_OWNERS_NAMES,
        absent=dict.fromkeys(SPLITS, "its file holds the Training rows alone; take fer2013.csv"),
        geometry=FER2013_GEOMETRY,
        terms=_TERMS,
    )
