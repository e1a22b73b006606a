import copy
import json
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

from emodc.backbones.base import Classifier
from emodc.calibration.calibrate import calibrate
from emodc.cli.app import app
from emodc.data import FaceData, open_data
from emodc.evaluation.evaluate import evaluate
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.victim import diffusion_victim
from emodc.labels import BASIC7
from emodc.method.draws import DrawBank, draw_bank, show
from emodc.method.errors import posterior
from emodc.method.schedule import ShiftedCosine, add_noise
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.model.settings import parse_model
from emodc.model.store import load_model, save_model
from emodc.publishing.card import model_card
from emodc.training.augment import corrupted
from emodc.training.batches import Sampler
from emodc.training.log import METRICS, read_metrics
from emodc.training.loop import train
from emodc.training.recipe import CorruptSettings, Recipe, load_recipe, parse_recipe

SCHEDULE = ShiftedCosine().build()

# The geometry is said to be known, so that nobody looks for faces in the images.
_TRAINING = replace(open_data("synthetic:count=280,size=16", "train"), geometry=FER2013_GEOMETRY)
_VALIDATION = open_data("synthetic:count=70,size=16", "validation")

_TRUNK = {"kind": "face_classifier", "widths": [8, 16, 24], "depths": [1, 1, 1], "embedding": 32}
NETWORKS: Mapping[str, dict[str, Any]] = {
    "cnn": _TRUNK,
    "control": _TRUNK | {"sees_noise": True},
    "resnet": {"kind": "resnet", "widths": [8, 16], "depths": [1, 1]},
}
RECIPES = ("baseline-cnn", "baseline-cnn-augmented", "baseline-resnet", "baseline-resnet-augmented")


def settings_of(network: str) -> dict[str, Any]:
    return {"codec": {"kind": "pixel", "size": 16}, "backbone": NETWORKS[network]}


def recipe(network: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": f"baseline-{network}",
        "model": settings_of(network),
        "samples": 96,
        "batch_size": 8,
        "phases": [{"objective": {"kind": "cross_entropy"}}],
        "optimizer": {"warm_up": 16},
        "validation": {"every": 32, "images": 14, "steps": 2},
    }
    return parse_recipe(values | changes, "test")


def run(chosen: Recipe, output: Path, **options: Any) -> Model:
    return train(chosen, _TRAINING, _VALIDATION, output, device="cpu", **options)


def baseline(network: str, **changes: Any) -> Model:
    """A baseline with random weights."""
    settings = parse_model(settings_of(network), "test")
    schedule = settings.schedule.build()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(settings, BASIC7, schedule).eval()
    model = Model(network, settings, BASIC7, None, backbone, schedule, Decision(scale=2.0))
    return replace(model, **changes)


def faces(count: int = 14) -> FaceData:
    return open_data(f"synthetic:count={count},size=16", "test")


def x0_of(model: Model, count: int = 5) -> Tensor:
    data = faces(count)
    return model.settings.codec.encode([data.image(i) for i in range(count)])


@pytest.mark.parametrize("network", ["cnn", "control", "resnet"])
def test_a_baseline_learns_in_seconds(network: str, tmp_path: Path) -> None:
    if network == "resnet":
        pytest.importorskip("transformers", reason="needs the extra baselines")
    chosen = recipe(
        network,
        samples=2400,
        batch_size=24,
        augment={"rotate": 0, "zoom": 0, "shift": 0},
        ema=200,
        optimizer={"learning_rate": 3e-3, "muon_learning_rate": 6e-3, "warm_up": 200},
        validation={"every": 1200, "images": 70, "steps": 4},
    )
    best = run(chosen, tmp_path)
    assert read_metrics(tmp_path)[-1]["training_accuracy"] > 2 / 7  # chance is 1 / 7
    report = json.loads((tmp_path / "report.json").read_text())
    if network == "cnn":  # the others take longer to show it on other faces
        assert report["accuracy"] > 1.7 / 7
    assert report["trunk_passes_per_image"] == (4 if network == "control" else 2)
    assert report["prompt_evaluations_per_image"] == report["trunk_passes_per_image"]
    assert "discriminative" in (tmp_path / "README.md").read_text()
    assert isinstance(best.backbone, Classifier)


@pytest.mark.parametrize("network", ["control", "resnet"])
def test_an_interrupted_baseline_ends_with_the_same_weights(network: str, tmp_path: Path) -> None:
    if network == "resnet":
        pytest.importorskip("transformers", reason="needs the extra baselines")
    noisy = {"share": 0.5, "names": ["gaussian_noise", "gaussian_blur"]}
    chosen = recipe(network, corrupt=noisy)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(chosen, whole)

    def interrupt(samples: int, metrics: dict[str, float]) -> None:
        if samples == 32:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(chosen, broken, on_metrics=interrupt)
    run(chosen, broken)
    assert (broken / METRICS).read_text() == (whole / METRICS).read_text()
    first, second = load_model(whole / "last"), load_model(broken / "last")
    for name, weight in first.backbone.state_dict().items():
        assert torch.equal(weight, second.backbone.state_dict()[name]), name
    assert {"loss", "training_accuracy"} < set(read_metrics(whole)[0])


@pytest.mark.parametrize("network", ["cnn", "control", "resnet"])
def test_a_baseline_comes_back_from_disk(network: str, tmp_path: Path) -> None:
    if network == "resnet":
        pytest.importorskip("transformers", reason="needs the extra baselines")
    model = baseline(network)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    bank = draw_bank(1000, 3, (1, 16, 16))
    x0 = x0_of(model)
    assert loaded.settings == model.settings
    assert torch.equal(loaded.class_errors(x0, bank), model.class_errors(x0, bank))


def test_a_baseline_of_another_shape_is_refused(tmp_path: Path) -> None:
    model = baseline("cnn")
    save_model(model, tmp_path)
    other = parse_model(settings_of("cnn") | {"backbone": _TRUNK | {"embedding": 16}}, "test")
    described = replace(model, settings=other)
    save_model(described, tmp_path)
    with pytest.raises(ValueError, match="do not fit"):
        load_model(tmp_path)


def test_the_control_averages_log_probabilities_over_the_draws() -> None:
    model = baseline("control")
    x0, bank = x0_of(model), draw_bank(1000, 4, (1, 16, 16), seed=3)
    errors = model.class_errors(x0, bank, pairs=3)
    assert errors.shape == (5, 7, 4)

    def noised(eps: Tensor, t: Tensor) -> Tensor:
        return add_noise(model.schedule, x0, eps.expand_as(x0), t.expand(5))

    by_hand = torch.stack(
        [
            torch.log_softmax(model.backbone(x0, noised(eps, t), t.expand(5)), dim=1).detach()
            for t, eps in zip(bank.t, bank.eps, strict=True)
        ],
        dim=2,
    )
    torch.testing.assert_close(errors, -by_hand)
    p = posterior(errors, scale=1.0)
    torch.testing.assert_close(p, torch.softmax(by_hand.double().mean(dim=2), dim=1))
    assert torch.equal(errors, model.class_errors(x0, bank, pairs=3))
    other = model.class_errors(x0, draw_bank(1000, 4, (1, 16, 16), seed=4))
    assert not torch.equal(errors, other)
    assert torch.allclose(errors.exp().reciprocal().sum(dim=1), torch.tensor(1.0))


def test_the_control_is_shown_the_draws_of_the_diffusion_classifier() -> None:
    """With noise far above the image it sees the noise alone, whichever the image is."""
    model = baseline("control")
    x0 = x0_of(model, 2)
    eps = torch.randn(1, 1, 16, 16)

    def errors(t: int) -> Tensor:
        bank = DrawBank(torch.tensor([t]), eps, torch.tensor([False]))
        both, first = torch.arange(2), torch.zeros(2, dtype=torch.int64)
        return model.shown_errors(show(model.schedule, x0, torch.zeros(2), bank, both, first))

    first, second = errors(999)
    torch.testing.assert_close(first, second, rtol=1e-2, atol=1e-2)
    early, other = errors(0)
    assert (early - other).abs().max() > 10 * (first - second).abs().max()


def test_a_plain_baseline_ignores_the_draws() -> None:
    model = baseline("cnn")
    x0 = x0_of(model)
    first = model.class_errors(x0, model.draws(4, seed=0))
    assert first.shape == (5, 7, 1)
    assert torch.equal(first, model.class_errors(x0, model.draws(2, seed=1)))
    mirrored = replace(model, decision=model.decision.model_copy(update={"mirror": True}))
    both = mirrored.class_errors(x0, mirrored.draws(4))
    assert torch.equal(both[:, :, 0], first[:, :, 0])
    assert torch.equal(both[:, :, 1], model.class_errors(x0.flip(-1), model.draws(1))[:, :, 0])


@pytest.mark.parametrize("network", ["cnn", "control"])
def test_evaluate_and_predict_agree_with_the_network(network: str, tmp_path: Path) -> None:
    model, data = baseline(network), faces()
    report = evaluate(model, data, steps=5, output=tmp_path)
    assert report.steps == (5 if network == "control" else 1)
    assert len(report.error_by_timestep) == (5 if network == "control" else 0)
    x0 = x0_of(model, 14)
    errors = model.class_errors(x0, draw_bank(1000, report.steps, (1, 16, 16)))
    p = posterior(errors, 2.0)
    labels = torch.from_numpy(data.labels)
    assert report.accuracy == pytest.approx(float((p.argmax(dim=1) == labels).double().mean()))
    crops = [data.image(i) for i in range(14)]
    found = EmotionClassifier(model).predict_proba(crops, from_crops=True, steps=5)
    np.testing.assert_allclose(found, p.numpy(), atol=1e-6)


@pytest.mark.parametrize("network", ["cnn", "control"])
def test_gradients_reach_the_pixels(network: str) -> None:
    model = baseline(network)
    victim = diffusion_victim(model, steps=4 if network == "control" else 1, pairs=3)
    data = faces(3)
    pixels = model.settings.codec.to_pixels([data.image(i) for i in range(3)]).float() / 255
    asked = pixels.clone().requires_grad_()
    logits = victim.answer(asked, 0)
    (gradient,) = torch.autograd.grad(logits[:, 2].sum() - logits[:, 0].sum(), asked)
    assert bool((gradient.abs().amax(dim=(1, 2, 3)) > 0).all())
    x0 = model.settings.codec.encode([data.image(i) for i in range(3)])
    bank = draw_bank(1000, 4 if network == "control" else 1, (1, 16, 16), 0)
    p = posterior(model.class_errors(x0, bank), 2.0)
    torch.testing.assert_close(torch.softmax(logits, dim=1).detach(), p, atol=1e-6, rtol=0)


def test_a_baseline_predicts_no_noise() -> None:
    model = baseline("cnn")
    with pytest.raises(ValueError, match="predicts no noise"):
        model.predict_noise(torch.zeros(1, 1, 16, 16), torch.zeros(1).long(), torch.zeros(1, 1))


def test_of_the_baselines_the_control_alone_is_calibrated_and_keeps_its_temperature() -> None:
    with pytest.raises(ValueError, match="temperature was fitted"):
        calibrate(baseline("cnn"), faces(), steps=2)
    control = baseline("control")
    found = calibrate(control, faces(), steps=2)
    assert found.decision.scale == control.decision.scale
    assert found.decision.adaptive is None
    kept = found.facts["calibration"]["noise"]["kept"]
    assert kept == (found.decision.noise_floor is not None)
    assert "noise-aware" in model_card(found, None)


def test_the_recipes_differ_in_what_they_say_alone() -> None:
    plain = load_recipe("baseline-cnn")
    base = load_recipe("face48")
    shared = ("samples", "batch_size", "optimizer", "augment", "balance", "soft_labels", "ema")
    for name in (*RECIPES, "baseline-noise"):
        other = load_recipe(name)
        for key in shared:
            assert getattr(other, key) == getattr(base, key), (name, key)
        assert other.model.codec == base.model.codec
        assert other.model.schedule == base.model.schedule
        assert bool(other.corrupt.share) == name.endswith("augmented")
    assert load_recipe("baseline-cnn-augmented").model == plain.model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": [{"objective": {"kind": "base"}}]}, "cross_entropy alone"),
        ({"phases": [{"objective": {"kind": "cross_entropy"}, "trunk_weight": 1}]}, "trunk_weight"),
        ({"model": {"backbone": {"kind": "face_unet"}}}, "does not go with backbone face_unet"),
        ({"corrupt": {"share": 0.5, "names": ["fog"]}}, "fog"),
        ({"corrupt": {"share": 0.5}}, "is empty"),
        ({"model": {"backbone": _TRUNK | {"layers": 3}}}, r"unknown key 'model\.backbone\.layers'"),
        (
            {"cache": True, "corrupt": {"share": 0.5, "names": ["jpeg"]}}
            | {"augment": {"rotate": 0, "zoom": 0, "shift": 0}},
            r"corrupt\.share",
        ),
        (
            {
                "model": {
                    "codec": {"kind": "normalized", "size": 16, "mean": [0.5], "std": [0.5]},
                    "backbone": {"kind": "onnx", "path": "x", "labels": {0: "anger", 1: "fear"}},
                }
            },
            "cannot be trained",
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        recipe("cnn", **changes)
    assert "\n" not in str(caught.value)


def test_the_asked_share_of_samples_is_corrupted_and_the_rest_left_alone() -> None:
    pixels = torch.randint(0, 256, (200, 1, 16, 16)).float() + 0.25
    u = np.random.default_rng(0).random((200, 3))
    settings = CorruptSettings(share=0.3, names=("gaussian_noise", "gaussian_blur"))
    found = corrupted(pixels, u, range(200), settings, seed=0)
    changed = (found != pixels).flatten(1).any(dim=1)
    assert torch.equal(changed, torch.from_numpy(u[:, 0] < 0.3))
    part = corrupted(pixels[50:60], u[50:60], range(50, 60), settings, seed=0)
    assert torch.equal(part, found[50:60])
    colors = corrupted(pixels.expand(-1, 3, -1, -1), u, range(200), settings, seed=0)
    assert colors.shape == (200, 3, 16, 16)


def test_corruption_changes_half_of_the_samples_and_nothing_else_of_them() -> None:
    noise = {"share": 0.5, "names": ["gaussian_noise"]}
    plain = Sampler(_TRAINING, recipe("cnn"), SCHEDULE).batch(range(40))
    noisy = Sampler(_TRAINING, recipe("cnn", corrupt=noise), SCHEDULE).batch(range(40))
    changed = (plain.x0 - noisy.x0).abs().amax(dim=(1, 2, 3)) > 0.05
    assert 10 <= int(changed.sum()) <= 30
    for name in ("c_p", "t", "eps", "u"):
        assert torch.equal(getattr(plain, name), getattr(noisy, name))


# Baselines that were trained elsewhere

LABELS = {"happy": "happiness", "sad": "sadness", "angry": "anger", "other": None}


def fixed(x0: Tensor) -> Tensor:
    """A classifier of four outputs: the brightness of four rows."""
    return 3 * x0[:, :, :4].mean(dim=(1, 3))


def describe(folder: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "name": "elsewhere",
        "codec": {"size": 16, "mean": [0.5], "std": [0.25]},
        "backbone": {
            "kind": "callable",
            "path": "test_rivals:fixed",
            "labels": {0: "happy", 1: "sadness", 2: "anger", 3: None},
        },
    }
    backbone = values["backbone"] | changes.pop("backbone", {})
    file = folder / "baseline.yaml"
    file.write_text(yaml.safe_dump(values | {"backbone": backbone} | changes))
    return file


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_rivals", sys.modules[__name__])


def errors_of(model: Model, x0: Tensor) -> Tensor:
    return model.class_errors(x0, draw_bank(1000, 1, tuple(x0.shape[1:])))[:, :, 0]


def test_outputs_are_named_merged_and_left_out(tmp_path: Path) -> None:
    model = load_model(describe(tmp_path))
    assert model.name == "elsewhere"
    assert model.label_set.classes == ("happiness", "sadness", "anger")
    x0 = torch.randn(3, 1, 16, 16)
    expected = torch.log_softmax(fixed(x0)[:, :3], dim=1)
    torch.testing.assert_close(errors_of(model, x0), -expected)
    merged = {0: "happiness", 1: "anger", 2: "anger", 3: None}
    model = load_model(describe(tmp_path, backbone={"labels": merged}))
    p = torch.softmax(fixed(x0)[:, :3], dim=1)
    both = torch.stack([p[:, 0], p[:, 1] + p[:, 2]], dim=1)
    torch.testing.assert_close((-errors_of(model, x0)).exp(), both)


def test_a_function_is_evaluated_on_the_classes_it_knows(tmp_path: Path) -> None:
    file = describe(tmp_path)
    answer = CliRunner().invoke(
        app,
        ["evaluate", "--model", str(file), "--data", "synthetic:count=14,size=16", "--json"],
    )
    assert answer.exit_code == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert report["labels"] == ["happiness", "sadness", "anger"]
    assert report["steps"] == 1
    assert report["model"]["name"] == "elsewhere"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"labels": {0: "fear", 1: "anger", 3: None}}}, "does not say what 2 is"),
        ({"backbone": {"labels": {0: "fear", 7: "anger"}}}, r"labels\.7 is no output"),
        ({"backbone": {"labels": {0: "fear", "0": "anger"}}}, "is there already"),
        ({"backbone": {"labels": {"joy": "fear", 1: "anger"}}}, r"labels\.joy is no output"),
        ({"backbone": {"labels": {0: "fear", 1: "fear", 2: None, 3: None}}}, "two classes"),
        ({"backbone": {"labels": {0: "hapiness", 1: "anger", 2: None, 3: None}}}, "'happiness' is"),
        ({"backbone": {"labels": {0: "suprise", 1: "anger", 2: None, 3: None}}}, "'surprise' is"),
        ({"backbone": {"path": "test_rivals:nothing"}}, "nothing"),
        ({"backbone": {"path": "test_rivals"}}, "module:function"),
        ({"backbone": {"path": "no.such.module:f"}}, r"no\.such|No module"),
        (
            {
                "backbone": {"outputs": "probabilities"},
                "codec": {"size": 16, "mean": [1], "std": [1]},
            },
            "outputs are logits",
        ),
        ({"backbone": {"kind": "torch"}}, r"backbone\.kind"),
        ({"backbone": {"kind": "face_unet"}}, "unknown key"),
        ({"codec": {"size": 16, "mean": [0.5, 0.5], "std": [0.5, 0.5]}}, "one number each"),
        ({"codec": {"size": 16, "mean": [0.5], "std": [0]}}, "std positive"),
        ({"codec": {"size": 3, "mean": [0.5], "std": [1]}}, "does not say|labels|is no output"),
        ({"color": "rgb"}, "unknown key 'color'"),
    ],
)
def test_a_wrong_description_is_an_error_of_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = describe(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_or_no_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml"):
        load_model(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match=r"list\.yaml.*not a description"):
        load_model(tmp_path / "list.yaml")


def test_what_was_trained_elsewhere_is_not_saved(tmp_path: Path) -> None:
    model = load_model(describe(tmp_path))
    with pytest.raises(ValueError, match="not trained here"):
        save_model(model, tmp_path / "copy")


def onnx_file(
    path: Path,
    shape: list[Any],
    outputs: int = 4,
    *,
    last: bool = False,
    half: bool = False,
    softmax: bool = False,
) -> None:
    """Write a linear classifier as ONNX: the image times a matrix.

    Args:
        path: the file.
        shape: (B, C, H, W) of the input.
        outputs: how many.
        last: whether its input has the channels last, whatever the shape says.
        half: whether its input is float16.
        softmax: whether it answers probabilities.
    """
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((shape[1] * 256, outputs)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=kinds.FLOAT),
        helper.make_node("Transpose", ["float"], ["image"], perm=[0, 3, 1, 2]),
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["y"]),
    ]
    if not last:
        nodes[1] = helper.make_node("Identity", ["float"], ["image"])
    batch, channels, height, width = shape
    given = [batch, height, width, channels] if last else shape
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", kinds.FLOAT16 if half else kinds.FLOAT, given)],
        [helper.make_tensor_value_info("y", kinds.FLOAT, [batch, outputs])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(made.SerializeToString())


@pytest.mark.parametrize("rows", ["batch", 1, 2, 8])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_an_onnx_file_answers_as_its_graph_says(
    rows: str | int, last: bool, half: bool, tmp_path: Path
) -> None:
    onnx_file(tmp_path / "linear.onnx", [rows, 1, 16, 16], last=last, half=half)
    model = load_model(describe(tmp_path, backbone={"kind": "onnx", "path": "linear.onnx"}))
    x0 = torch.randn(3, 1, 16, 16)
    weights = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
    logits = x0.flatten(1) @ torch.from_numpy(weights)
    expected = -torch.log_softmax(logits[:, :3], dim=1)
    close = 0.05 if half else 1e-4
    torch.testing.assert_close(errors_of(model, x0), expected, rtol=close, atol=close)
    assert isinstance(model.backbone, Classifier)
    assert not model.backbone.differentiable
    assert evaluate(model, faces(7)).n_images == 3


def test_probabilities_that_are_taken_for_logits_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnx_file(tmp_path / "linear.onnx", ["batch", 1, 16, 16], softmax=True)
    backbone = {"kind": "onnx", "path": "linear.onnx"}
    load_model(describe(tmp_path, backbone=backbone))
    assert "set backbone.outputs to probabilities" in caplog.text
    caplog.clear()
    load_model(describe(tmp_path, backbone=backbone | {"outputs": "probabilities"}))
    onnx_file(tmp_path / "linear.onnx", ["batch", 1, 16, 16])
    load_model(describe(tmp_path, backbone=backbone))
    assert not caplog.text


def test_a_codec_that_contradicts_the_checkpoint_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnx_file(tmp_path / "linear.onnx", ["batch", 1, 16, 16])
    backbone = {"kind": "onnx", "path": "linear.onnx"}
    stated = {"size": {"height": 16, "width": 16}, "image_mean": [0.5], "image_std": [0.25]}
    beside = tmp_path / "preprocessor_config.json"
    beside.write_text(json.dumps(stated))
    load_model(describe(tmp_path, backbone=backbone))
    assert not caplog.text
    for changes, told in (
        ({"size": {"shortest_edge": 224}}, "codec.size is 16, but"),
        ({"image_mean": [0.3]}, "codec.mean is [0.5], but"),
        ({"do_rescale": False}, "codec.std is [0.25], but"),
        ({"do_normalize": False}, "codec.mean is [0.5], but"),
    ):
        beside.write_text(json.dumps(stated | changes))
        load_model(describe(tmp_path, backbone=backbone))
        assert told in caplog.text
        caplog.clear()
    beside.write_text("{")
    with pytest.raises(ValueError, match="preprocessor_config"):
        load_model(describe(tmp_path, backbone=backbone))


def test_faces_are_found_for_a_classifier_that_says_how_it_crops(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="add crop: fer2013"):
        EmotionClassifier(load_model(describe(tmp_path))).predict("none.jpg")
    model = load_model(describe(tmp_path, crop="fer2013"))
    assert model.require_geometry() == FER2013_GEOMETRY
    points = FER2013_GEOMETRY.to_dict()
    assert load_model(describe(tmp_path, crop=points)).geometry == FER2013_GEOMETRY
    for crop in ("tight", 3, {"nose": [0.5, 0.5]}):
        with pytest.raises(ValueError, match=r"baseline\.yaml: (a )?crop"):
            load_model(describe(tmp_path, crop=crop))


def test_photographs_are_answered_from_the_command_line(tmp_path: Path) -> None:
    file = describe(tmp_path, crop="fer2013")
    samples = Path(__file__).parents[2] / "samples"
    answer = CliRunner().invoke(
        app, ["predict", "--model", str(file), "--json", str(samples / "happiness.jpg")]
    )
    assert answer.exit_code == 0, answer.stderr
    assert set(json.loads(answer.stdout)[0]["probabilities"]) == {"happiness", "sadness", "anger"}


def test_an_onnx_classifier_is_copied_pickled_and_forked(tmp_path: Path) -> None:
    file = tmp_path / "linear.onnx"
    onnx_file(file, ["batch", 1, 16, 16])
    model = load_model(describe(tmp_path, backbone={"kind": "onnx", "path": file.name}))
    crops = [np.full((16, 16), value, np.uint8) for value in (0, 99)]
    alone = EmotionClassifier(model).predict(crops, from_crops=True)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for copied in copies:
        assert EmotionClassifier(copied).predict(crops, from_crops=True) == alone
    if "fork" in multiprocessing.get_all_start_methods():
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as processes:
            answer = processes.submit(EmotionClassifier(model).predict, crops, from_crops=True)
            assert answer.result(timeout=60) == alone
    late = copy.deepcopy(model)
    onnx_file(file, ["batch", 1, 16, 16], softmax=True)
    with pytest.raises(ValueError, match=r"linear\.onnx has changed since it was loaded"):
        EmotionClassifier(late).predict(crops, from_crops=True)


def test_an_onnx_file_with_another_input_is_refused(tmp_path: Path) -> None:
    onnx_file(tmp_path / "linear.onnx", ["batch", 3, 16, 16])
    with pytest.raises(ValueError, match=r"cannot be shown images of 1x16x16") as caught:
        load_model(describe(tmp_path, backbone={"kind": "onnx", "path": "linear.onnx"}))
    assert "\n" not in str(caught.value)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    for path in ("broken.onnx", "none.onnx"):
        with pytest.raises(ValueError, match=path) as caught:
            load_model(describe(tmp_path, backbone={"kind": "onnx", "path": path}))
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny transformers checkpoint; not to be changed."""
    transformers = pytest.importorskip("transformers", reason="needs the extra baselines")
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=16,
        patch_size=8,
        num_labels=4,
        id2label=dict(enumerate(LABELS)),
    )
    folder = tmp_path_factory.mktemp("hub") / "vit"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ViTForImageClassification(config).save_pretrained(folder)
    return folder


_RGB = {"size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def test_a_transformers_checkpoint_is_named_by_its_labels(vit: Path, tmp_path: Path) -> None:
    backbone = {"kind": "transformers", "path": str(vit), "labels": LABELS}
    model = load_model(describe(tmp_path, codec=_RGB, backbone=backbone))
    assert model.label_set.classes == ("happiness", "sadness", "anger")
    victim = diffusion_victim(model, steps=1)
    pixels = torch.rand(2, 3, 16, 16, requires_grad=True)
    logits = victim.answer(pixels, 0)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), pixels)
    assert bool(gradient.abs().sum() > 0)
    assert evaluate(model, faces(7)).labels == ["happiness", "sadness", "anger"]
    missing = {key: LABELS[key] for key in ("happy", "sad", "angry")}
    with pytest.raises(ValueError, match="does not say what other is"):
        load_model(describe(tmp_path, codec=_RGB, backbone=backbone | {"labels": missing}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda config: config.update(architectures=["ViTModel"]), "ForImageClassification"),
        (lambda config: config.pop("architectures"), "without a task"),
    ],
)
def test_a_checkpoint_of_another_task_is_refused(
    damage: Callable[[dict[str, Any]], object], message: str, vit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for file in vit.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    damage(config)
    (folder / "config.json").write_text(json.dumps(config))
    backbone = {"kind": "transformers", "path": "other", "labels": LABELS}
    with pytest.raises(ValueError, match=message) as caught:
        load_model(describe(tmp_path, codec=_RGB, backbone=backbone))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra baselines")
    backbone = {"kind": "transformers", "path": str(tmp_path / "none"), "labels": LABELS}
    with pytest.raises(ValueError, match="none") as caught:
        load_model(describe(tmp_path, codec=_RGB, backbone=backbone))
    assert "\n" not in str(caught.value)
