"""The faces behind an evaluation: which were read wrongly, and which stand for the others."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.data.face_data import FaceData


@dataclass(frozen=True, eq=False)
class Answered:
    """What a model answered, image by image.

    Attributes:
        data: the images.
        index: (N,) int64, which of them could be scored.
        labels: (N,) int64, true classes, of ``classes``.
        probabilities: (N, K) float64.
        classes: K names.
    """

    data: FaceData
    index: Tensor
    labels: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]

    @property
    def read(self) -> Tensor:
        """(N,) int64, the classes that were answered."""
        return self.probabilities.argmax(dim=1)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return the image of a row, (H, W) gray or (H, W, 3) RGB.

        Raises:
            ValueError: it can no longer be read.
        """
        return self.data.image(int(self.index[row]))

    def name(self, row: int) -> str:
        """Return the name of a row's image."""
        return self.data.ids[int(self.index[row])]


def worst_mistakes(answered: Answered, most: int) -> list[int]:
    """Return the rows whose true class was given least, among those read wrongly; worst first."""
    rows = torch.arange(len(answered.labels))
    p_true = answered.probabilities[rows, answered.labels]
    order = p_true.argsort(stable=True)
    wrong = order[(answered.read != answered.labels)[order]]
    return [int(row) for row in wrong[:most]]


def examples(answered: Answered) -> dict[tuple[int, int], int]:
    """Return a row for every pair of true and read class: the one that was read most surely."""
    found: dict[tuple[int, int], int] = {}
    confidence = answered.probabilities.max(dim=1).values
    for row in confidence.argsort(descending=True, stable=True).tolist():
        found.setdefault((int(answered.labels[row]), int(answered.read[row])), row)
    return found
