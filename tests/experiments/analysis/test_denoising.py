from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.data import open_data
from emodc.experiments.analysis.denoising import WIENER, denoising, linear_errors
from emodc.method.linear_denoiser import wiener_errors
from emodc.model.model import Model
from tests.experiments.analysis.conftest import separated

T = torch.tensor([100, 500])


def test_ratios_are_to_the_first_model(difficulty: Tensor, labels: Tensor) -> None:
    models = [
        separated(difficulty, labels, 0.1, name="base"),
        separated(1.1 * difficulty, labels, 0.5, name="amdit"),
    ]
    linear = 2 * difficulty.mean(dim=0).double()
    found = denoising(models, linear)
    ratios = {name: row["ratio_to_first"] for name, row in found.statistics.items()}
    assert ratios == pytest.approx({"base": 1, "amdit": 1.1, WIENER: 2}, rel=1e-5)
    assert {row[0] for row in found.rows} == {"base", "amdit", WIENER}
    assert found.rows[10][3] == pytest.approx(1.1 * found.rows[0][3], rel=1e-5)  # type: ignore[operator]
    assert WIENER not in denoising(models, None).statistics


def test_the_linear_denoiser_is_fitted_once(tiny_model: Model, tmp_path: Path) -> None:
    training = open_data("synthetic:count=400,size=16", "train")
    faces = open_data("synthetic:count=14,size=16", "test")
    found = linear_errors(tiny_model, training, faces, T, tmp_path)
    x0 = [
        tiny_model.settings.codec.encode([data.image(i) for i in range(len(data))])
        for data in (training, faces)
    ]
    assert found is not None
    assert torch.equal(found, wiener_errors(x0[0], x0[1], tiny_model.schedule, T))

    def unread(index: int) -> NDArray[np.uint8]:
        raise AssertionError("the images were read again")

    again = linear_errors(tiny_model, replace(training, reader=unread), faces, T, tmp_path)
    assert again is not None
    assert torch.equal(again, found)
    other = open_data("synthetic:count=400,size=16,seed=1", "train")
    with pytest.raises(ValueError, match="another training data"):
        linear_errors(tiny_model, other, faces, T, tmp_path)


def test_few_training_images_have_no_covariance(tiny_model: Model, tmp_path: Path) -> None:
    training = open_data("synthetic:count=200,size=16", "train")
    faces = open_data("synthetic:count=14,size=16", "test")
    assert linear_errors(tiny_model, training, faces, T, tmp_path) is None
    assert list(tmp_path.iterdir()) == []
