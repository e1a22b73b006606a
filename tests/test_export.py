import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from emodc.checkpoint import Model, load_model
from emodc.cli import app
from emodc.config import load_recipe
from emodc.data import open_data
from emodc.evaluate import evaluate
from emodc.export import CARD, export_model


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


def test_a_report_of_these_weights_is_on_the_card(tiny_model: Model, tmp_path: Path) -> None:
    export_model(tiny_model, tmp_path, half=True)
    report = evaluate(load_model(tmp_path), open_data("synthetic:count=14", "test"), steps=2)
    (tmp_path / "report.json").write_text(json.dumps(report))
    arguments = ["export", str(tmp_path), str(tmp_path), "--half", "--report"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "report.json")])
    assert result.exit_code == 0, result.output
    assert f"{report['accuracy']:.4f}" in (tmp_path / CARD).read_text()


def test_a_report_of_other_weights_is_refused(tiny_model: Model, tmp_path: Path) -> None:
    report = evaluate(tiny_model, open_data("synthetic:count=14", "test"), steps=2)
    with pytest.raises(ValueError, match="other weights"):
        export_model(tiny_model, tmp_path, half=True, report=report)
