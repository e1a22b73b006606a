"""The example of docs/training.md, run: three classes of one's own, sixty images each."""

import json
from pathlib import Path

import pytest
from PIL import Image

from emodc.data import open_data
from emodc.model.store import load_model
from tests.cli.test_app import Answer, failure

OWN = {"neutral": "neutral", "happiness": "delighted", "anger": "annoyed"}


def write_own(root: Path, counts: dict[str, int]) -> None:
    """Write drawn faces of three expressions as a class folder, two of them under new names."""
    for split, count in counts.items():
        drawn = open_data(f"synthetic:count={9 * count}", split)
        for theirs, ours in OWN.items():
            (root / split / ours).mkdir(parents=True)
            label = drawn.label_set.index(theirs)
            chosen = [i for i in range(len(drawn)) if drawn.labels[i] == label][:count]
            assert len(chosen) == count
            for n, i in enumerate(chosen):
                Image.fromarray(drawn.image(i)).save(root / split / ours / f"{n}.png")
    (root / "classes.json").write_text(json.dumps({name: name for name in OWN.values()}))


def test_a_run_begins_with_a_model_of_other_classes(tiny_folder: Path, tmp_path: Path) -> None:
    write_own(tmp_path / "mine", {"train": 8})
    backbone = {"kind": "face_unet", "widths": [8] * 4, "depths": [1, 1, 1], "embedding": 16}
    recipe = tmp_path / "tiny.yaml"
    values = {
        "name": "tuned",
        "model": {"codec": {"size": 16}, "backbone": backbone},
        "samples": 8,
        "batch_size": 8,
        "phases": [{"objective": {"kind": "amdit"}}],
        "validation": {"every": 8, "images": 3, "steps": 1},
    }
    recipe.write_text(json.dumps(values))
    common = ["train", str(recipe), "--data", f"folder:{tmp_path / 'mine'}", "--device", "cpu"]
    common += ["--output", str(tmp_path / "run")]
    assert "no model 'nothing'" in failure(*common, "--init", "nothing")
    assert "cannot begin with 'face48': its codec" in failure(*common, "--init", "face48")
    assert Answer(*common, "--init", tiny_folder).code == 0
    facts = load_model(tmp_path / "run").facts["initial_model"]
    assert (facts["name"], facts["kept"]) == ("tiny", ["neutral"])
    assert sorted(facts["fresh"]) == ["annoyed", "delighted"]
    assert "holds a run with another initial model" in failure(*common)


@pytest.mark.slow
def test_sixty_images_of_each_class_are_enough(tmp_path: Path) -> None:
    mine, run = f"folder:{tmp_path / 'mine'}", tmp_path / "run"
    write_own(tmp_path / "mine", {"train": 60, "test": 30})
    answer = Answer(
        *("train", "face48-finetune", "--init", "face48", "--data", mine, "--output", run),
        *("--device", "cpu"),
    )
    assert answer.code == 0
    found = Answer(
        *("evaluate", "--model", run, "--data", mine, "--split", "test", "--steps", "10"),
        *("--output", tmp_path / "eval", "--json"),
    )
    assert json.loads(found.out)["accuracy"] > 0.7
