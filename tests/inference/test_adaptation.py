import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.inference.adaptation import adapt
from emodc.model.decision import Decision
from emodc.model.held_out import HeldOut
from emodc.model.model import Model
from emodc.model.prior import ClassPrior
from emodc.model.store import save_model

PRIOR = ClassPrior(
    training=(0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.02), effective=(1 / 7,) * 7, nats=5.0
)


def knowing(model: Model, held_out: HeldOut | None = None) -> Model:
    return replace(model, decision=Decision(scale=5.0, prior=PRIOR), held_out=held_out)


def faces(labels: Tensor, evidence: float, seed: int = 0) -> Tensor:
    """Errors (N, 7, 1) of classes that differ by some nats."""
    noise = torch.randn(len(labels), 7, generator=torch.Generator().manual_seed(seed))
    errors: Tensor = -(evidence**0.5) * noise
    errors[torch.arange(len(labels)), labels] -= evidence
    errors = errors / 5
    return errors.unsqueeze(2)


def answers(model: Model, errors: Tensor) -> Tensor:
    return model.decision.probabilities(errors, torch.tensor([500]), 1000)


def test_shares_and_intervals_of_photos(tiny_model: Model) -> None:
    held = torch.arange(700) % 7
    model = knowing(tiny_model, HeldOut.of(faces(held, 4.0, 1), held))
    wanted = torch.tensor([0.05, 0.5, 0.05, 0.05, 0.25, 0.05, 0.05])
    labels = torch.multinomial(wanted, 1500, True, generator=torch.Generator().manual_seed(2))
    found = adapt(model, answers(model, faces(labels, 4.0)), range(1500), resamples=40)
    assert sum(found.shares.values()) == pytest.approx(1.0)
    for share, (low, high), true in zip(
        found.shares.values(), found.intervals.values(), wanted.tolist(), strict=True
    ):
        assert low <= share <= high
        assert low - 0.03 < true < high + 0.03
    assert found.warnings == ()
    assert found.faces == found.images == 1500


def test_faces_of_one_image_are_no_further_evidence(tiny_model: Model) -> None:
    model = knowing(tiny_model)
    labels = torch.multinomial(torch.ones(7), 200, True, generator=torch.Generator().manual_seed(2))
    p = answers(model, faces(labels, 4.0))
    once = adapt(model, p, range(200), resamples=60)
    twice = adapt(model, p.repeat(2, 1), [*range(200), *range(200)], resamples=60)
    assert twice.images == 200
    for name, (low, high) in once.intervals.items():
        again = twice.intervals[name]
        assert again[1] - again[0] == pytest.approx(high - low, rel=0.15)


def test_it_says_when_it_cannot_tell(tiny_model: Model) -> None:
    held = torch.arange(700) % 7
    blind = faces(held, 4.0, 1)
    blind[:, 5:] = blind[:, 5:].mean(dim=1, keepdim=True)  # disgust and fear get the same
    model = knowing(tiny_model, HeldOut.of(blind, held))
    found = adapt(model, answers(model, faces(torch.arange(30) % 7, 0.3)), range(30), resamples=40)
    text = "\n".join(found.warnings)
    assert "30 faces are few" in text
    assert "cannot be told: between" in text
    assert "tells disgust and fear apart too badly" in text
    with pytest.raises(ValueError, match="no face was found"):
        adapt(model, torch.empty(0, 7), [])
    with pytest.raises(ValueError, match="run emodc calibrate"):
        adapt(tiny_model, torch.ones(1, 7), [0])


def test_from_the_command_line(tiny_model: Model, tmp_path: Path) -> None:
    save_model(knowing(tiny_model), tmp_path / "model")
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    file = tmp_path / "mine.json"
    crops = [str(tmp_path), "--no-detect", "--model", str(tmp_path / "model"), "--steps", "2"]
    run = CliRunner().invoke
    done = run(app, ["adapt", "--data", *crops, "--output", str(file)])
    assert done.exit_code == 0, done.output
    assert "warning: 3 faces are few" in done.stderr
    kept = json.loads(file.read_text())
    assert sum(kept["prior"].values()) == pytest.approx(1.0)
    assert kept["faces"] == 3
    told = run(app, ["predict", *crops, "--prior", str(file), "--json"])
    assert told.exit_code == 0, told.output
    some = run(app, ["predict", *crops, "--classes", "happy,fear", "--prior", "uniform", "--json"])
    assert [*json.loads(some.stdout)[0]["probabilities"]] == ["happiness", "fear"]
    wrong = run(app, ["predict", *crops, "--classes", "happy,joy"])
    assert wrong.exit_code == 2
    assert "unknown class 'joy'" in wrong.stderr
    assert "end" in run(app, ["adapt", "--data", *crops, "--output", "x.txt"]).stderr
