import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from typer.testing import CliRunner

from emodc.backbones.face_classifier import FaceClassifierConfig
from emodc.cli.app import app
from emodc.data import open_data
from emodc.evaluation.evaluate import evaluate
from emodc.explain.sample_sheet import SAMPLES
from emodc.model.model import Model, build_backbone
from emodc.model.store import load_model
from emodc.publishing import export
from emodc.publishing.export import CARD, export_model, push_to_hub
from emodc.training.recipe import load_recipe


def test_half_precision_is_named_and_stored(tiny_model: Model, tmp_path: Path) -> None:
    export_model(tiny_model, tmp_path, name="shipped", half=True)
    shipped = load_model(tmp_path)
    assert shipped.name == "shipped"
    assert (tmp_path / CARD).read_text().count("# shipped") == 1
    for name, weight in tiny_model.backbone.state_dict().items():
        assert torch.equal(shipped.backbone.state_dict()[name], weight.half().float())


def test_a_card_takes_the_recipe_from_the_facts(tiny_model: Model, tmp_path: Path) -> None:
    recipe = load_recipe("synthetic-tiny").model_dump(mode="json")
    export_model(replace(tiny_model, facts={"recipe": recipe}), tmp_path)
    assert "trunk_weight: 0.5" in (tmp_path / CARD).read_text()


def test_a_card_tells_what_accounting_for_noise_gave(tiny_model: Model, tmp_path: Path) -> None:
    trial = {"severity": 3, "images": 14, "plain": 0.25, "noise_aware": 0.5}
    noise = {"noise": "gaussian_noise", "steps": 2, "trials": [trial], "kept": True}
    noise |= {"loss_without_gain": 1.75, "loss": 0.625}
    fitted = {"data": "drawn", "split": "validation", "seed": 0, "date": "today", "noise": noise}
    export_model(replace(tiny_model, facts={"calibration": fitted}), tmp_path)
    card = (tmp_path / CARD).read_text()
    assert "| 3 | 0.2500 | 0.5000 |" in card
    assert "0.625 nats; 1.750 if" in card
    del noise["loss"]  # calibrated before that was fitted
    export_model(replace(tiny_model, facts={"calibration": fitted}), tmp_path)
    assert "nats" not in (tmp_path / CARD).read_text()


def test_a_report_of_these_weights_is_on_the_card(tiny_model: Model, tmp_path: Path) -> None:
    export_model(tiny_model, tmp_path, half=True)
    report = evaluate(load_model(tmp_path), open_data("synthetic:count=14", "test"), steps=2)
    report.write(tmp_path / "report.json")
    arguments = ["export", str(tmp_path), str(tmp_path), "--half", "--report"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "report.json")])
    assert result.exit_code == 0, result.output
    assert f"{report.accuracy:.4f}" in (tmp_path / CARD).read_text()


def test_the_license_that_is_stated_travels(tiny_model: Model, tmp_path: Path) -> None:
    export_model(tiny_model, tmp_path / "a", license_id="mit")
    export_model(load_model(tmp_path / "a"), tmp_path / "b")
    assert "\nlicense: mit\n" in (tmp_path / "b" / CARD).read_text()
    export_model(tiny_model, tmp_path / "c")
    assert "\nlicense:" not in (tmp_path / "c" / CARD).read_text()
    assert load_model("face48").facts["license"] == "Apache-2.0"


@pytest.mark.parametrize("license_id", ["", "CC BY 4.0", "mit\nname: x", "{}"])
def test_what_is_no_license_identifier_is_refused(
    license_id: str, tiny_model: Model, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="not an identifier of the Hugging Face hub"):
        export_model(tiny_model, tmp_path / "out", license_id=license_id)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("facts", [{"recipe": {}}, {"recipe": []}, {"training_data": 5}])
def test_strange_facts_are_refused_in_a_line(
    facts: dict[str, Any], tiny_model: Model, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"emodc\.json: its facts are not those of a model"):
        export_model(replace(tiny_model, facts=facts), tmp_path)


def test_a_report_of_other_weights_is_refused(tiny_model: Model, tmp_path: Path) -> None:
    report = evaluate(tiny_model, open_data("synthetic:count=14", "test"), steps=2)
    with pytest.raises(ValueError, match="other weights"):
        export_model(tiny_model, tmp_path, half=True, report=report)


def test_images_stay_on_the_card_as_long_as_the_weights(tiny_model: Model, tmp_path: Path) -> None:
    drawn = "](samples.png)"
    export_model(tiny_model, tmp_path, half=True, samples=True)
    assert drawn in (tmp_path / CARD).read_text()
    assert (tmp_path / SAMPLES).stat().st_size < 200_000
    export_model(load_model(tmp_path), tmp_path, half=True)
    assert drawn in (tmp_path / CARD).read_text()
    export_model(tiny_model, tmp_path)  # not rounded: other weights
    assert drawn not in (tmp_path / CARD).read_text()


def test_a_baseline_draws_nothing(tiny_model: Model, tmp_path: Path) -> None:
    config = FaceClassifierConfig(widths=(8, 8, 8))
    settings = tiny_model.settings.model_copy(update={"backbone": config})
    baseline = build_backbone(settings, tiny_model.label_set, tiny_model.schedule)
    with pytest.raises(ValueError, match="generates no faces"):
        export_model(replace(tiny_model, backbone=baseline), tmp_path / "out", samples=True)
    assert not (tmp_path / "out").exists()


class _Hub:
    """Stands in for the hub's client and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repository: str, **options: Any) -> None:
        self.asked.append((repository, options))

    def upload_folder(self, **options: Any) -> SimpleNamespace:
        self.asked.append(("upload", options))
        return SimpleNamespace(commit_url="https://hub/commit/1")


def test_a_model_is_uploaded_with_its_card_and_nothing_else(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub()
    monkeypatch.setattr(export, "HfApi", lambda: hub)
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "run"))
    (folder / "state.safetensors").write_bytes(b"large")
    (folder / SAMPLES).write_bytes(b"drawn by other weights")
    assert push_to_hub(folder, "someone/model") == "https://hub/commit/1"
    assert hub.asked[0] == ("someone/model", {"private": True, "exist_ok": True})
    options = hub.asked[1][1]
    sent = {
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if str(file.relative_to(folder)) in options["allow_patterns"]
    }
    assert sent == {"model.safetensors", "emodc.json", "README.md"}
    assert (options["repo_id"], options["folder_path"]) == ("someone/model", folder)


def test_a_damaged_model_is_not_uploaded(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub()
    monkeypatch.setattr(export, "HfApi", lambda: hub)
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "run"))
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="not the file"):
        push_to_hub(folder, "someone/model")
    assert not hub.asked


def _without_route(*_: Any, **__: Any) -> None:
    raise ConnectionError("no route\nto the hub")


@pytest.mark.parametrize(
    "hub",
    [
        partial(HfApi, endpoint="http://127.0.0.1:9", token="hf_none"),  # nobody listens there
        lambda: SimpleNamespace(create_repo=_without_route),
    ],
    ids=["as the installed client says it", "as requests says it"],
)
def test_without_a_network_the_upload_is_refused_in_one_line(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Callable[[], Any]
) -> None:
    monkeypatch.setattr(export, "HfApi", hub)
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "run"))
    with pytest.raises(ValueError, match="someone/model: the hub cannot be reached") as caught:
        push_to_hub(folder, "someone/model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "facts", [{"recipe": 3}, {"training_data": [1]}, {"calibration": {}}, {"samples": "many"}]
)
def test_a_stranger_s_facts_give_no_card_or_one_line(
    facts: dict[str, Any], tiny_model: Model, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        export_model(replace(tiny_model, facts=facts), tmp_path)
    assert "\n" not in str(caught.value)
