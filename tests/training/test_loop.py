import itertools
import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from emodc.data import open_data
from emodc.labels import BASIC7
from emodc.model.model import build_backbone
from emodc.model.store import load_model
from emodc.support.tensors import pack_tensors
from emodc.training.best_model import VALIDATION
from emodc.training.log import METRICS, STATE, read_metrics
from emodc.training.loop import learning_rate, phase_at, train
from emodc.training.recipe import Recipe, parse_recipe, recipe_names
from emodc.training.recipe import load_recipe as read_recipe
from emodc.training.state import RunState, TrainingDiverged

_TRAINING = open_data("synthetic:count=42", "train")
_VALIDATION = open_data("synthetic:count=14", "validation")


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "tiny",
        "model": {
            "codec": {"kind": "pixel", "size": 16},
            "backbone": {
                "kind": "face_unet",
                "widths": [8, 8, 8, 8],
                "depths": [1, 1, 1],
                "embedding": 16,
            },
        },
        "samples": 96,
        "batch_size": 8,
        "phases": [
            {"share": 0.5, "objective": {"kind": "base"}, "trunk_weight": 0.5},
            {"share": 0.5, "objective": {"kind": "amdit", "negatives": "all"}},
        ],
        "optimizer": {"warm_up": 16},
        "validation": {"every": 32, "images": 14, "steps": 2},
    }
    return parse_recipe(values | changes, "test")


def run(chosen: Recipe, output: Path, **options: Any) -> None:
    train(chosen, _TRAINING, _VALIDATION, output, device="cpu", **options)


@dataclass(frozen=True)
class Finished:
    """A run that was not interrupted; its folder is not to be changed.

    Attributes:
        folder: of the run.
        told: the samples at each call of ``progress``.
        states: the training state as it was on disk at each of them.
    """

    folder: Path
    told: list[int]
    states: list[bytes]


def finished(chosen: Recipe, folder: Path) -> Finished:
    done = Finished(folder, [], [])

    def keep(samples: int, metrics: dict[str, float]) -> None:
        done.told.append(samples)
        done.states.append((folder / STATE).read_bytes())

    run(chosen, folder, on_metrics=keep)
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(recipe(), tmp_path_factory.mktemp("runs") / "fp32")


@pytest.fixture(scope="module")
def whole_bf16(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(recipe(precision="bf16"), tmp_path_factory.mktemp("runs") / "bf16")


@pytest.fixture
def copied(whole: Finished, tmp_path: Path) -> Path:
    """The folder of the finished run, to be changed."""
    return Path(shutil.copytree(whole.folder, tmp_path / "run"))


class Killed(BaseException):
    """Stands for a process that ends without warning."""


def test_a_run_leaves_model_metrics_and_config(whole: Finished) -> None:
    folder = whole.folder
    assert whole.told == [32, 64, 96]
    lines = read_metrics(folder)
    assert [line["samples"] for line in lines] == [32, 64, 96]
    assert 0 <= lines[-1]["validation_accuracy"] <= 1
    assert load_model(folder).label_set == _TRAINING.label_set
    assert load_model(folder / "last").facts["samples"] == 96
    assert read_recipe(str(folder / "config.yaml")) == recipe()
    listed = (folder / VALIDATION).read_text().splitlines()
    assert listed[0] == "id,label"
    assert len(listed) == 15
    facts = load_model(folder).facts["validation_data"]
    assert facts["fingerprint"] == _VALIDATION.fingerprint()  # all of it is used


def assert_same_weights(first: Path, second: Path) -> None:
    weights, others = (load_model(f / "last").backbone.state_dict() for f in (first, second))
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


def test_a_killed_run_ends_like_one_that_was_not(whole: Finished, tmp_path: Path) -> None:
    def kill(samples: int, metrics: dict[str, float]) -> None:
        # After the checkpoint at 32 the run goes on for a while and writes a line too many.
        if samples == 64:
            raise Killed

    with pytest.raises(Killed):
        run(recipe(), tmp_path, on_metrics=kill)
    (tmp_path / METRICS).open("a").write('{"samples": 72, "loss"')
    run(recipe(), tmp_path)
    assert (tmp_path / METRICS).read_text() == (whole.folder / METRICS).read_text()
    assert_same_weights(whole.folder, tmp_path)


def test_state_of_a_run_that_dies_before_its_checkpoint_is_the_one_before(
    whole: Finished, copied: Path
) -> None:
    (copied / STATE).write_bytes(whole.states[0])
    again = finished(recipe(), copied)
    assert again.told == [64, 96]
    assert (copied / METRICS).read_text() == (whole.folder / METRICS).read_text()


def test_ctrl_c_saves_between_checkpoints(tmp_path: Path) -> None:
    chosen = recipe(validation={"every": 1000, "images": 14, "steps": 2}, samples=100_000)

    def interrupt(samples: int, metrics: dict[str, float]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(chosen, tmp_path, on_metrics=interrupt)
    assert (tmp_path / STATE).exists()
    assert read_metrics(tmp_path)[-1]["samples"] == 400


def test_an_interrupted_run_ends_with_the_same_weights(
    whole_bf16: Finished, tmp_path: Path
) -> None:
    def interrupt(samples: int, metrics: dict[str, float]) -> None:
        if samples == 32:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(recipe(precision="bf16"), tmp_path, on_metrics=interrupt)
    run(recipe(precision="bf16"), tmp_path)
    assert_same_weights(whole_bf16.folder, tmp_path)


@pytest.mark.parametrize("stopped_by", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_between_two_lines_of_metrics_tells_the_same(
    whole: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_by: int
) -> None:
    steps = []

    def step(state: RunState, *given: Any, step: Any = RunState.step) -> None:
        step(state, *given)
        steps.append(state.samples)
        if len(steps) == 3:  # a validation comes after the fourth step
            os.kill(os.getpid(), stopped_by)

    monkeypatch.setattr(RunState, "step", step)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), tmp_path)
    assert read_metrics(tmp_path) == []
    run(recipe(), tmp_path)
    assert (tmp_path / METRICS).read_bytes() == (whole.folder / METRICS).read_bytes()
    assert_same_weights(whole.folder, tmp_path)


def test_a_model_without_its_state_is_not_overwritten(copied: Path) -> None:
    (copied / STATE).unlink()
    with pytest.raises(ValueError, match="no training state"):
        run(recipe(), copied)


def test_a_run_killed_after_its_first_model_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(state: RunState, path: Path, *, write: bool, save: Any = RunState.save) -> None:
        if state.samples:  # the model of this validation is written, its state is not
            raise Killed
        save(state, path, write=write)

    with monkeypatch.context() as patched:
        patched.setattr(RunState, "save", killed)
        with pytest.raises(Killed):
            run(recipe(), tmp_path)
    assert load_model(tmp_path).facts["samples"] == 32
    run(recipe(), tmp_path)
    assert load_model(tmp_path / "last").facts["samples"] == 96


def test_another_recipe_in_the_same_folder_is_refused(copied: Path) -> None:
    before = (copied / "config.yaml").read_text()
    with pytest.raises(ValueError, match="another recipe"):
        run(recipe(seed=5), copied)
    assert (copied / "config.yaml").read_text() == before


def test_a_run_begun_before_a_setting_existed_goes_on(copied: Path) -> None:
    with safe_open(copied / STATE, framework="pt") as state:
        about = json.loads(state.metadata()["emodc"])
        tensors = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
    assert "cache: false\n" in about["identity"]["recipe"]
    about["identity"]["recipe"] = about["identity"]["recipe"].replace("cache: false\n", "")
    (copied / STATE).write_bytes(pack_tensors(tensors, {"emodc": json.dumps(about)}))
    told: list[int] = []
    run(recipe(), copied, on_metrics=lambda samples, metrics: told.append(samples))
    assert told == []  # known for the finished run that it is


def test_tensorboard_shows_the_metrics(whole: Finished) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = accumulator.EventAccumulator(str(whole.folder / "tensorboard")).Reload()
    shown = {event.step: event.value for event in board.Scalars("validation_accuracy")}
    written = {line["samples"]: line["validation_accuracy"] for line in read_metrics(whole.folder)}
    assert shown == pytest.approx(written)


def test_a_damaged_state_is_named(copied: Path) -> None:
    content = (copied / STATE).read_bytes()
    (copied / STATE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=STATE):
        run(recipe(), copied)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    wild = recipe(optimizer={"learning_rate": 1e30, "muon_learning_rate": 1e30, "warm_up": 1})
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        run(wild, tmp_path)
    with safe_open(tmp_path / STATE, framework="pt") as state:
        assert json.loads(state.metadata()["emodc"])["samples"] == 0


def test_finished_run_is_not_trained_again(copied: Path) -> None:
    before = (copied / METRICS).read_text()
    told: list[int] = []
    run(recipe(), copied, on_metrics=lambda samples, metrics: told.append(samples))
    assert told == []
    assert (copied / METRICS).read_text() == before


def test_phases_follow_their_shares() -> None:
    chosen = recipe()
    kinds = [phase_at(chosen, n).objective.kind for n in (0, 47, 48, 95)]
    assert kinds == ["base", "base", "amdit", "amdit"]


def test_rate_rises_then_falls_to_its_final_share() -> None:
    chosen = recipe(optimizer={"warm_up": 16, "final": 0.1})
    rates = [learning_rate(chosen, n) for n in range(0, 97, 8)]
    assert rates[0] == pytest.approx(0.5)
    assert max(rates) == rates[1]
    assert rates[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(rates[1:]))


def test_average_follows_its_half_life() -> None:
    chosen = recipe()
    schedule = chosen.model.schedule.build()
    backbone = build_backbone(chosen.model, BASIC7, schedule)
    state = RunState.fresh(backbone, chosen.optimizer, {})
    for weight in state.average.parameters():
        weight.zero_()
    for weight in backbone.parameters():
        weight.detach().fill_(1.0)
    state.samples = 8_000_000  # long past the start, where the average forgets faster
    for _ in range(3):
        state.step(0.0, chosen.optimizer, batch_size=8, ema=24)
    # Three steps of 8 samples are one half-life of 24.
    assert all(torch.allclose(w, torch.tensor(0.5)) for w in state.average.parameters())


def test_every_shipped_recipe_is_valid() -> None:
    assert {"face48", "synthetic-tiny", "ferplus-base", "ferplus-margin", "ferplus-amdit"} <= set(
        recipe_names()
    )
    for name in recipe_names():
        chosen = read_recipe(name)
        assert chosen.name == name
        assert chosen.summary


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_validation_computes_in_the_precision_of_training(
    whole: Finished, whole_bf16: Finished, precision: str
) -> None:
    folder = {"fp32": whole, "bf16": whole_bf16}[precision].folder
    shown, labels = [_VALIDATION.image(i) for i in range(14)], torch.tensor(_VALIDATION.labels)
    d_p = {}
    for name in ("fp32", "bf16"):
        model = load_model(folder / "last", precision=name)
        codec = model.settings.codec
        errors = model.class_errors(codec.encode(shown), model.draws(2))
        d_p[name] = float(errors[torch.arange(14), labels].mean())
    written = read_metrics(folder)[-1]["validation_d_p"]
    assert written == pytest.approx(d_p[precision], rel=1e-6)
    assert abs(d_p["bf16"] - d_p["fp32"]) > 1e-5 * written  # or nothing would be compared
    assert json.loads((folder / "report.json").read_text())["model"]["precision"] == precision


def test_metrics_hold_nothing_of_the_clock(whole: Finished, tmp_path: Path) -> None:
    run(recipe(), tmp_path)
    metrics = (tmp_path / METRICS).read_text()
    assert metrics == (whole.folder / METRICS).read_text()
    assert json.loads(metrics.splitlines()[0])["samples"] == 32
