"""Training Stable Diffusion: the loop, its memory options, the recipes, the expected cost."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from typer.testing import CliRunner

pytest.importorskip("diffusers", reason="needs the extra sd")

from emodc.backbones.stable_diffusion.unet import LORA, StableDiffusion, StableDiffusionConfig
from emodc.cli.app import app
from emodc.data import open_data
from emodc.labels import BASIC7
from emodc.model.model import build_backbone
from emodc.model.store import load_model
from emodc.training.batches import Sampler
from emodc.training.cost import plan
from emodc.training.log import read_metrics
from emodc.training.loop import add_gradients, train
from emodc.training.optimizers import build_adamw
from emodc.training.recipe import Recipe, load_recipe, parse_recipe, recipe_names
from emodc.training.state import RunState

_TRAINING = open_data("synthetic:count=28", "train")
_VALIDATION = open_data("synthetic:count=14", "validation")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMODC_CACHE", str(tmp_path / "cache"))


def recipe(base: Path, tuning: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    backbone = {"kind": "stable_diffusion", "path": str(base), "tune": "lora", "rank": 2}
    values: dict[str, Any] = {
        "name": "tiny-sd",
        "model": {"backbone": backbone | (tuning or {})},
        "samples": 16,
        "batch_size": 8,
        "phases": [{"objective": {"kind": "amdit", "reference": "null"}}],
        "optimizer": {"learning_rate": 1e-2, "muon_learning_rate": 0.0, "warm_up": 1},
        "augment": {"rotate": 0.0, "zoom": 0.0, "shift": 0.0},
        "cache": True,
        "validation": {"every": 8, "images": 7, "steps": 1},
    }
    return parse_recipe(values | changes, "test")


def test_a_run_ends_with_a_model_and_its_small_files(sd_folder: Path, tmp_path: Path) -> None:
    chosen = recipe(sd_folder)
    run = tmp_path / "run"
    best = train(chosen, _TRAINING, _VALIDATION, run, device="cpu")
    assert {LORA, "model.safetensors", "emodc.json", "README.md"} <= {p.name for p in run.iterdir()}
    state = (run / "state.safetensors").stat().st_size
    assert state < 0.5 * (sd_folder / "unet/diffusion_pytorch_model.safetensors").stat().st_size
    assert load_model(run / "last").settings == best.settings == chosen.model
    fresh = build_backbone(chosen.model, BASIC7, best.schedule)
    changed = [
        name
        for name, weight in load_model(run / "last").backbone.named_parameters()
        if not torch.equal(weight, fresh.get_parameter(name))
    ]
    assert set(changed) == {name for name in fresh.trained() if "lora_B" in name} | {
        name for name in changed if "lora_A" in name
    }
    with pytest.raises(ValueError, match="another recipe"):
        train(recipe(sd_folder, {"rank": 3}), _TRAINING, _VALIDATION, run, device="cpu")


def test_a_run_that_was_killed_ends_like_one_that_was_not(sd_folder: Path, tmp_path: Path) -> None:
    def die(samples: int, metrics: dict[str, float]) -> None:
        raise RuntimeError("killed")

    chosen = recipe(sd_folder, {"tune_prompts": True})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(chosen, _TRAINING, _VALIDATION, whole, device="cpu")
    with pytest.raises(RuntimeError, match="killed"):
        train(chosen, _TRAINING, _VALIDATION, broken, device="cpu", on_metrics=die)
    assert [line["samples"] for line in read_metrics(broken)] == [8]
    train(chosen, _TRAINING, _VALIDATION, broken, device="cpu")
    for name in ("metrics.jsonl", f"last/{LORA}", "last/model.safetensors", "state.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()


def losses(base: Path, output: Path, **options: Any) -> list[float]:
    """Train the prompts alone; return the loss at every validation."""
    chosen = recipe(base, {"tune": "prompts"}, **options)
    train(chosen, _TRAINING, _VALIDATION, output, device="cpu")
    return [line["loss"] for line in read_metrics(output)]


@pytest.fixture(scope="module")
def plain_losses(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODC_CACHE", str(folder / "cache"))
        return losses(sd_folder, folder / "run")


@pytest.mark.parametrize("changes", [{"micro_batch": 3}, {"precision": "fp16"}])
def test_memory_options_hardly_change_the_result(
    sd_folder: Path, plain_losses: list[float], tmp_path: Path, changes: dict[str, Any]
) -> None:
    other = losses(sd_folder, tmp_path / "run", **changes)
    assert len(plain_losses) == 2
    assert other == pytest.approx(plain_losses, rel=2e-2 if "precision" in changes else 1e-4)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_parts_of_a_batch_add_up_to_its_gradient(sd_folder: Path, size: int) -> None:
    gradients = []
    for micro_batch in (0, size):
        chosen = recipe(sd_folder, {"tune": "prompts"}, micro_batch=micro_batch)
        schedule = chosen.model.schedule.build()
        backbone = build_backbone(chosen.model, BASIC7, schedule)
        batch = Sampler(_TRAINING, chosen, schedule).batch(range(8))
        metrics = add_gradients(
            Accelerator(cpu=True), backbone, schedule, batch, chosen, chosen.phases[0], len(BASIC7)
        )
        assert metrics["loss"][1] == 8
        gradients.append(backbone.get_parameter("prompts").grad)
    assert gradients[0] is not None
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-4)


def test_the_average_shares_the_frozen_weights(sd_folder: Path) -> None:
    chosen = recipe(sd_folder)
    schedule = chosen.model.schedule.build()
    state = RunState.fresh(build_backbone(chosen.model, BASIC7, schedule), chosen.optimizer, {})
    weights, average = (dict(b.named_parameters()) for b in (state.backbone, state.average))
    trained = state.backbone.trained().keys()
    assert {name for name in weights if weights[name] is not average[name]} == set(trained)
    assert sum(len(o.param_groups[0]["params"]) for o in state.optimizers.values()) == len(trained)


def test_full_memory_is_answered_by_a_setting(
    sd_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate much")

    chosen = recipe(sd_folder)
    backbone = build_backbone(chosen.model, BASIC7, chosen.model.schedule.build())
    assert isinstance(backbone, StableDiffusion)
    monkeypatch.setattr(backbone.unet, "forward", full)
    with pytest.raises(ValueError, match=r"lower model\.backbone\.rows, now 16"):
        backbone.predict_noise(
            torch.zeros(1, 4, 8, 8), torch.tensor([0]), torch.zeros(1, 7, dtype=torch.int64)
        )
    monkeypatch.setattr("emodc.training.loop.sample_loss", full)
    with pytest.raises(ValueError, match="lower micro_batch"):
        train(chosen, _TRAINING, _VALIDATION, tmp_path / "run", device="cpu")


def test_a_missing_library_is_named_with_the_extra() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"\[8bit\]"):
            build_adamw([{"params": [weight]}], 1e-3, eight_bit=True)


def test_a_warm_up_of_the_trunk_is_refused(sd_folder: Path) -> None:
    phases = [{"objective": {"kind": "base"}, "trunk_weight": 0.5}]
    with pytest.raises(ValueError, match="trunk_weight"):
        recipe(sd_folder, phases=phases)


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("sd")])
def test_every_recipe_can_be_pointed_at_a_checkpoint(name: str, sd_folder: Path) -> None:
    given = load_recipe(name).model.backbone
    assert isinstance(given, StableDiffusionConfig)
    assert given.revision is not None
    assert len(given.revision) == 40
    pointed = load_recipe(name, [f"backbone.path={sd_folder}"]).model
    assert pointed.schedule.build().timesteps == 1000
    assert pointed.codec.shape == (4, 8, 8)
    assert parse_recipe(load_recipe(name).model_dump(mode="json"), "again") == load_recipe(name)


def test_the_cost_follows_the_objective(sd_folder: Path) -> None:
    base = recipe(sd_folder, phases=[{"objective": {"kind": "base"}}])
    costs = [plan(chosen, BASIC7, torch.device("cpu")) for chosen in (base, recipe(sd_folder))]
    evaluations = [cost["network evaluations"] for cost in costs]
    assert evaluations[0].startswith("1 a sample, 16 in training, about 147 ")
    assert evaluations[1].startswith("3 a sample, 48 in training")
    assert "8 samples on cpu" in costs[0]["probe step"]


def test_a_dry_run_prints_settings_and_cost_as_one_yaml_file(sd_folder: Path) -> None:
    arguments = ["train", "sd15-rafdb-amdit-lora-12gb", "--dry-run", "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--set", f"backbone.path={sd_folder}"])
    assert result.exit_code == 0, result.output
    settings = yaml.safe_load(result.stdout)
    assert settings["model"]["backbone"]["rank"] == 16
    assert "# trained: " in result.stdout
    assert "# probe step: " in result.stdout


def test_a_checkpoint_that_is_not_there_is_one_line() -> None:
    arguments = ["train", "sd15-rafdb-amdit", "--dry-run", "--set", "backbone.path=/no/such"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "no Stable Diffusion checkpoint '/no/such'" in result.stderr
