"""A model from a stranger runs no code, reads no files but its own and allocates nothing huge."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emodc.inference.scorer import Scorer
from emodc.model.description import FILES, SETTINGS, description_hash
from emodc.model.model import Model
from emodc.model.store import load_model
from emodc.support.tensors import pack_tensors


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "stranger"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the description and the hash that vouches for it."""
    settings = json.loads((folder / SETTINGS).read_text())
    change(settings)
    settings["sha256"] = description_hash(settings)
    (folder / SETTINGS).write_text(json.dumps(settings))


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        load_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert str(folder) in message
    assert len(message) < 1000
    return message


_CODEC = {"kind": "normalized", "size": 16, "mean": [0.5], "std": [0.5]}
_LABELS = {"0": "anger", "1": "fear"}


@pytest.mark.parametrize(
    "backbone",
    [
        {"kind": "callable", "path": "evil_module:f", "labels": _LABELS},
        {"kind": "onnx", "path": "/etc/passwd", "labels": _LABELS},
        {"kind": "transformers", "path": "someone/else", "labels": _LABELS},
    ],
    ids=lambda backbone: str(backbone["kind"]),
)
def test_a_saved_model_is_of_no_kind_that_runs_or_opens_what_is_elsewhere(
    folder: Path, backbone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "evil_module.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\ndef f(x): ...\n")
    monkeypatch.syspath_prepend(str(folder))
    edit(folder, lambda s: s["model"].update(codec=_CODEC, backbone=backbone))
    message = refusal(folder)
    assert f"backbone.kind is {backbone['kind']}" in message
    assert "YAML file" in message
    assert not (folder / "ran").exists()
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize(
    "name", ["../../../../etc/passwd", "/dev/zero", "/etc/passwd", "README.md", "", "\x1b[2J"]
)
def test_no_file_but_a_models_own_is_opened(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder, lambda s: s.update(files_sha256={name: "00"}))
    opened: list[Path] = []
    monkeypatch.setattr(
        "emodc.model.description.read_bytes", lambda path, limit: opened.append(path)
    )
    assert "files_sha256 names" in refusal(folder)
    assert not opened


@pytest.mark.parametrize("name", [SETTINGS, "model.safetensors"])
@pytest.mark.parametrize("target", ["fifo", "/dev/zero", "/dev/null", "outside", "folder", "loop"])
def test_what_is_no_regular_file_of_the_folder_is_refused(
    folder: Path, name: str, target: str
) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if target == "fifo":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    elif target == "loop":
        path.symlink_to(path)
    else:
        outside = folder.with_name("outside")
        outside.write_bytes(content)
        path.symlink_to(outside if target == "outside" else target)
    refusal(folder)


def test_links_of_the_hubs_cache_and_within_the_folder_are_followed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b"
    snapshot.mkdir(parents=True)
    (blobs / "blobs").mkdir()
    for file in tiny_folder.iterdir():
        shutil.copy(file, blobs / "blobs" / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert load_model(snapshot).name == "tiny"


def test_a_file_of_implausible_size_is_not_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(FILES["model.safetensors"] + 1)  # sparse
    assert "more than the" in refusal(folder)
    (folder / SETTINGS).write_bytes(b" " * 2_000_000)
    assert "more than the" in refusal(folder)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("backbone", {"depths": [100_000_000, 1, 1]}),
        ("backbone", {"widths": [80_000, 8, 8, 8]}),
        ("backbone", {"widths": [2048, 2048, 2048, 2048], "depths": [64, 64, 64]}),
        ("backbone", {"embedding": 10**9}),
        ("backbone", {"patch": 10**6}),
        ("backbone", {"kind": "conditional_unet", "decoder_depths": [10**8, 1, 1]}),
        ("backbone", {"kind": "resnet", "widths": [8] * 60, "depths": [1] * 60}),
        ("codec", {"size": 80_000}),
        ("schedule", {"timesteps": 10**9}),
    ],
)
def test_sizes_are_bounded_before_anything_is_built(
    folder: Path, part: str, values: dict[str, Any]
) -> None:
    if "kind" in values:
        edit(folder, lambda s: s["model"].update({part: values}))
    else:
        edit(folder, lambda s: s["model"][part].update(values))
    assert "at most" in (message := refusal(folder)) or "weights, more than" in message
    assert f"model.{part}" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["posterior"].update(scale=1e300),
        lambda s: s["posterior"].update(power=1e6),
        lambda s: s["posterior"].update(weights=[1.0] * 20_000),
        lambda s: s["labels"].update(classes=[str(i) for i in range(2000)]),
        lambda s: s["labels"].update(classes="neutral"),
        lambda s: s["labels"].update(classes=[1, 2]),
        lambda s: s["labels"].update(name=None),
        lambda s: s.update(weights_sha256=None),
        lambda s: s.update(files_sha256=["model.safetensors"]),
        lambda s: s.update(base=3),
        lambda s: s.update(facts=[1]),
        lambda s: s.update(license={"mit": 1}),
        lambda s: s.update(name=["x"]),
        lambda s: s.update(crop={"nose": "middle"}),
    ],
)
def test_values_of_another_type_or_size_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(folder, change)
    assert SETTINGS in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_naming_the_file(
    folder: Path, value: float
) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    weights[name].view(-1)[-1] = value
    content = pack_tensors(weights)
    path.write_bytes(content)
    edit(folder, lambda s: s.update(weights_sha256=hashlib.sha256(content).hexdigest()))
    message = refusal(folder)
    assert str(path) in message
    assert f"{name} holds NaN or infinite weights" in message


@pytest.mark.parametrize(
    ("covariance", "reason"),
    [
        ([[0.02, 2.0], [0.01, 0.02]], "symmetric"),
        ([[0.02, 2.0], [2.0, 0.02]], "semidefinite"),
        ([[0.02, 0.01]], "2 x 2"),
        ([[1e300, 0.0], [0.0, 1e300]], "less than or equal"),
    ],
)
def test_what_is_no_covariance_is_refused(
    folder: Path, covariance: list[list[float]], reason: str
) -> None:
    adaptive = {
        "steps": 12,
        "block": 3,
        "covariance": covariance,
        "noise": [0.01, 0.01],
        "confidence": 0.95,
        "stops": [{"delta": 0.01, "threshold": 3.0, "scale": 30.0, "least_probability": 0.1}],
    }
    edit(folder, lambda s: s["posterior"].update(adaptive=adaptive))
    assert reason in refusal(folder)


def test_a_model_that_answers_no_number_is_refused_by_name(tiny_folder: Path) -> None:
    model: Model = load_model(tiny_folder)
    with torch.no_grad():
        for weight in model.backbone.parameters():
            weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="model 'tiny' answers NaN or infinity"):
        Scorer(model, steps=2)(torch.zeros(1, *model.settings.codec.shape))
