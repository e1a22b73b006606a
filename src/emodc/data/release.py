"""What the owners of a dataset hand out, whole, as the loaders read it.

A loader turns annotations into a `Release`; which rows make up the train, validation and test
split, and what is left out of them, is decided here, for all datasets alike.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emodc.data.face_data import SPLITS, FaceData
from emodc.data.validation_split import VALIDATION_SHARE, carve
from emodc.faces.geometry import CropGeometry
from emodc.faces.listing import INSIDE, Skipped, list_folder
from emodc.faces.reading import read_image
from emodc.labels import LabelSet
from emodc.support.text import printable


@dataclass(frozen=True, repr=False)
class Release:
    """Every row of a dataset, labeled or not.

    Attributes:
        name: the dataset's registered name.
        label_set: the K ordered classes that ``labels`` index.
        ids: N stable, unique names of the images: relative paths or row numbers.
        splits: (N,) int, positions in `SPLITS`. The images on which the field reports its
            figures are ``test``, whatever the owners call them; see ``owners_names``.
        labels: (N,) int64, class indices, -1 for a row without one of the classes.
        reader: returns image i as uint8, (H, W) gray or (H, W, 3) RGB; raises ValueError.
        stamp: tells the pixels of image i from others of the same id without decoding them: the
            size of a file, a checksum, the options that drew it.
        votes: (N, K) float32 shares of the annotators, where there are any.
        subjects: who is seen in each image, where that is known.
        attributes: by name (``gender``, ...), what is known of each image; ``""`` is not known.
            What takes reading a file each is `OnDemand`.
        copied: (N,) bool, training rows whose image is evaluated on as well.
        unlisted: images found beside the annotations that do not mention them.
        skipped: by path, why a file or folder among the images is not read.
        official: by split, the published number of images of each class and their ``total``.
        owners_names: by split, what the owners call it if not the same.
        absent: by split, why it has no labeled image and what to do instead.
        geometry: see `FaceData`.
        notes: more counts worth reporting.
        terms: whose images they are and on what terms.

    Raises:
        ValueError: no rows, or an id that appears twice.
    """

    name: str
    label_set: LabelSet
    ids: Sequence[str]
    splits: NDArray[np.int8]
    labels: NDArray[np.int64]
    reader: Callable[[int], NDArray[np.uint8]]
    stamp: Callable[[int], str]
    votes: NDArray[np.float32] | None = None
    subjects: Sequence[str] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    copied: NDArray[np.bool_] | None = None
    unlisted: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    official: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    owners_names: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    geometry: CropGeometry | None = None
    notes: Mapping[str, int | str] = field(default_factory=dict)
    terms: str = "not stated"

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise ValueError(f"{self.name}: no image is listed")
        if len(set(self.ids)) < len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise ValueError(f"{self.name}: '{twice}' is listed twice; keep one of the two rows")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split} {len(self.rows(split)):,}" for split in SPLITS)
        return f"Release({self.name}: {counts} images; {', '.join(self.label_set.classes)})"

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows that the owners count to a split, labeled or not.

        Raises:
            ValueError: there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"{self.name}: no split '{split}'; there are {', '.join(SPLITS)}")
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def split(self, split: str) -> FaceData:
        """Return the labeled images of one split.

        Where the owners give no validation split, a tenth of ``train`` is set aside: stratified,
        by subject where those are known (`emodc.data.validation_split`). Training rows that are
        also evaluated on are left out. The notes count all that.

        Raises:
            ValueError: there is no such split, or it has no labeled image.
        """
        carved = split != "test" and not len(self.rows("validation"))
        own = self.rows(split)
        rows = self.rows("train") if carved else own
        labeled = rows[self.labels[rows] >= 0]
        notes: dict[str, int | str] = {
            **self.notes,
            "rows": len(rows),
            "rows without a label": len(rows) - len(labeled),
        }
        chosen = labeled
        if self.skipped:
            notes["files skipped"] = len(self.skipped)
        if self.copied is not None and (carved or split == "train"):
            chosen = labeled[~self.copied[labeled]]
            notes["dropped, also in validation or test"] = len(labeled) - len(chosen)
        if carved and len(chosen):
            keys = [self.ids[i] if self.subjects is None else self.subjects[i] for i in chosen]
            aside = carve(keys, self.labels[chosen])
            chosen = chosen[aside if split == "validation" else ~aside]
            by = "name" if self.subjects is None else "subject"
            notes["validation split"] = f"{VALIDATION_SHARE:.0%} of train by {by}"
        if not len(chosen):
            reason = self.absent.get(split, "none of its images has a label")
            raise ValueError(f"{self.name}: there is no {split} split: {reason}")
        whole = FaceData(
            name=self.name,
            split=split,
            label_set=self.label_set,
            labels=self.labels,
            ids=self.ids,
            reader=self.reader,
            stamp=self.stamp,
            votes=self.votes,
            attributes=self.attributes,
            geometry=self.geometry,
            notes=notes,
            terms=self.terms,
        )
        return whole.subset(chosen)


def file_reader(files: Sequence[Path]) -> Callable[[int], NDArray[np.uint8]]:
    """Return a `Release.reader` of image files."""
    return lambda index: read_image(files[index])


def file_stamp(files: Sequence[Path]) -> Callable[[int], str]:
    """Return a `Release.stamp` of files: their sizes, or ``missing``."""

    def stamp(index: int) -> str:
        try:
            return str(files[index].stat().st_size)
        except OSError:
            return "missing"

    return stamp


def identifier(file: Path, root: Path) -> str:
    """Return the path below ``root`` as text that can be stored and printed, whatever it holds."""
    return printable(file.relative_to(root).as_posix())


def skipped_by_id(skipped: Iterable[Skipped], root: Path) -> dict[str, str]:
    """Return `Release.skipped` for what listing the folders below ``root`` has skipped."""
    return {identifier(item.file, root): item.reason for item in skipped}


def unlisted_in(folder: Path, listed: Set[str]) -> tuple[list[Path], list[Skipped]]:
    """Return the images of a folder that are not among these names, and what else lies there."""
    found = list_folder(folder)
    inside = [item for item in found.skipped if item.reason != INSIDE]
    return [file for file in found.images if file.name not in listed], inside
