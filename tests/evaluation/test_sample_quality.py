from dataclasses import replace

import numpy as np
import pytest
import torch

from emodc.data import open_data
from emodc.evaluation import sample_quality as module
from emodc.evaluation.sample_quality import sample_quality
from emodc.labels import LabelSet
from emodc.model.model import Model
from emodc.model.store import load_model

_REAL = open_data("synthetic:count=28,size=16", "test")
_TRAINING = open_data("synthetic:count=35,size=16", "train")


@pytest.fixture(scope="module")
def judge() -> Model:
    return load_model("baseline-cnn")


def test_real_faces_are_read_and_lie_near_real_ones(
    tiny_model: Model, judge: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, training = (
        open_data("synthetic:count=70", "test"),
        open_data("synthetic:count=70", "train"),
    )
    drawn: dict[str, float] = {}

    def generated(model: Model, prompts: range, count: int, **options: object) -> torch.Tensor:
        """Real faces in place of generated ones, as noisy as the test asks for."""
        crops = [
            real.image(int(i)) for k in prompts for i in np.flatnonzero(real.labels == k)[:count]
        ]
        x0 = judge.settings.codec.encode(crops, torch.device("cpu"))
        x0 = x0 + drawn["noise"] * torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
        return x0.view(len(prompts), count, *x0.shape[1:])

    monkeypatch.setattr(module, "generate", generated)
    model = replace(tiny_model, settings=judge.settings)
    found = {}
    for noise in (0.0, 2.0):
        drawn["noise"] = noise
        found[noise] = sample_quality(model, judge, real, training, 10, steps=1)
    same = found[0.0]
    assert sum(map(sum, same.confusion)) == 70
    for number, name in enumerate(same.read_as_asked):
        assert same.read_as_asked[name] == same.confusion[number][number] / 10
    assert same.mean_read_as_asked == pytest.approx(sum(same.read_as_asked.values()) / 7)
    assert same.frechet < 0.1 * same.frechet_floor  # the very images, scaled and rounded once more
    assert found[2.0].frechet > 5 * same.frechet_floor
    assert found[2.0].mean_read_as_asked < same.mean_read_as_asked


def test_a_tiny_generator_is_measured(tiny_model: Model, judge: Model) -> None:
    report = sample_quality(tiny_model, judge, _REAL, _TRAINING, 2, steps=2, seed=3)
    again = sample_quality(tiny_model, judge, _REAL, _TRAINING, 2, steps=2, seed=3)
    assert report == again
    assert report.frechet > report.frechet_floor
    assert report.images == len(_REAL)


def test_who_cannot_judge_is_refused(tiny_model: Model, judge: Model) -> None:
    names = LabelSet("own", ("happiness", "neutral", "boredom"))
    with pytest.raises(ValueError, match=r"cannot judge .*: it knows no boredom"):
        sample_quality(replace(tiny_model, label_set=names), judge, _REAL, _TRAINING, 2, steps=1)
