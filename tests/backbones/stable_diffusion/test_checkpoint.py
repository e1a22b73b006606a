import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

pytest.importorskip("diffusers", reason="needs the extra sd")

from emodc.backbones.stable_diffusion import checkpoint as sd_checkpoint
from emodc.backbones.stable_diffusion.checkpoint import (
    BASE_FOLDER,
    CheckpointSchedule,
    CheckpointSource,
)
from emodc.backbones.stable_diffusion.texts import encode_texts
from emodc.backbones.stable_diffusion.unet import StableDiffusionConfig
from emodc.codecs import VAECodec


@pytest.fixture
def copy(sd_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd_folder, tmp_path / "copy"))


def change(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def use(source: CheckpointSource) -> None:
    checkpoint = source.open()
    checkpoint.schedule()
    checkpoint.sha256()
    encode_texts(checkpoint, ["a photo of a face"])


def refusal(folder: Path, **settings: Any) -> str:
    """What is said when everything that a model needs of a checkpoint is asked for."""
    with pytest.raises(ValueError, match=r".+") as caught:
        use(CheckpointSource(path=str(folder), **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_described_comes_from_the_checkpoint(copy: Path) -> None:
    change(copy, "vae/config.json", scaling_factor=0.5, shift_factor=0.25)
    change(copy, "unet/config.json", sample_size=12)
    change(copy, "scheduler/scheduler_config.json", num_train_timesteps=50, beta_schedule="linear")
    checkpoint = CheckpointSource(path=str(copy)).open()
    assert (checkpoint.scaling, checkpoint.shift, checkpoint.size) == (0.5, 0.25, 24)
    assert (checkpoint.schedule().timesteps, checkpoint.predicts_v) == (50, False)
    change(copy, "scheduler/scheduler_config.json", trained_betas=[0.1, 0.2])
    abar = CheckpointSource(path=str(copy)).open().schedule().alphas_cumprod
    assert abar.tolist() == pytest.approx([0.9, 0.72])


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "XLPipeline.*supported"),
        ("model_index.json", {"_class_name": "FluxPipeline"}, "FluxPipeline.*supported"),
        ("unet/config.json", {"_class_name": "SD3Transformer2DModel"}, "SD3Transformer.*supported"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "text_time.*supported"),
        ("unet/config.json", {"in_channels": 9}, "9 channels.*supported"),
        ("unet/config.json", {"cross_attention_dim": 768}, "of two checkpoints"),
        ("vae/config.json", {"scaling_factor": None}, "lack scaling_factor"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "prediction_type"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "beta_schedule"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "without signal"),
        ("text_encoder/config.json", {"vocab_size": 49408}, "tokenizer is of another checkpoint"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 77}, "of another checkpoint"),
    ],
)
def test_another_kind_of_checkpoint_is_refused(
    copy: Path, name: str, values: dict[str, Any], complaint: str
) -> None:
    change(copy, name, **values)
    message = refusal(copy)
    assert str(copy) in message
    with pytest.raises(AssertionError, match=complaint):
        raise AssertionError(message)


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize("how", ["missing", "half"])
def test_a_half_downloaded_folder_names_the_file(copy: Path, name: str, how: str) -> None:
    file = copy / name
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert Path(name).parts[0] in refusal(copy)


def test_pickles_are_not_read(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "pickle" in refusal(copy)


def test_weights_of_another_variant_are_named(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert "diffusion_pytorch_model.fp16.safetensors: set variant" in refusal(copy)


_PARTS = {"unet": "200KB", "vae": "50KB", "text_encoder": "50KB"}
"""Largest size of a shard, for two of them at least."""


@pytest.fixture(scope="module")
def whole_shards(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with its weights in several files; not to be changed."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    folder = Path(shutil.copytree(sd_folder, tmp_path_factory.mktemp("sharded") / "checkpoint"))
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    for part, kind in kinds.items():
        network = kind.from_pretrained(sd_folder / part)
        shutil.rmtree(folder / part)
        network.save_pretrained(folder / part, max_shard_size=_PARTS[part])
        assert len(list((folder / part).glob("*-of-*.safetensors"))) > 1
    return folder


@pytest.fixture
def sharded(whole_shards: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(whole_shards, tmp_path / "sharded"))


def test_sharded_weights_are_those_of_one_file(whole_shards: Path, sd_folder: Path) -> None:
    texts = ["a photo of a happy face", "", "a photo of a face"]
    networks = []
    for folder in (sd_folder, whole_shards):
        schedule = CheckpointSchedule(path=str(folder)).build()
        networks.append(StableDiffusionConfig(path=str(folder)).build(texts, schedule))
    for name, weight in networks[0].state_dict().items():
        assert torch.equal(networks[1].state_dict()[name], weight), name
    crop = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    latents = [VAECodec(path=str(folder)).encode([crop]) for folder in (sd_folder, whole_shards)]
    assert torch.equal(*latents)


@pytest.mark.parametrize("part", _PARTS)
@pytest.mark.parametrize("how", ["missing", "half", "swapped"])
def test_a_shard_that_is_not_whole_is_named(sharded: Path, part: str, how: str) -> None:
    first, second = sorted((sharded / part).glob("*-of-*.safetensors"))[:2]
    if how == "missing":
        second.unlink()
    elif how == "half":
        second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    else:
        shutil.copy(first, second)
    message = refusal(sharded)
    assert f"{second}: " in message
    assert {"missing": "missing", "half": "incomplete", "swapped": "lacks"}[how] in message


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"weight_map": {}}'])
def test_an_index_without_sense_is_named(sharded: Path, content: str | None) -> None:
    index = sharded / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.unlink() if content is None else index.write_text(content)
    message = refusal(sharded)
    assert "unet/diffusion_pytorch_model" in message
    assert "download" in message
    assert "variant" not in message


def test_the_hash_follows_every_shard(whole_shards: Path, sharded: Path) -> None:
    known = CheckpointSource(path=str(whole_shards)).open().sha256()
    assert CheckpointSource(path=str(sharded)).open().sha256() == known
    last = sorted((sharded / "unet").glob("*-of-*.safetensors"))[-1]
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    assert CheckpointSource(path=str(sharded)).open().sha256() != known


def test_a_single_file_checkpoint_is_told_how_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "v1-5-pruned.safetensors").write_bytes(b"")
    assert "from_single_file" in refusal(tmp_path)


def test_the_hash_follows_the_content(copy: Path, sd_folder: Path) -> None:
    source = CheckpointSource(path=str(copy))
    assert source.open().sha256() == CheckpointSource(path=str(sd_folder)).open().sha256()
    change(copy, "scheduler/scheduler_config.json", beta_end=0.01)
    assert source.open().sha256() != CheckpointSource(path=str(sd_folder)).open().sha256()


def test_a_hub_id_is_downloaded_at_its_revision_without_pickles(
    sd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend([repository, revision, *allow_patterns])
        return str(sd_folder)

    monkeypatch.setattr(sd_checkpoint, "snapshot_download", download)
    source = CheckpointSource(path="someone/model", revision="abc", variant="fp16")
    source.open()
    source.open()
    assert asked[:2] == ["someone/model", "abc"]
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in asked
    assert "vae/diffusion_pytorch_model.fp16-*-of-*.safetensors" in asked
    assert "text_encoder/model.safetensors.index.fp16.json" in asked
    assert len(asked) == 17  # and asked only once
    assert not any(name.endswith((".bin", ".ckpt", "/*.json")) for name in asked[2:])


def test_without_network_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("cannot reach the hub\nand more")

    monkeypatch.setattr(sd_checkpoint, "snapshot_download", download)
    assert "cannot reach the hub" in refusal(Path("someone/unreachable"))


def test_a_checkpoint_that_was_moved_can_be_named(
    sd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BASE_FOLDER in refusal(Path("/no/such/folder"))
    monkeypatch.setenv(BASE_FOLDER, str(sd_folder))
    assert CheckpointSource(path="/no/such/folder").open().folder == sd_folder
