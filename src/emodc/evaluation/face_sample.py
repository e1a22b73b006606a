"""The faces that all subjects are shown: those of classes that all of them know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.faces.geometry import FER2013_GEOMETRY, CropGeometry
from emodc.labels import LabelSet, canonical_name, common_classes
from emodc.support.files import one_line


@dataclass(frozen=True)
class FaceSample:
    """Readable face crops with their labels.

    Attributes:
        data: the N crops.
        index: (N,) int64, their numbers in the dataset: a face is corrupted and attacked in the
            same way whatever other faces are chosen.
        classes: the K' classes that dataset and subjects share.
        labels: (N,) int64, true classes among these.
        skipped: the crops that cannot be read: id and reason.
        images_left_out: crops of other classes.
    """

    data: FaceData
    index: NDArray[np.int64]
    classes: tuple[str, ...]
    labels: Tensor
    skipped: tuple[tuple[str, str], ...]
    images_left_out: int

    @property
    def geometry(self) -> CropGeometry:
        """Where the crops show eyes and mouth; FER2013's if the dataset does not say."""
        return self.data.geometry or FER2013_GEOMETRY


def choose_sample(
    data: FaceData, label_sets: Sequence[LabelSet], limit: int | None, seed: int
) -> FaceSample:
    """Choose the faces.

    Args:
        data: where from.
        label_sets: the subjects'.
        limit: size of a stratified subset; all faces if not given.
        seed: of the choice.

    Raises:
        ValueError: fewer than two classes in common, ``limit`` below 1, or no readable image.
    """
    classes = common_classes(label_sets, data.label_set)
    label = _positions(data.label_set, classes)
    index = np.flatnonzero(label[data.labels] >= 0)
    left_out = len(data) - len(index)
    if limit is not None:
        index = index[stratified_subset(data.labels[index], limit, seed)]
    readable, skipped = [], []
    for i in index.tolist():
        try:
            data.image(i)
            readable.append(i)
        except ValueError as error:
            skipped.append((data.ids[i], one_line(error)))
    if not readable:
        raise ValueError(f"{data.name}: no image can be read: {skipped[0][1]}")
    index = np.array(readable, dtype=np.int64)
    labels = torch.from_numpy(label[data.labels[index]])
    return FaceSample(data.subset(index), index, classes, labels, tuple(skipped), left_out)


class MatchedClasses(NamedTuple):
    """The classes that a model and a dataset share, matched by name.

    Attributes:
        names: K' names, in the model's order and as it calls them.
        columns: (K',) int64, the model's ids of them.
        label: for each class of the dataset, its position among them, or -1.
    """

    names: tuple[str, ...]
    columns: Tensor
    label: NDArray[np.int64]


def match_classes(label_set: LabelSet, dataset: LabelSet) -> MatchedClasses:
    """Match a model's classes with a dataset's.

    Raises:
        ValueError: they share fewer than two.
    """
    common = common_classes([label_set], dataset)
    columns = shared_columns(label_set, common)
    names = tuple(label_set.classes[k] for k in columns.tolist())
    return MatchedClasses(names, columns, _positions(dataset, common))


def missing_classes(of: LabelSet, among: LabelSet) -> list[str]:
    """Return the classes of a label set that another lacks."""
    known = {canonical_name(name) for name in among.classes}
    return [name for name in of.classes if canonical_name(name) not in known]


def shared_columns(label_set: LabelSet, classes: Sequence[str]) -> Tensor:
    """Return (K',) int64, where a label set has these classes."""
    names = [canonical_name(name) for name in label_set.classes]
    return torch.tensor([names.index(name) for name in classes])


def _positions(label_set: LabelSet, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return where each class of a label set stands among some classes, or -1."""
    names = [canonical_name(name) for name in label_set.classes]
    return np.array([classes.index(name) if name in classes else -1 for name in names])
