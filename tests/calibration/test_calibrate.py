import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor
from typer.testing import CliRunner

from emodc.calibration.calibrate import DEFAULT_PRIOR, calibrate
from emodc.calibration.posterior import fit_gap_model
from emodc.calibration.stopping import close_gaps
from emodc.cli.app import app
from emodc.data import open_data
from emodc.evaluation.evaluate import evaluate
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.scorer import Scorer
from emodc.method.draws import spaced_timesteps
from emodc.method.forecast import Forecast, gap_covariance
from emodc.method.sequential import Settled, draw_order
from emodc.method.stopping import simulate, stopping_thresholds
from emodc.model.adaptive import Adaptive, Stop
from emodc.model.decision import Decision
from emodc.model.model import Model
from emodc.model.prior import parse_prior
from emodc.model.store import load_model, save_model
from emodc.publishing import card
from emodc.reports.evaluation import calibration_table

ADAPTIVE = Adaptive(
    steps=12,
    block=3,
    covariance=((0.02, 0.01), (0.01, 0.02)),
    noise=(0.01, 0.01),
    confidence=0.95,
    stops=(
        Stop(delta=0.01, threshold=3.0, scale=30.0, least_probability=(0.1,)),
        Stop(delta=0.05, threshold=0.5, scale=20.0, least_probability=(0.1,)),
    ),
)
DECISION = Decision(scale=40.0, adaptive=ADAPTIVE, coverage=0.9, least_probability=(0.12,))


def errors_of_a_world(images: int, seed: int) -> Tensor:
    """Errors whose gaps are Gaussian around advantages that are often too small to see early."""
    g = torch.Generator().manual_seed(seed)
    level = 0.2 * torch.rand(images, 4, 1, generator=g)
    return level + 0.2 * torch.randn(images, 4, 40, generator=g)


def forecast_of(errors: Tensor) -> Forecast:
    steps = errors.shape[2]
    t = spaced_timesteps(1000, steps)
    between, within = fit_gap_model(close_gaps(errors, torch.ones(steps)), t, 1000)
    return Forecast(gap_covariance(between, within, t[draw_order(steps)], 1000))


@pytest.fixture
def calibrated(tiny_model: Model) -> Model:
    return replace(tiny_model, decision=DECISION)


def test_the_promise_is_kept_on_new_images(monkeypatch: pytest.MonkeyPatch) -> None:
    ones, broken, bold = torch.ones(40), 0, []
    delta, confidence, worlds, block = 0.05, 0.9, 30, 8
    monkeypatch.setattr("emodc.method.stopping.DELTAS", (delta,))
    for seed in range(worlds):
        hold, new = errors_of_a_world(300, seed), errors_of_a_world(2000, 1000 + seed)
        forecast = forecast_of(errors_of_a_world(300, 2000 + seed))
        thresholds = stopping_thresholds(hold, ones, forecast, block, confidence)
        rule = Settled(threshold=thresholds[delta].threshold, forecast=forecast)
        outcome = simulate(new, ones, rule, block)
        final = new.double().mean(dim=2).argmin(dim=1)
        broken += float((outcome.label != final).double().mean()) > delta
        bold.append(float(outcome.draws.double().mean()))
    # A tenth of the worlds may break it: more than 8 of 30 would be a chance of 1 in 200.
    assert broken <= 8
    assert max(bold) < 35  # and it is worth something


def test_few_images_certify_little() -> None:
    hold, ones = errors_of_a_world(60, 0), torch.ones(40)
    forecast = forecast_of(errors_of_a_world(300, 1))
    thresholds = stopping_thresholds(hold, ones, forecast, 4, 0.95)
    assert set(thresholds) <= {0.05, 0.1}  # 60 images without a slip cannot show less than 5 %
    many = errors_of_a_world(2000, 0)
    assert 0.01 in stopping_thresholds(many, ones, forecast, 4, 0.95)


def test_a_calibrated_model_knows_what_was_fitted_on_what(tiny_model: Model) -> None:
    data = open_data("synthetic:count=70", "validation")
    model = calibrate(tiny_model, data, steps=8, limit=60)
    facts = model.facts["calibration"]
    assert facts["images"] == 60
    assert facts["held_out"]["images"] == 30
    assert facts["date"]
    assert facts["data"] == "synthetic"
    assert facts["fingerprint"] != data.fingerprint()  # of the subset
    assert model.decision.coverage == 0.9
    assert [len(few.t) for few in model.decision.few_steps] == [1, 2, 4]
    assert model.backbone is tiny_model.backbone
    assert model.held_out is not None
    assert len(model.held_out.labels) == 30
    prior = model.decision.prior
    assert prior is not None
    assert prior.asked == parse_prior(DEFAULT_PRIOR, model.label_set, prior)
    assert prior.asked != prior.training
    low, high = facts["held_out"]["after"]["ece_ci95"]
    assert 0 <= low <= high <= 1


def test_calibration_is_refused_without_images_or_with_other_classes(
    tiny_model: Model, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"at least 10 for the scale .* and 50 for sequential"):
        calibrate(tiny_model, open_data("synthetic:count=7", "validation"), steps=2)
    for name in ("happy", "sad"):
        (tmp_path / name).mkdir()
    data = open_data("synthetic:count=70", "validation")
    two = replace(data, label_set=type(data.label_set)("two", ("neutral", "anger")))
    with pytest.raises(ValueError, match="calibrate on data with the model's classes"):
        calibrate(tiny_model, two, steps=2)


def test_few_images_fit_the_scale_alone_and_it_is_said(
    calibrated: Model, caplog: pytest.LogCaptureFixture
) -> None:
    few = open_data("synthetic:count=21", "validation")
    fitted = calibrate(calibrated, few, steps=2)
    assert "21 images are few: only the scale" in caplog.text
    assert fitted.decision.scale != calibrated.decision.scale
    assert fitted.decision.adaptive is None
    assert fitted.decision.coverage is None
    facts = fitted.facts["calibration"]
    assert facts["images"] == facts["held_out"]["images"] == 21
    assert {"accuracy", "nll", "ece"} <= facts["held_out"]["after"].keys()
    assert "scale" in "\n".join(card._calibration(fitted.facts))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(calibration_table(facts))
    assert "cross-validation" in console.export_text()


def test_the_decision_travels_with_the_weights(calibrated: Model, tmp_path: Path) -> None:
    save_model(calibrated, tmp_path)
    assert load_model(tmp_path).decision == DECISION


def test_scoring_modes(calibrated: Model, tiny_model: Model) -> None:
    crops = [np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8) for i in range(3)]
    x0 = calibrated.settings.codec.encode(crops)
    assert Scorer(calibrated, steps=5)(x0).draws.tolist() == [5] * 3
    assert Scorer(tiny_model)(x0).draws.tolist() == [20] * 3
    assert Scorer(tiny_model, budget=7)(x0).draws.tolist() == [7] * 3
    assert Scorer(tiny_model)(x0).thresholds is None
    careful, bold = Scorer(calibrated)(x0), Scorer(calibrated, delta=0.05)(x0)
    assert bool((bold.draws <= careful.draws).all())
    assert int(careful.draws.max()) <= 12
    assert Scorer(calibrated, delta=0.05, budget=4)(x0).draws.max() <= 4
    torch.testing.assert_close(careful.probabilities.sum(dim=1), torch.ones(3).double())
    for wrong, message in (
        ({"steps": 5, "delta": 0.01}, "not both"),
        ({"steps": 5, "budget": 9}, "not both"),
        ({"delta": 0.001}, "least that was certified is 0.01"),
        ({"budget": 0}, "at least one draw"),
    ):
        with pytest.raises(ValueError, match=message):
            Scorer(calibrated, **wrong)
    with pytest.raises(ValueError, match="run emodc calibrate"):
        Scorer(tiny_model, delta=0.05)


def test_probabilities_as_scikit_learn_gives_them(calibrated: Model) -> None:
    classifier = EmotionClassifier(calibrated)
    crops = [np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8) for i in range(5)]
    p = classifier.predict_proba(crops, from_crops=True)
    assert p.shape == (5, len(classifier.classes_))
    assert p.sum(axis=1) == pytest.approx(1.0)
    rows = classifier.predict([np.asarray(crop) for crop in crops], from_crops=True)
    assert [row.label for row in rows] == [classifier.classes_[k] for k in p.argmax(axis=1)]
    assert classifier.predict_proba([], from_crops=True).shape == (0, 7)
    for row in rows:
        assert row.probabilities is not None
        assert row.prediction_set is not None
        assert set(row.prediction_set) == {k for k, v in row.probabilities.items() if v >= 0.1}
        assert row.trunk_passes is not None
        assert row.prompt_evaluations == 7 * row.trunk_passes


def test_sequential_evaluation_agrees_with_the_steps_it_aims_at(
    calibrated: Model, tmp_path: Path
) -> None:
    data = open_data("synthetic:count=28", "test")
    never = Stop(delta=0.01, threshold=1e9, scale=40.0, least_probability=(0.1,))
    patient = ADAPTIVE.model_copy(update={"stops": (never,)})
    model = replace(calibrated, decision=DECISION.model_copy(update={"adaptive": patient}))
    plain = evaluate(model, data, steps=12)
    report = evaluate(model, data, delta=0.01, output=tmp_path)
    assert report.confusion == plain.confusion
    assert report.nll == pytest.approx(plain.nll, rel=1e-4)
    assert report.trunk_passes_per_image == 12
    assert report.prediction_sets is not None
    assert report.prediction_sets.wanted_coverage == 0.9
    assert evaluate(model, data, delta=0.01, output=tmp_path).nll == report.nll
    with pytest.raises(ValueError, match="another delta"):
        evaluate(model, data, delta=0.02, output=tmp_path)
    assert evaluate(calibrated, data, delta=0.05).trunk_passes_per_image < 12


def test_from_the_command_line(tiny_folder: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    made, work = str(tmp_path / "made"), str(tmp_path / "work")
    data = ["--data", "synthetic:count=70", "--steps", "6", "--work", work]
    answer = run(app, ["calibrate", *data, "--model", str(tiny_folder), "--output", made, "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["images"] == 70
    again = run(app, ["calibrate", *data, "--model", made])  # in place, errors found again
    assert again.exit_code == 0, again.output
    assert "answers differ" in again.stdout
    refused = run(app, ["calibrate", *data, "--model", "face48"])
    assert refused.exit_code == 2
    assert "--output" in refused.stderr

    image = "samples/happiness.jpg" if Path("samples/happiness.jpg").exists() else None
    assert image, "run the tests from the project's root"
    for extra in (["--adaptive"], ["--adaptive", "0.1"], ["--adaptive=0.1", "--budget", "2"]):
        save_model(replace(load_model(made), decision=DECISION), Path(made))
        shown = run(app, ["predict", image, *extra, "--no-detect", "--json", "--model", made])
        assert shown.exit_code == 0, shown.output
        row = json.loads(shown.stdout)[0]
        assert 1 <= row["trunk_passes"] <= 12
        assert row["prompt_evaluations"] == 7 * row["trunk_passes"]
        assert "gap_standard_error" in row
        assert isinstance(row["prediction_set"], list)
    both = run(app, ["predict", image, "--adaptive", "--steps", "3", "--model", made])
    assert both.exit_code == 2
    assert "not both" in both.stderr
