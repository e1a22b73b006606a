"""A small study, done once: every kind of arm, on drawn faces, in networks of a few units."""

from pathlib import Path
from typing import Any

import pytest

from emodc.data import open_data
from emodc.experiments.study import arms
from emodc.experiments.study.arms import Arm, Setting
from emodc.experiments.study.protocol import ArmResult, Study
from emodc.experiments.study.runs import Splits
from emodc.support.timing import unheard
from emodc.training.recipe import Recipe
from tests.training.test_loop import recipe

FEW = (
    Arm("base", "plain", {"kind": "base"}, many_seeds=True, quick=True),
    Arm(
        "margin",
        "fixed margin",
        {"kind": "margin"},
        (Setting("mf-0.05", {"margin": 0.05}), Setting("mf-0.1", {"margin": 0.1})),
        quick=True,
    ),
    Arm(
        "amdit",
        "adaptive margin",
        {"kind": "amdit"},
        (Setting("alpha-0.2", {"alpha": 0.2}), Setting("alpha-0.4", {"alpha": 0.4})),
        many_seeds=True,
        quick=True,
    ),
    Arm("amdit-null", "null", {"kind": "amdit", "reference": "null"}, follows="amdit"),
    Arm("baseline-cnn", "discriminative", {"kind": "cross_entropy"}),
)


def tiny(**changes: Any) -> Recipe:
    few = {"samples": 32, "batch_size": 16, "validation": {"every": 16, "images": 14, "steps": 2}}
    phases = [
        {"share": 0.5, "objective": {"kind": "base"}, "trunk_weight": 0.5},
        {"share": 0.5, "objective": {"kind": "amdit", "negatives": "all", "weight": 2.0}},
    ]
    return recipe(**few | {"phases": phases} | changes)


@pytest.fixture(scope="session")
def splits() -> Splits:
    spec = "synthetic:count=28,size=16"
    return Splits(*(open_data(spec, split) for split in ("train", "validation", "test")))


def make_study(splits: Splits, output: Path, **options: Any) -> Study:
    chosen: dict[str, Any] = {"seeds": 2, "steps": 2, "limit": 21, "device": "cpu"} | options
    return Study(tiny(), splits, output, **chosen)


def finish(study: Study) -> list[ArmResult]:
    """Do what is missing and return all results."""
    *_, results = study.run(unheard, lambda line: None)
    return list(results)


@pytest.fixture(scope="session")
def done(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study of `FEW`; not to be changed."""
    output = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "ARMS", FEW)
        finish(make_study(splits, output))
    return output


@pytest.fixture
def few_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "ARMS", FEW)
