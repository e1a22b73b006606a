import json
import re
from pathlib import Path

import pytest

from emodc.data import open_data
from emodc.experiments.analysis import analyze
from emodc.experiments.analysis.output import summary_table
from emodc.model.model import Model

NAMES = ["correlation", "confusion", "gaps", "steps", "profiles", "denoising"]


def test_every_figure_has_its_data_and_its_text(tiny_model: Model, tmp_path: Path) -> None:
    data = open_data("synthetic:count=14,size=16", "test")
    training = open_data("synthetic:count=300,size=16", "train")
    models = {"base": tiny_model, "amdit": tiny_model}
    report = analyze(models, data, tmp_path, training=training, steps=4, limit=None)
    assert report == json.loads((tmp_path / "analysis.json").read_text())
    assert list(report["figures"]) == NAMES
    assert report["figures"]["denoising"]["amdit"]["ratio_to_first"] == 1
    assert report["figures"]["denoising"]["Wiener"]["ratio_to_first"] > 0
    assert list(report["models"]) == ["base", "amdit"]
    assert report["data"]["images"] == 14
    text = (tmp_path / "README.md").read_text()
    assert re.findall(r"\]\((\w+)\.png\)", text) == NAMES
    for name in NAMES:
        for suffix in ("png", "svg", "csv"):
            assert (tmp_path / f"{name}.{suffix}").stat().st_size > 100
        lines = (tmp_path / f"{name}.csv").read_text().splitlines()
        assert len({line.count(",") for line in lines}) == 1
    accuracy = report["figures"]["confusion"]["base"]["accuracy"]
    assert f"| base | {accuracy:.3f} |" in "\n".join(summary_table(report))
    before = {name: (tmp_path / f"{name}.svg").read_bytes() for name in NAMES}
    assert analyze(models, data, tmp_path, training=training, steps=4, limit=None) == report
    assert before == {name: (tmp_path / f"{name}.svg").read_bytes() for name in NAMES}


def test_without_matplotlib_nothing_is_measured(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    data = open_data("synthetic:count=14,size=16", "test")
    with pytest.raises(ImportError, match=r"\[figures\]"):
        analyze({"tiny": tiny_model}, data, tmp_path / "out", steps=1)
    assert not (tmp_path / "out").exists()
