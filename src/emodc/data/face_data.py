"""What every dataset looks like once it is open."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from emodc.faces.geometry import CropGeometry
from emodc.labels import LabelSet

SPLITS = ("train", "validation", "test")


class OnDemand(Sequence[str]):
    """Values that are read when they are asked for: what takes a file each takes too long at once.

    Args:
        size: how many there are.
        read: returns value 0..size-1.
    """

    def __init__(self, size: int, read: Callable[[int], str]) -> None:
        self._rows = range(size)
        self._read = read

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        rows = self._rows[index]
        return self._read(rows) if isinstance(rows, int) else [self._read(row) for row in rows]


@dataclass(frozen=True, repr=False)
class FaceData:
    """One split of a dataset: labels in memory, images read on demand.

    Attributes:
        name: the dataset's registered name, such as ``fer2013plus``.
        split: ``train``, ``validation`` or ``test``.
        label_set: the ordered classes that ``labels`` index.
        labels: (N,) int64, class indices 0..K-1.
        ids: N stable names of the images, unique within the dataset (row number or
            relative path); they appear in reports and error messages.
        reader: returns image i as uint8, (H, W) gray or (H, W, 3) RGB.
        stamp: tells the pixels of image i from others of the same id without decoding them.
        votes: (N, K) float32, rows that sum to 1: the label distribution of the
            annotators, where the dataset has one.
        attributes: by name (``gender``, ...), N values; ``""`` is not known. Some are read from
            files when they are asked for (`OnDemand`), which may raise a ValueError.
        geometry: where the images show the landmarks, where that is known of face crops.
        notes: counts worth reporting, such as rows dropped and why.
        terms: whose images they are and on what terms, for the cards of what is trained on
            them.
    """

    name: str
    split: str
    label_set: LabelSet
    labels: NDArray[np.int64]
    ids: Sequence[str]
    reader: Callable[[int], NDArray[np.uint8]]
    stamp: Callable[[int], str]
    votes: NDArray[np.float32] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    geometry: CropGeometry | None = None
    notes: Mapping[str, int | str] = field(default_factory=dict)
    terms: str = "not stated"

    def __post_init__(self) -> None:
        if len(self.labels) == 0:
            raise ValueError(f"{self.name}: the {self.split} split is empty")
        if len(self.ids) != len(self.labels):
            raise ValueError(f"{self.name}: {len(self.ids)} ids for {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = zip(self.label_set.classes, self.class_counts().tolist(), strict=True)
        told = ", ".join(f"{name} {count:,}" for name, count in counts)
        return f"FaceData({self.name}, {self.split}: {len(self):,} images; {told})"

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index``, uint8, (H, W) gray or (H, W, 3) RGB.

        Raises:
            ValueError: the file cannot be read; the message names it.
        """
        return self.reader(index)

    def readable(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images that can be read, in order."""
        for index in range(len(self)):
            try:
                yield self.image(index)
            except ValueError:
                continue

    def class_counts(self) -> NDArray[np.int64]:
        """Return (K,) int64, the number of images of each class."""
        return np.bincount(self.labels, minlength=len(self.label_set))

    def fingerprint(self) -> str:
        """Return a hash of names, order, labels and stamps: equal means the same images."""
        digest = hashlib.sha256()
        digest.update(f"{self.name}/{self.split}/{','.join(self.label_set.classes)}".encode())
        for index, (name, label) in enumerate(zip(self.ids, self.labels.tolist(), strict=True)):
            digest.update(f"\n{name}\t{label}\t{self.stamp(index)}".encode())
        return digest.hexdigest()[:16]

    def subset(self, indices: NDArray[np.int64]) -> "FaceData":
        """Return the images at ``indices`` (M,) int64, in that order."""
        chosen = [int(i) for i in indices]
        return replace(
            self,
            labels=self.labels[indices],
            ids=[self.ids[i] for i in chosen],
            reader=lambda i: self.reader(chosen[i]),
            stamp=lambda i: self.stamp(chosen[i]),
            votes=None if self.votes is None else self.votes[indices],
            attributes={name: _pick(values, chosen) for name, values in self.attributes.items()},
        )


def _pick(values: Sequence[str], chosen: Sequence[int]) -> Sequence[str]:
    if isinstance(values, OnDemand):
        return OnDemand(len(chosen), lambda index: values[chosen[index]])
    return [values[index] for index in chosen]
