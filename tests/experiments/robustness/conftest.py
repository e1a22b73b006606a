from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emodc.attacks.victims import Victim, network_victim
from emodc.data import FaceData, open_data
from emodc.experiments.robustness import Comparison, ModelSubject, SequentialSubject, Subject
from emodc.labels import BASIC7, LabelSet
from emodc.model.model import Model
from tests.calibration.test_calibrate import DECISION


@dataclass(frozen=True)
class Memory:
    """Knows the faces it was told of, pixel by pixel, and takes all others for neutral."""

    name: str
    known: Mapping[bytes, int] = field(default_factory=dict)
    label_set: LabelSet = BASIC7
    draws: int = 0
    differentiable: bool = True
    surrogate: Subject | None = None
    shown: list[int] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"weights": f"{len(self.known)} faces"}

    def answers(self, crops: Sequence[NDArray[np.uint8]], seed: int) -> tuple[Tensor, Tensor]:
        self.shown.append(len(crops))
        neutral = self.label_set.index("neutral")
        answers = torch.tensor([self.known.get(crop.tobytes(), neutral) for crop in crops])
        probabilities = 0.01 + 0.93 * F.one_hot(answers, len(self.label_set)).double()
        return probabilities, torch.full((len(crops),), self.draws)

    def pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        return torch.from_numpy(np.stack(crops)).unsqueeze(1) / 255

    def victim(self) -> Victim:
        """Not itself: the class is how bright the image is."""
        centers = torch.linspace(0, 1, len(self.label_set))

        def network(pixels: Tensor) -> Tensor:
            return -(pixels.mean(dim=(1, 2, 3)).unsqueeze(1) - centers).abs() * 50

        return network_victim(network)


def faces(count: int = 14) -> FaceData:
    return open_data(f"synthetic:count={count},size=16", "test")


def remembering(name: str, data: FaceData, **changes: Any) -> Memory:
    """A subject that knows all faces of a dataset."""
    known = {data.image(i).tobytes(): int(data.labels[i]) for i in range(len(data))}
    return replace(Memory(name, known), shown=[], **changes)


@pytest.fixture(scope="session")
def subject(tiny_model: Model) -> ModelSubject:
    return ModelSubject(tiny_model, steps=2, name="tiny")


@pytest.fixture(scope="session")
def sequential(tiny_model: Model) -> SequentialSubject:
    return SequentialSubject(replace(tiny_model, decision=DECISION), 0.05, "tiny (sequential)")


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """One subject that knows clean faces, one that always answers neutral; finished."""
    output = tmp_path_factory.mktemp("compared")
    subjects = [remembering("knows", faces()), Memory("neutral")]
    comparison = Comparison(subjects, faces(), output, severities=(2, 5))
    comparison.run()
    return comparison
