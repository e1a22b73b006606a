import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor

from emodc.backbones.base import Backbone
from emodc.faces.geometry import CropGeometry
from emodc.labels import LabelSet
from emodc.model import store as model_store
from emodc.model.decision import Decision
from emodc.model.description import description_hash
from emodc.model.model import Model
from emodc.model.store import load_model, save_model
from emodc.support.tensors import pack_tensors


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def answers(model: Model) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    xt = torch.randn(2, *model.settings.codec.shape, generator=generator)
    prompts = torch.arange(len(model.label_set) + 2).expand(2, -1)
    return model.predict_noise(xt, torch.tensor([10, 700]), prompts).detach()


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the description and the hash that vouches for it."""
    path = folder / "emodc.json"
    settings = json.loads(path.read_text())
    change(settings)
    settings["sha256"] = description_hash(settings)
    path.write_text(json.dumps(settings))


def put_weights(folder: Path, content: bytes) -> None:
    """Replace the weights and the hash that vouches for them."""
    (folder / "model.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(folder, lambda settings: settings.update(weights_sha256=digest))


def refusal(folder: Path | str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_float32_comes_back_bit_for_bit(tiny_model: Model, tiny_folder: Path) -> None:
    loaded = load_model(tiny_folder)
    assert torch.equal(answers(loaded), answers(tiny_model))
    for name, value in tiny_model.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[name], value)


def test_a_model_computes_in_the_precision_asked_for(tiny_folder: Path) -> None:
    exact, half = load_model(tiny_folder), load_model(tiny_folder, precision="bf16")
    xt, t = torch.randn(2, *exact.settings.codec.shape), torch.tensor([10, 700])
    prompts = torch.arange(len(exact.label_set)).expand(2, -1)
    expected = exact.predict_noise(xt, t, prompts)
    assert isinstance(exact.backbone, Backbone)
    assert torch.equal(expected, exact.backbone.predict_noise(xt, t, prompts))
    found = half.predict_noise(xt, t, prompts)
    assert found.dtype == torch.float32  # errors are taken from it
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    with pytest.raises(ValueError, match="fp32, bf16, fp16, not 'int8'"):
        load_model(tiny_folder, precision="int8")


def test_half_precision_is_half_the_size_and_nearly_the_same(
    tiny_model: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    save_model(tiny_model, tmp_path, torch.float16)
    loaded = load_model(tmp_path)
    assert next(loaded.backbone.parameters()).dtype == torch.float32
    torch.testing.assert_close(answers(loaded), answers(tiny_model), rtol=0.02, atol=0.02)
    size, full = ((at / "model.safetensors").stat().st_size for at in (tmp_path, tiny_folder))
    assert size < 0.7 * full
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}


def test_everything_a_user_needs_travels_with_the_weights(
    tiny_model: Model, tmp_path: Path
) -> None:
    order = tiny_model.label_set.classes[::-1]
    points = ((0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75))
    model = replace(
        tiny_model,
        name="other",
        label_set=LabelSet("backwards", order),
        geometry=CropGeometry(points),
        decision=Decision(scale=12.5),
        facts={"license": "none", "samples": 3},
    )
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.name == "other"
    assert loaded.label_set == LabelSet("backwards", order)
    assert loaded.geometry == CropGeometry(points)
    assert loaded.decision == Decision(scale=12.5)
    assert loaded.settings == model.settings
    assert loaded.facts == {"license": "none", "samples": 3}
    assert not loaded.backbone.training
    assert torch.equal(loaded.schedule.alphas_cumprod, model.schedule.alphas_cumprod)


def test_a_model_is_two_files_and_no_pickle(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pickle is not to be used")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "dumps"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    save_model(tiny_model, tmp_path)
    load_model(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"emodc.json", "model.safetensors"}


@pytest.mark.parametrize("name", ["emodc.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert str(folder / name) in refusal(folder)


def test_changed_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "not the file that emodc.json was written with" in refusal(folder)
    path.write_bytes(content[: len(content) // 2])
    assert str(path) in refusal(folder)
    path.write_bytes(b"")
    assert str(path) in refusal(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 99}', "{}", "\x00\xff"], ids=repr
)
def test_a_description_of_no_known_format_is_refused(folder: Path, text: str) -> None:
    (folder / "emodc.json").write_bytes(text.encode("latin-1"))
    assert str(folder / "emodc.json") in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("labels"),
        lambda s: s["labels"].update(classes=["anger", "anger"]),
        lambda s: s["labels"].update(classes=["anger"]),
        lambda s: s["labels"].update(classes=3),
        lambda s: s.pop("model"),
        lambda s: s["model"]["backbone"].update(layers=3),
        lambda s: s["model"]["codec"].update(kind="vae"),
        lambda s: s["model"]["schedule"].update(median_sigma=-1),
        lambda s: s["crop"].pop("nose"),
        lambda s: s["crop"].update(nose=[2, 2]),
        lambda s: s.update(crop=[1, 2]),
        lambda s: s.pop("posterior"),
        lambda s: s["posterior"].update(scale="hot"),
        lambda s: s["posterior"].update(scale=-3),
        lambda s: s["posterior"].update(scale=float("nan")),
        lambda s: s.pop("weights_sha256"),
        lambda s: s["labels"]["classes"].pop(),
        lambda s: s["model"]["backbone"].update(embedding=32),
    ],
)
def test_an_edited_description_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(folder, change)
    assert str(folder) in refusal(folder)


def test_an_edit_that_would_go_unnoticed_is_refused(folder: Path) -> None:
    path = folder / "emodc.json"
    settings = json.loads(path.read_text())
    settings["labels"]["classes"].reverse()
    path.write_text(json.dumps(settings))
    assert "edited since it was written" in refusal(folder)


def test_weights_that_vouch_for_themselves_must_still_be_weights(folder: Path) -> None:
    put_weights(folder, b"not safetensors at all")
    assert "Error while deserializing" in refusal(folder)
    put_weights(folder, pickle.dumps({"stem.weight": [1.0]}))
    assert "Error while deserializing" in refusal(folder)
    put_weights(folder, pack_tensors({"stem.weight": torch.zeros(1)}))
    assert "do not fit" in refusal(folder)


@pytest.mark.parametrize("name", ["face4", "a/b/c", "/none/there", "a/"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    assert "face48" in refusal(name)


def test_a_hub_id_is_downloaded_at_its_revision(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend([repository, revision, sorted(allow_patterns)])
        return str(tiny_folder)

    monkeypatch.setattr(model_store, "snapshot_download", download)
    assert load_model("someone/model@v1").name == "tiny"
    assert asked[:2] == ["someone/model", "v1"]
    files = asked[2]
    assert isinstance(files, list)
    assert {"emodc.json", "model.safetensors"} < set(files)
    assert all(name.endswith((".json", ".safetensors")) for name in files)


def test_an_unreachable_hub_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("cannot reach the hub\nand more")

    monkeypatch.setattr(model_store, "snapshot_download", download)
    assert "cannot reach the hub" in refusal("someone/model")
