import csv
import io

import pytest
import torch
from torch import Tensor

from emodc.experiments.analysis.correlation import correlation, correlations
from tests.experiments.analysis.conftest import separated


def test_a_line_and_a_curve() -> None:
    x = torch.linspace(1, 2, 50, dtype=torch.float64)
    line, curve = correlations(x, 3 * x), correlations(x, x**20)
    assert line["pearson"] == pytest.approx(1)
    assert line["ratio"] == pytest.approx(3)
    assert curve["spearman"] == pytest.approx(1)
    assert curve["pearson"] < 0.95
    low, high = curve["pearson_ci95"]
    assert low < curve["pearson"] < high
    assert correlations(x, 5 - x)["pearson"] == pytest.approx(-1)


def test_a_reference_that_equals_d_p_lies_on_the_line(difficulty: Tensor, labels: Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    unrelated = torch.rand(24, 10, generator=generator)
    follows = separated(difficulty, labels, 0.2, name="follows", d_null=difficulty)
    ignores = separated(difficulty, labels, 0.2, name="ignores", d_null=unrelated)
    exhibit = correlation([follows, ignores])
    of = exhibit.statistics
    assert of["follows"]["null"]["images"]["pearson"] == pytest.approx(1)
    assert of["follows"]["null"]["images"]["ratio"] == pytest.approx(1)
    assert of["follows"]["negative"]["single_draws"]["ratio"] == pytest.approx(1.2)
    assert abs(of["ignores"]["null"]["images"]["pearson"]) < 0.6
    assert len(exhibit.figure.axes) == 6


def test_the_data_are_the_points(difficulty: Tensor, labels: Tensor) -> None:
    exhibit = correlation([separated(difficulty, labels, 0.5, d_null=2 * difficulty)])
    rows = list(csv.DictReader(io.StringIO(exhibit.csv())))
    assert len(rows) == 24
    assert [float(row["d_p"]) for row in rows] == pytest.approx(
        difficulty.mean(dim=1).tolist(), rel=1e-5
    )
    for row in rows:
        d_p = float(row["d_p"])
        assert float(row["mean_d_n"]) == pytest.approx(1.5 * d_p, rel=1e-5)
        assert float(row["d_null"]) == pytest.approx(2 * d_p, rel=1e-5)
    assert rows[1]["class"] == "happiness"
