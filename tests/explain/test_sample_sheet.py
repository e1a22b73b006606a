import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.explain.generate import generate
from emodc.explain.sample_sheet import card_samples, facts_of, sample_sheet
from emodc.model.model import Model, build_backbone


def test_images_stand_in_rows_of_classes(tiny_model: Model) -> None:
    page = Image.open(io.BytesIO(sample_sheet(tiny_model, ["sad", "happiness"], 3, steps=2)))
    assert page.mode == "L"
    x0 = generate(tiny_model, [3, 1], 3, steps=2)
    images = tiny_model.settings.codec.decode(x0.flatten(0, 1))
    side, step = 96, 98  # 16 pixels, six times as large
    assert page.height == 2 * step
    left = page.width - 3 * step
    assert left > 40  # the names
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        corner = (left + column * step, row * step)
        tile = page.crop((*corner, corner[0] + side, corner[1] + side))
        small = np.asarray(tile.resize((16, 16), Image.Resampling.BOX)).astype(int)
        assert np.corrcoef(small.ravel(), image.ravel())[0, 1] > 0.9


def test_a_page_tells_how_it_was_made(tiny_model: Model, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    path.write_bytes(sample_sheet(tiny_model, ["happy"], 1, steps=2, guidance=1.5, seed=7))
    facts = facts_of(path, tiny_model)
    assert facts is not None
    assert facts["classes"] == ["happiness"]
    assert (facts["steps"], facts["guidance"], facts["seed"]) == (2, 1.5, 7)
    fresh = build_backbone(tiny_model.settings, tiny_model.label_set, tiny_model.schedule)
    assert facts_of(path, replace(tiny_model, backbone=fresh)) is None
    Image.new("L", (2, 2)).save(path)
    assert facts_of(path, tiny_model) is None
    assert facts_of(tmp_path / "nothing.png", tiny_model) is None


def test_the_same_arguments_give_the_same_file(tiny_model: Model) -> None:
    first, again = (sample_sheet(tiny_model, ["fear"], 2, steps=2) for _ in range(2))
    assert first == again


def test_an_unknown_class_is_named(tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="unknown class 'bored'"):
        sample_sheet(tiny_model, ["bored"], 1, steps=2)


def test_a_card_in_color_is_small(sd_folder: Path) -> None:
    from tests.backbones.stable_diffusion.test_models import (
        make,
    )  # needs the extra sd, without which the fixture skips

    content = card_samples(make(sd_folder, "lora"), steps=1)
    page = Image.open(io.BytesIO(content))
    assert page.mode == "P"
    assert json.loads(page.info["emodc"])["classes"][0] == "neutral"
    assert len(content) < 200_000
