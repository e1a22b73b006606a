"""Two processes that split a model must train it as one that holds it whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from tests.support.test_distributed import assert_same_run, in_processes, kill_a_worker
from tests.training.test_stable_diffusion import recipe

pytest.importorskip("diffusers", reason="needs the extra sd")

from emodc.data import open_data
from emodc.support.distributed import SPLIT, World
from emodc.support.fsdp import shard, split_like, whole
from emodc.training.log import STATE, read_metrics
from emodc.training.loop import train
from emodc.training.recipe import Recipe, dump_recipe
from emodc.training.state import RunState

_TRAINING = open_data("synthetic:count=28", "train")
_VALIDATION = open_data("synthetic:count=14", "validation")


@pytest.fixture(autouse=True)
def _split_and_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPLIT, "true")
    monkeypatch.setenv("EMODC_CACHE", str(tmp_path / "cache"))


def full(base: Path, **changes: Any) -> Recipe:
    """A recipe for the whole UNet, in micro-batches that do not divide a process's share."""
    optimizer = {"learning_rate": 1e-3, "muon_learning_rate": 0.0, "warm_up": 8}
    return recipe(base, {"tune": "full"}, optimizer=optimizer, micro_batch=3, **changes)


def run(chosen: Recipe, output: Path, **options: Any) -> None:
    train(chosen, _TRAINING, _VALIDATION, output, device="cpu", **options)


def test_weights_are_split_and_become_whole_again() -> None:
    def both(world: World) -> Any:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
        before = [weight.detach().clone() for weight in network.parameters()]
        shard(network, network)
        held = 0
        for weight, known in zip(network.parameters(), before, strict=True):
            assert isinstance(weight, DTensor)
            assert torch.equal(whole(weight), known)
            assert torch.equal(whole(split_like(weight, 2 * known)), 2 * known)
            held += weight.to_local().numel()
        plain = nn.Parameter(before[0])
        assert whole(plain) is plain
        assert split_like(plain, before[1]) is before[1]
        return held

    first, second = in_processes(both)
    assert first + second == 6 * 5 + 5 + 5 * 3 + 3
    assert min(first, second) > 0


def test_a_split_model_is_trained_as_a_whole_one_and_goes_on_as_one(
    sd_folder: Path, tmp_path: Path
) -> None:
    chosen = full(sd_folder)
    kept = tmp_path / "kept"

    def both(world: World) -> int:
        held: list[int] = []
        step = RunState.step

        def spied(state: RunState, *arguments: Any) -> None:
            step(state, *arguments)
            moments = state.optimizers["adamw"].state.values()
            held.append(sum(m["exp_avg_sq"].to_local().numel() for m in moments))

        def keep(samples: int, metrics: dict[str, float]) -> None:
            if samples == 8:
                kept.write_bytes((tmp_path / "two" / STATE).read_bytes())

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(RunState, "step", spied)
            run(chosen, tmp_path / "two", on_metrics=keep)
        return held[-1]

    held = in_processes(both)
    run(chosen, tmp_path / "one")
    assert_same_run(tmp_path / "one", tmp_path / "two")
    weights = chosen.model.backbone.build(["", ""], chosen.model.schedule.build()).trained()
    assert sum(held) == sum(weight.numel() for weight in weights.values())
    assert max(held) < 0.6 * sum(held)

    (tmp_path / "two" / STATE).write_bytes(kept.read_bytes())
    run(chosen, tmp_path / "two")  # by one process, from the state of two
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"batch_size": 9}, "not a multiple of the 2 processes"),
        ({"optimizer": {"eight_bit": True}}, "eight_bit"),
        ({"tuning": {"tune": "lora"}}, "tune=full"),
        ({"tuning": {"tune_prompts": True}}, "tune_prompts=false"),
    ],
)
def test_what_cannot_be_split_is_refused_before_anything_is_written(
    sd_folder: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    tuning = {"tune": "full"} | changes.pop("tuning", {})
    chosen = recipe(sd_folder, tuning, **changes)
    for answer in in_processes(lambda world: run(chosen, tmp_path / "run")):
        assert answer.startswith("ValueError")
        assert complaint in answer
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_configuration_for_fsdp_trains_is_killed_and_goes_on(
    sd_folder: Path, tmp_path: Path
) -> None:
    chosen = full(sd_folder, samples=160, validation={"every": 8, "images": 7, "steps": 1})
    (tmp_path / "tiny.yaml").write_text(dump_recipe(chosen))
    configuration = Path(__file__).parents[2] / "configs" / "accelerate" / "fsdp.yaml"

    def start() -> subprocess.Popen[str]:
        launcher = ["accelerate.commands.launch", "--config_file", str(configuration)]
        train_tiny = ["train", str(tmp_path / "tiny.yaml"), "--data", "synthetic:count=28"]
        where = ["--device", "cpu", "--output", str(tmp_path / "two")]
        return subprocess.Popen(
            [sys.executable, "-m", *launcher, "-m", "emodc", *train_tiny, *where],
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", SPLIT: ""},
            stderr=subprocess.PIPE,
            text=True,
        )

    kill_a_worker(start(), tmp_path / "two")
    again = start()
    err = again.communicate()[1]
    assert again.returncode == 0, err
    assert "going on from" in err

    run(chosen, tmp_path / "one")
    first, second = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [line["samples"] for line in first] == [line["samples"] for line in second]
    for line, other in zip(first, second, strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-3)
