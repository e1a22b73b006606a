import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.backbones.face_unet import FaceUNet, FaceUNetConfig
from emodc.codecs import PixelCodec
from emodc.data import FaceData, open_data
from emodc.evaluation.evaluate import EVALUATION_STEPS, evaluate
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.labels import BASIC7, LabelSet
from emodc.method.draws import draw_bank
from emodc.method.errors import class_errors, posterior
from emodc.model.decision import Decision, NoiseFloor
from emodc.model.model import Model, build_backbone
from emodc.model.settings import ModelSettings
from emodc.model.store import load_model, save_model
from emodc.reports.evaluation_report import EvaluationReport

STEPS = 3


class Oracle(FaceUNet):
    """Knows the image of every class, and so the noise in it under the right prompt."""

    prototypes: Tensor  # (K, 1, H, W)

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        sigma = self.sigma[t].view(-1, 1, 1, 1, 1)
        noise, signal = sigma / (1 + sigma**2).sqrt(), 1 / (1 + sigma**2).sqrt()
        return (xt.unsqueeze(1) - signal * self.prototypes[prompts]) / noise


def make_model(seed: int = 0, **changes: Any) -> Model:
    settings = ModelSettings(
        codec=PixelCodec(size=16),
        backbone=FaceUNetConfig(patch=2, widths=(8, 8, 8, 8), depths=(1, 1, 1), embedding=16),
    )
    schedule = settings.schedule.build()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = build_backbone(settings, BASIC7, schedule).eval()
    model = Model(
        "tiny",
        settings,
        BASIC7,
        FER2013_GEOMETRY,
        backbone,
        schedule,
        decision=Decision(scale=50.0),
    )
    return replace(model, **changes)


def pattern(label: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(label)
    return rng.integers(0, 256, (16, 16), dtype=np.uint8)


def make_oracle() -> Model:
    model = make_model()
    assert isinstance(model.settings.backbone, FaceUNetConfig)
    oracle = Oracle(model.settings.backbone, 7, model.schedule).eval()
    oracle.load_state_dict(model.backbone.state_dict())
    oracle.prototypes = model.settings.codec.encode([pattern(k) for k in range(7)])
    return replace(model, backbone=oracle)


def patterns(labels: list[int], label_set: LabelSet = BASIC7, **changes: Any) -> FaceData:
    """Images that the oracle knows: image i shows the pattern of its class in `BASIC7`."""
    shown = [
        BASIC7.classes.index(name) if (name := label_set.classes[k]) in BASIC7.classes else 99
        for k in labels
    ]
    fields: dict[str, Any] = {
        "name": "patterns",
        "split": "test",
        "label_set": label_set,
        "labels": np.array(labels, dtype=np.int64),
        "ids": [f"image {i}" for i in range(len(labels))],
        "reader": lambda i: pattern(shown[i]),
        "stamp": lambda i: "",
    }
    return FaceData(**(fields | changes))


def faces(count: int = 21) -> FaceData:
    return open_data(f"synthetic:count={count},size=16", "test")


def figures(report: EvaluationReport) -> dict[str, Any]:
    """The report without what depends on the machine's speed."""
    return {key: value for key, value in report.to_json().items() if key != "seconds_per_image"}


def test_a_report_says_what_the_errors_say(tmp_path: Path) -> None:
    model, data = make_model(), faces()
    report = evaluate(model, data, steps=STEPS, seed=4, output=tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert json.loads(text) == report.to_json()
    assert EvaluationReport.model_validate_json(text) == report

    x0 = model.settings.codec.encode([data.image(i) for i in range(21)])
    bank = draw_bank(1000, STEPS, (1, 16, 16), seed=4)
    errors = class_errors(model.backbone.class_errors, model.schedule, x0, bank, 7)
    labels = torch.from_numpy(data.labels)
    p = posterior(errors, 50.0)
    assert report.accuracy == pytest.approx(float((p.argmax(1) == labels).double().mean()))
    d_p = errors[torch.arange(21), labels].mean(dim=0)
    assert [entry.t for entry in report.error_by_timestep] == bank.t.tolist()
    assert [entry.d_p for entry in report.error_by_timestep] == pytest.approx(
        d_p.tolist(), rel=1e-5
    )
    assert report.labels == list(BASIC7.classes)
    assert report.n_images == 21
    assert report.majority_class_floor == report.chance == pytest.approx(1 / 7)
    assert report.trunk_passes_per_image == STEPS
    assert report.prompt_evaluations_per_image == 7 * STEPS
    assert report.seconds_per_image > 0
    assert report.data.fingerprint == data.fingerprint()

    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(data.ids)
    assert [row["truth"] for row in rows] == [BASIC7.classes[k] for k in data.labels]
    assert [row["label"] for row in rows] == [BASIC7.classes[k] for k in p.argmax(dim=1)]
    for row, expected in zip(rows, p, strict=True):
        found = [float(row[name]) for name in BASIC7.classes]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_model_that_knows_is_right_and_one_that_knows_the_reverse_is_wrong() -> None:
    oracle, data = make_oracle(), patterns([3, 1, 4, 1, 5, 2, 6, 0])
    report = evaluate(oracle, data, steps=STEPS)
    assert report.accuracy == report.mean_class_accuracy == report.macro_f1 == 1.0
    assert report.nll < 1e-6
    assert max(entry.d_p for entry in report.error_by_timestep) < 1e-6
    reverse = replace(oracle, decision=Decision.model_construct(scale=-50.0))
    assert evaluate(reverse, data, steps=STEPS).accuracy == 0.0


def test_batch_size_and_order_change_nothing() -> None:
    model, data = make_model(), faces(14)
    report = figures(evaluate(model, data, steps=STEPS))
    order = np.random.default_rng(0).permutation(14)
    for other in (
        evaluate(model, data, steps=STEPS, pairs=5),
        evaluate(model, data.subset(order), steps=STEPS),
    ):
        assert other.confusion == report["confusion"]
        assert other.nll == pytest.approx(report["nll"], rel=1e-4)
        for found, expected in zip(
            other.error_by_timestep, report["error_by_timestep"], strict=True
        ):
            assert found.d_p == pytest.approx(expected["d_p"], rel=1e-5)


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    data, reads = faces(40), list[int]()

    def stopping(index: int) -> NDArray[np.uint8]:
        if index == 35:
            raise KeyboardInterrupt
        return data.image(index)

    def counting(index: int) -> NDArray[np.uint8]:
        reads.append(index)
        return data.image(index)

    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, replace(data, reader=stopping), steps=STEPS, output=tmp_path)
    assert not (tmp_path / "report.json").exists()
    progress: list[tuple[int, int]] = []
    resumed = evaluate(
        model,
        replace(data, reader=counting),
        steps=STEPS,
        output=tmp_path,
        progress=lambda done, total, note="": progress.append((done, total)),
    )
    assert reads == list(range(32, 40))
    assert progress == [(0, 40), (16, 40), (32, 40), (40, 40)]
    assert figures(resumed) == figures(evaluate(model, data, steps=STEPS))
    # Once more: nothing is left to do, and even the cost is what it was.
    assert evaluate(model, replace(data, reader=stopping), steps=STEPS, output=tmp_path) == resumed
    # The scale is no part of the errors, so a recalibrated model is not scored again.
    again = evaluate(
        replace(model, decision=Decision(scale=1.0)),
        replace(data, reader=stopping),
        steps=STEPS,
        output=tmp_path,
    )
    assert again.accuracy == resumed.accuracy
    assert again.nll != resumed.nll


def test_d_p_is_an_error_however_much_it_counts() -> None:
    plain = make_model().with_noise_floor(NoiseFloor(texture=0.0, least=0.0))  # all are noisy
    counting = plain.with_noise_floor(NoiseFloor(texture=0.0, least=0.0, gain=30.0))
    expected, found = (evaluate(model, faces(), steps=STEPS) for model in (plain, counting))
    assert found.nll != expected.nll
    assert [entry.d_p for entry in found.error_by_timestep] == pytest.approx(
        [entry.d_p for entry in expected.error_by_timestep], rel=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 1}, "another seed"),
        ({"steps": STEPS + 1}, "another steps"),
        ({"data": faces(7)}, "another data"),
        ({"model": make_model(seed=1)}, "another weights"),
    ],
)
def test_a_folder_of_another_evaluation_is_refused(
    changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    same: dict[str, Any] = {
        "model": make_model(),
        "data": faces(14),
        "steps": STEPS,
        "output": tmp_path,
    }
    evaluate(**same)
    before = (tmp_path / "report.json").read_bytes()
    with pytest.raises(ValueError, match=f"with {what}; choose another output folder"):
        evaluate(**(same | changes))
    assert (tmp_path / "report.json").read_bytes() == before


def test_a_damaged_chunk_is_refused(tmp_path: Path) -> None:
    evaluate(make_model(), faces(), steps=STEPS, output=tmp_path)
    chunk = sorted((tmp_path / "errors").iterdir())[1]
    chunk.write_bytes(chunk.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"0000016.safetensors: damaged; delete it"):
        evaluate(make_model(), faces(), steps=STEPS, output=tmp_path)
    chunk.unlink()
    evaluate(make_model(), faces(), steps=STEPS, output=tmp_path)


def test_the_same_weights_are_known_again_after_storage(tmp_path: Path) -> None:
    model = make_model()
    save_model(model, tmp_path / "model")
    first = evaluate(model, faces(7), steps=1, output=tmp_path / "evaluation")
    loaded = load_model(tmp_path / "model")
    assert figures(evaluate(loaded, faces(7), steps=1, output=tmp_path / "evaluation")) == figures(
        first
    )
    stored = json.loads((tmp_path / "model" / "emodc.json").read_text())
    assert first.model.weights_sha256 == stored["weights_sha256"]


def test_bad_images_are_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    data = patterns([0, 1, 2, 3] * 5)

    def reader(index: int) -> NDArray[np.uint8]:
        if index == 2:
            raise ValueError("image 2:\ntruncated")
        return data.image(index) if index != 17 else np.zeros((4, 4, 4), dtype=np.uint8)

    for _ in range(2):  # the second time from what the first has saved
        report = evaluate(make_oracle(), replace(data, reader=reader), steps=STEPS, output=tmp_path)
        assert report.n_images == 18
        assert report.accuracy == 1.0
        assert report.n_skipped == 2
        assert vars(report.skipped[0]) == {"id": "image 2", "reason": "image 2: truncated"}
        assert report.skipped[1].id == "image 17"
        assert "(4, 4, 4)" in report.skipped[1].reason
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + 18


def test_without_a_readable_image_there_is_no_report() -> None:
    def reader(index: int) -> NDArray[np.uint8]:
        raise ValueError(f"image {index} is no image")

    with pytest.raises(ValueError, match="patterns: no image can be read: image 0 is no image"):
        evaluate(make_oracle(), patterns([0, 1], reader=reader), steps=1)


def test_labels_are_matched_by_name_and_what_is_not_shared_is_said() -> None:
    other = LabelSet("other", ("fear", "contempt", "happiness", "neutral"))
    report = evaluate(make_oracle(), patterns([0, 1, 2, 3, 0, 1], other), steps=STEPS)
    assert report.labels == ["neutral", "happiness", "fear"]
    assert report.confusion == [[1, 0, 0], [0, 1, 0], [0, 0, 2]]
    assert report.chance == pytest.approx(1 / 3)
    assert report.n_images == 4
    assert report.data.classes_left_out == ["contempt"]
    assert report.data.images_left_out == 2
    assert report.model.classes_left_out == ["surprise", "sadness", "anger", "disgust"]


@pytest.mark.parametrize("names", [("awe", "pride"), ("fear", "pride")])
def test_too_few_classes_in_common_are_refused(names: tuple[str, ...]) -> None:
    data = patterns([0, 1], LabelSet("other", names))
    with pytest.raises(ValueError, match="at least two classes must be common"):
        evaluate(make_oracle(), data, steps=1)


def test_a_limit_takes_a_stratified_subset() -> None:
    data = patterns([0] * 60 + [1] * 30 + [2] * 3)
    report = evaluate(make_oracle(), data, steps=1, limit=10, seed=1)
    assert [sum(row) for row in report.confusion] == [6, 3, 1, 0, 0, 0, 0]
    assert figures(evaluate(make_oracle(), data, steps=1, limit=10, seed=1)) == figures(report)
    assert report.data.fingerprint != data.fingerprint()


def test_a_diverged_model_is_refused() -> None:
    model = make_model()
    with torch.no_grad():
        model.backbone.get_parameter("out.weight").fill_(torch.nan)
    with pytest.raises(ValueError, match="model 'tiny' predicts NaN"):
        evaluate(model, faces(7), steps=1)


def test_steps_out_of_range_leave_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="between 1 and 1000"):
        evaluate(make_model(), faces(7), steps=0, output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_groups_are_reported_where_the_data_tell_them() -> None:
    oracle, labels = make_oracle(), [3, 1, 4, 1, 5, 2, 6, 0]
    wrong = 2  # shown the pattern of another class
    data = patterns(labels, attributes={"age": ["old", "old", "", "young", *["young"] * 4]})
    data = replace(data, reader=lambda i: pattern(0 if i == wrong + 1 else labels[i]))
    groups = evaluate(oracle, data, steps=STEPS).groups["age"]
    assert {value: row.n_images for value, row in groups.items()} == {"old": 2, "young": 5}
    assert groups["old"].accuracy == 1.0
    assert groups["young"].accuracy == 0.8
    assert groups["young"].mean_class_accuracy == 0.8


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"budget": 5}, "give either a number of steps, or delta and budget, not both"),
        ({"steps": 5, "budget": 5}, "not both"),
        ({"steps": 5, "delta": 0.02}, "not both"),
        ({"delta": 0.02, "budget": 0}, "at least one draw"),
    ],
)
def test_plain_and_sequential_scoring_at_once_are_refused(
    options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        evaluate(make_model(), faces(7), **options, output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_a_choice_there_are_a_hundred_draws() -> None:
    assert evaluate(make_oracle(), patterns([0, 1])).steps == EVALUATION_STEPS == 100
