from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from rich.console import Console

from emodc.backbones.face_unet import FaceUNetConfig
from emodc.codecs import PixelCodec
from emodc.evaluation.metrics import summarize
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.labels import BASIC7
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.model.settings import ModelSettings
from emodc.publishing.card import model_card
from emodc.reports.evaluation import evaluation_table
from emodc.reports.evaluation_report import (
    EvaluatedData,
    EvaluatedModel,
    EvaluationReport,
    GroupFigures,
    SkippedImage,
    TimestepError,
)
from emodc.training.recipe import parse_recipe

RECIPE = parse_recipe(
    {
        "name": "tiny",
        "summary": "A tiny model.",
        "samples": 9000,
        "phases": [
            {"share": 0.25, "objective": {"kind": "softmax"}},
            {"share": 0.75, "objective": {"kind": "amdit", "alpha": 0.37}},
        ],
    },
    "test",
)
FACTS = {
    "recipe": RECIPE.model_dump(mode="json"),
    "samples": 8192,
    "training_data": {"name": "drawn", "images": 2100, "notes": {"dropped": 41}},
    "validation": {"validation_accuracy": 0.8765},
}


def make_model(facts: dict[str, Any] | None = None) -> Model:
    settings = ModelSettings(
        codec=PixelCodec(size=16),
        backbone=FaceUNetConfig(patch=2, widths=(8, 8, 8, 8), depths=(1, 1, 1), embedding=16),
    )
    schedule = settings.schedule.build()
    backbone = build_backbone(settings, BASIC7, schedule)
    return Model(
        "tiny",
        settings,
        BASIC7,
        FER2013_GEOMETRY,
        backbone,
        schedule,
        decision=Decision(scale=50.0),
        facts=facts or {},
    )


def make_report(**changes: Any) -> EvaluationReport:
    p = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2]], dtype=torch.float64)
    classes = ["neutral", "happiness", "[odd]"]
    of_age = GroupFigures(
        n_images=3, accuracy=0.4321, accuracy_ci95=(0.1, 0.9), mean_class_accuracy=0.5
    )
    values = {
        **summarize(p, torch.tensor([0, 1, 1]), classes),
        "trunk_passes_per_image": 100,
        "prompt_evaluations_per_image": 700,
        "seconds_per_image": 0.25,
        "steps": 100,
        "seed": 3,
        "groups": {"age": {"4-19": of_age}},
        "model": EvaluatedModel(
            name="tiny", weights_sha256="", decision={}, classes_left_out=["fear"]
        ),
        "data": EvaluatedData(
            name="photos",
            split="test",
            fingerprint="",
            notes={},
            classes_left_out=["awe"],
            images_left_out=12,
        ),
        "n_skipped": 1,
        "n_without_face": 0,
        "skipped": [SkippedImage(id="[a]/b.jpg", reason="truncated")],
        "error_by_timestep": [TimestepError(t=t, d_p=t / 1000) for t in range(5, 1000, 10)],
        "versions": {},
    }
    return EvaluationReport(**values | changes)


def printed(report: EvaluationReport) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(evaluation_table(report))
    return capture.get()


def test_the_table_shows_the_figures_in_eighty_columns() -> None:
    text = printed(make_report())
    assert "tiny on photos test, 3 images, 100 steps, seed 3" in text
    low, high = make_report().accuracy_ci95
    assert f"0.6667 (95 % CI {low:.4f} to {high:.4f})" in text
    assert "0.7500" in text  # the mean class accuracy
    lines = [line.split() for line in text.splitlines()]
    assert ["happiness", "2", "1.000", "0.500", "0.667"] in lines
    assert ["[odd]", "0", "-", "-", "-"] in lines
    assert ["happiness", "1", "1", "0"] in lines
    assert max(map(len, text.splitlines())) <= 80


def test_the_table_of_seven_classes_fits_too() -> None:
    figures = summarize(torch.eye(7, dtype=torch.float64), torch.arange(7), BASIC7.classes)
    text = printed(make_report(**figures | {"confusion": [[1234] * 7 for _ in range(7)]}))
    assert ["true", *BASIC7.classes] in [line.split() for line in text.splitlines()]
    assert "…" not in text


def test_long_names_are_broken_and_not_cut() -> None:
    classes = [*BASIC7.classes, "contempt", "delight"]
    n = len(classes)
    text = printed(make_report(**summarize(torch.eye(n).double(), torch.arange(n), classes)))
    assert max(map(len, text.splitlines())) <= 80
    heading = text.split("predicted")[1].split("─")[0].splitlines()
    parts = " ".join(part for line in heading for part in line.split() if part != "true")
    assert sorted(parts.replace(" ", "")) == sorted("".join(classes))


def test_the_table_says_what_was_left_out() -> None:
    text = printed(make_report())
    assert "Classes of the model that the data lack: fear." in text
    assert "Classes of the data that the model lacks: awe (12 images left out)." in text
    assert "Skipped [a]/b.jpg: truncated." in text


def test_the_card_is_made_of_facts() -> None:
    model = make_model(FACTS)
    card = model_card(model, make_report())
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["library_name"] == "emodc"
    for part in (
        "By the recipe `tiny`: A tiny model.",
        f"classes, in order: {', '.join(BASIC7.classes)}",
        f"{sum(p.numel() for p in model.backbone.parameters()):,} parameters",
        "emodc predict photo.jpg --model path/to/this/folder",
        "- name: drawn",
        "- dropped: 41",
        "after 8,192 samples",
        "| 2,250 | softmax |",
        "| 6,750 | amdit |",
        "alpha 0.37",
        "| validation accuracy | 0.8765 |",
        "tiny on photos test, 3 images, 100 steps, seed 3:",
        "| mean class accuracy | 0.7500 |",
        "| happiness | 2 | 1.000 | 0.500 | 0.667 |",
        "| t | 5 | 105 | 205 |",
        "| d_p | 0.0050 | 0.1050 | 0.2050 |",
        "Skipped [a]/b.jpg",
        "it does not tell what a person feels",
    ):
        assert part in card, part


def test_the_recipe_on_the_card_can_be_trained_again() -> None:
    card = model_card(make_model(FACTS), None)
    text = card.split("```yaml\n")[1].split("```")[0]
    assert parse_recipe(yaml.safe_load(text), "card") == RECIPE


@pytest.mark.parametrize("key", ["accuracy", "mean_class_accuracy", "nll", "ece", "macro_f1"])
def test_a_changed_figure_changes_card_and_table(key: str) -> None:
    report = make_report()
    value = getattr(report, key) + 0.1
    changed = make_report(**{key: value})
    assert f"{value:.4f}" in model_card(make_model(), changed)
    assert model_card(make_model(), changed) != model_card(make_model(), report)
    assert printed(changed) != printed(report)


def test_the_terms_of_the_images_travel() -> None:
    terms = "collected by web search: no license"
    data = {"name": "photos", "terms": terms, "notes": {"dropped": 3}}
    card = model_card(make_model({"training_data": data}), None)
    assert f"- terms: {terms}\n- dropped: 3" in card
    assert "does not extend to these images" in card


def header(facts: dict[str, Any]) -> ModelCardData:
    """What the hub's own client reads of a card."""
    data = ModelCard(model_card(make_model(facts), make_report())).data
    assert isinstance(data, ModelCardData)
    return data


def test_the_hub_reads_the_header() -> None:
    data = header({"license": "Apache-2.0"})
    assert (data.license, data.library_name) == ("apache-2.0", "emodc")
    assert data.pipeline_tag == "image-classification"
    assert data.tags == ["facial-expression-recognition", "diffusion-classifier"]


def test_no_license_is_invented() -> None:
    assert header({}).license is None
    card = model_card(make_model(), None)
    assert "license of the weights: not stated; `emodc export --license ID` states it" in card
    stated = model_card(make_model({"license": "MIT"}), None)
    assert "license of the weights: MIT\n" in stated


@pytest.mark.parametrize("license_id", ["a\nb: c", "[x", "#", {"a": 1}])
def test_a_license_of_another_kind_breaks_no_header(license_id: Any) -> None:
    data = header({"license": license_id})
    assert data.license == str(license_id).lower()
    assert data.library_name == "emodc"


@pytest.mark.parametrize(
    ("data", "warned"), [({}, True), ({"terms": "not stated"}, True), ({"terms": "mine"}, False)]
)
def test_terms_that_nobody_stated_are_left_open(data: dict[str, Any], warned: bool) -> None:
    card = model_card(make_model({"training_data": {"name": "photos"} | data}), None)
    assert ("terms of use are not recorded" in card) == warned


def test_a_card_without_facts_says_so() -> None:
    card = model_card(make_model(), None)
    assert card.count("Not recorded.") == 2
    assert "Not evaluated yet." in card
    assert "None" not in card


def test_a_card_says_how_the_model_was_calibrated() -> None:
    figures = {"accuracy": 0.8, "nll": 0.5432, "ece": 0.0123}
    stop = {"delta": 0.02, "draws": 7.5, "differ": 0.0132, **figures}
    held_out = {"images": 50, "before": figures | {"ece": 0.09}, "after": figures, "stops": [stop]}
    facts = {"images": 100, "data": "faces", "split": "validation", "steps": 40, "seed": 5}
    calibration = facts | {"date": "2026-01-31", "held_out": held_out}
    card = model_card(make_model({"calibration": calibration}), None)
    assert "On 100 images of faces validation, seed 5, 2026-01-31, 40 draws." in card
    assert "| ECE | 0.0900 | 0.0123 |" in card
    assert "| 0.02 | 7.5 | 0.0132 |" in card
    assert "Not calibrated" not in card
    assert "Not calibrated" in model_card(make_model(), None)


def test_groups_and_the_way_of_scoring_are_shown() -> None:
    report = make_report()
    assert "By age" in printed(report)
    assert "0.4321" in printed(report)
    assert "100 steps, seed 3" in printed(report)
    shown = " ".join(printed(make_report(delta=0.02, detect=True)).split())
    assert "sequential scoring of 100 steps at delta 0.02, seed 3, faces detected" in shown
    half = report.model.model_copy(update={"precision": "bf16"})
    assert "seed 3, bf16" in printed(make_report(model=half))


def test_many_skipped_images_are_not_all_listed() -> None:
    skipped = [{"id": f"p{i}", "reason": "no face found"} for i in range(30)]
    text = printed(make_report(skipped=skipped))
    assert "p9:" in text
    assert "p10:" not in text
    assert "20 more" in text
