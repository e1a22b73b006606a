from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emodc.attacks.gradient import GradientAttack
from emodc.attacks.search import FixedDraws, FreshDraws
from emodc.attacks.threat_model import Images
from emodc.attacks.victims import Victim, network_victim, predictions
from emodc.backbones.face_classifier import FaceClassifierConfig
from emodc.codecs import PixelCodec
from emodc.experiments.robustness import AttackPlan, Comparison, ModelSubject, SequentialSubject
from emodc.experiments.robustness.attack_tasks import tasks_of, victim_of
from emodc.experiments.robustness.charts import epsilon_curves
from emodc.experiments.robustness.summary import summarize_results
from emodc.experiments.robustness.tables import attack_text
from emodc.labels import BASIC7, LabelSet
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.model.settings import ModelSettings
from tests.experiments.robustness.conftest import Memory, faces

PLAN = AttackPlan(eps=(0.02, 0.1), iterations=2, checked=0)


def compare(
    subjects: list[ModelSubject | SequentialSubject | Memory], folder: Path, plan: AttackPlan = PLAN
) -> Comparison:
    comparison = Comparison(subjects, faces(), folder, suites=(), attack=plan)
    comparison.run()
    return comparison


def test_the_numbers_are_those_of_the_attack(subject: ModelSubject, tmp_path: Path) -> None:
    report = summarize_results(compare([subject], tmp_path).results)
    data = faces()
    pixels = subject.pixels([data.image(i) for i in range(14)])
    images = Images(pixels, torch.from_numpy(data.labels), torch.arange(14))
    for eps, row in zip(PLAN.eps, report["attacks"], strict=True):
        attack = GradientAttack(steps=2)
        found = attack(subject.victim(), images, eps, "linf", FixedDraws(0), 0)
        right = predictions(subject.victim(), found.pixels, [0])[:, 0] == images.labels
        assert row["accuracy"] == pytest.approx(float(right.double().mean()))
        assert (row["n_images"], row["eps"], row["draws"], row["steps"]) == (14, eps, 2, 2)
        assert (row["attack"], row["loss"], row["norm"]) == ("apgd", "dlr", "linf")
        assert (row["defence"], row["eot"], row["evaluations"]) == ("fixed draws", 1, 1)


def test_what_the_attacker_sees_is_what_is_deployed(subject: ModelSubject) -> None:
    crops = [faces().image(i) for i in range(14)]
    expected = subject.answers(crops, seed=5)[0].argmax(dim=1)
    assert torch.equal(predictions(subject.victim(), subject.pixels(crops), [5])[:, 0], expected)


@pytest.mark.parametrize("sees_noise", [False, True])
def test_baselines_are_attacked_by_the_same_code(sees_noise: bool, tmp_path: Path) -> None:
    settings = ModelSettings(
        codec=PixelCodec(size=16),
        backbone=FaceClassifierConfig(
            widths=(8, 8, 8), depths=(1, 1, 1), embedding=16, sees_noise=sees_noise
        ),
    )
    schedule = settings.schedule.build()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_backbone(settings, BASIC7, schedule).eval()
    model = Model("baseline", settings, BASIC7, None, network, schedule, Decision(scale=1.0))
    baseline = ModelSubject(model, steps=3, name="baseline")
    assert baseline.draws == (3 if sees_noise else 0)
    crops = [faces().image(i) for i in range(14)]
    first, second = (baseline.answers(crops, seed)[0] for seed in (0, 1))
    assert torch.equal(first, second) is not sees_noise
    answers = predictions(baseline.victim(), baseline.pixels(crops), [0])[:, 0]
    assert torch.equal(answers, first.argmax(dim=1))
    rows = summarize_results(compare([baseline], tmp_path).results)["attacks"]
    assert [row["draws"] for row in rows] == [baseline.draws] * 2
    assert rows[0]["accuracy"] >= rows[1]["accuracy"]


def test_fresh_draws_are_a_defence_of_their_own(subject: ModelSubject) -> None:
    tasks = tasks_of(replace(PLAN, eot=3, evaluations=4), subject, seed=2)
    assert [(t.settings["defence"], t.settings["eot"]) for t in tasks] == [
        *([("fixed draws", 1)] * 2),
        *([("fresh draws", 3)] * 2),
    ]
    assert [t.settings["evaluations"] for t in tasks] == [1, 1, 4, 4]
    draws = [t.run.__self__.draws for t in tasks]  # type: ignore[attr-defined]
    assert draws == [FixedDraws(2)] * 2 + [FreshDraws(3, 2)] * 2
    (alone,) = tasks_of(AttackPlan(eot=3, checked=0), Memory("cnn"), seed=2)
    assert alone.settings["defence"] == "no draws"


def test_an_attack_goes_on_where_it_stopped(tmp_path: Path) -> None:
    report = summarize_results(compare([Memory("a")], tmp_path).results)
    files = sorted((tmp_path / "cells" / "a").glob("apgd-*"))
    assert len(files) == 4  # two epsilons, ten faces and four
    kept = files[0].stat().st_mtime_ns
    files[1].unlink()
    again = Comparison([Memory("a")], faces(), tmp_path, suites=(), attack=PLAN)
    assert again.cost()[0].work["cells"] == 1
    again.run()
    assert files[0].stat().st_mtime_ns == kept
    assert summarize_results(again.results) == report


def test_minimal_perturbations_and_checks_are_reported(tmp_path: Path) -> None:
    plan = AttackPlan(eps=(0.01,), iterations=3, minimal=True, checked=5)
    report = summarize_results(compare([Memory("a")], tmp_path, plan).results)
    assert [row["norm"] for row in report["least"]] == ["linf", "l2"]
    linf, l2 = (row["median_of_these"] for row in report["least"])
    assert 0 < linf < l2  # of 256 pixels of which each moves
    assert report["least"][0]["right_when_clean"] <= report["least"][0]["n_images"] == 14
    checks = {finding["check"]: finding["passed"] for finding in report["findings"]}
    assert checks["gradients are finite and not zero"]
    assert checks["an unbounded attack always succeeds"]
    assert all(finding["model"] == "a" for finding in report["findings"])


def test_a_masked_gradient_is_flagged(tmp_path: Path) -> None:
    class Masked(Memory):
        def victim(self):  # type: ignore[no-untyped-def]
            network = super().victim().answer

            def answer(pixels: torch.Tensor, seed: int) -> torch.Tensor:
                rounded = (pixels * 8).round() / 8  # flat nearly everywhere
                return network(rounded, seed) + 0 * pixels.sum()

            return replace(super().victim(), answer=answer)

    plan = AttackPlan(eps=(0.05,), iterations=3, checked=14)
    report = summarize_results(compare([Masked("masked")], tmp_path, plan).results)
    assert not all(finding["passed"] for finding in report["findings"])


def test_sequential_scoring_is_attacked_as_plain_and_judged_by_itself(
    sequential: SequentialSubject, tmp_path: Path
) -> None:
    crops = [faces().image(i) for i in range(14)]
    plan = replace(PLAN, checked=14, minimal=True, eot=2)
    tasks = tasks_of(plan, sequential, 0)
    assert {task.kind for task in tasks} == {"robust"}
    victim = victim_of(tasks[0], sequential, BASIC7.classes)
    plain, pixels = ModelSubject(sequential.model, 12, "plain"), sequential.pixels(crops)
    assert torch.equal(victim.answer(pixels, 5), plain.victim().answer(pixels, 5))
    expected = sequential.answers(crops, 5)[0].argmax(dim=1)
    assert torch.equal(predictions(victim, pixels, [5])[:, 0], expected)

    report = summarize_results(compare([sequential], tmp_path, PLAN).results)
    assert not any(row["stop_when_fooled"] for row in report["attacks"])
    text = attack_text(report["attacks"][0])
    assert text == "apgd-dlr, 2 steps, on plain scoring, 12 draws"
    square = replace(plan, method="square", minimal=False)
    assert all(task.source is sequential for task in tasks_of(square, sequential, 0))


def test_images_made_on_another_are_judged_by_the_subject(tmp_path: Path) -> None:
    truth = iter(faces().labels.tolist() * 2)

    class Knowing(Memory):
        def victim(self) -> Victim:
            return Victim(lambda pixels, seed: torch.eye(7)[[next(truth) for _ in pixels]])

    bright = Memory("bright")
    knowing = Knowing("knowing", differentiable=False)
    plan = replace(PLAN, transfer_from=bright)
    report = summarize_results(compare([knowing, bright], tmp_path, plan).results)
    made, own = (
        [row for row in report["attacks"] if row["model"] == name] for name in ("knowing", "bright")
    )
    assert [row["accuracy"] for row in made] == [1, 1]
    assert all(row["accuracy"] < 1 for row in own)
    assert [row["made_on"] for row in made] == ["bright"] * 2
    assert not any("made_on" in row for row in own)
    other = replace(plan, transfer_from=replace(bright, known={b"": 0}))
    with pytest.raises(ValueError, match="another source of images, weights"):
        compare([knowing, bright], tmp_path, other)


def test_transferred_images_are_those_of_the_attack(subject: ModelSubject, tmp_path: Path) -> None:
    """Judged by a twin with the same draws, they do what they did to the one they are made on."""
    twin = replace(subject, name="twin")
    plan = replace(PLAN, transfer_from=subject, eot=2)
    assert compare([twin], tmp_path, plan).cost()[0].work["cells"] == 0
    rows = summarize_results(compare([twin], tmp_path, plan).results)["attacks"]
    own, carried = rows[:4], rows[4:]
    assert [row["accuracy"] for row in carried[:2]] == [row["accuracy"] for row in own[:2]]
    assert [(row["defence"], row["eot"]) for row in carried] == [
        *([("fixed draws", 1)] * 2),
        *([("fresh draws", 2)] * 2),
    ]
    (axes,) = epsilon_curves(summarize_results(compare([twin], tmp_path, plan).results)).axes
    assert [line.get_label() for line in axes.lines] == [
        f"twin, {defence} draws{source}"
        for source in ("", ", on tiny")
        for defence in ("fixed", "fresh")
    ]
    drawless = tasks_of(replace(plan, transfer_from=Memory("m")), twin, 0)[-1]
    assert (drawless.settings["defence"], drawless.settings["eot"]) == ("fresh draws", 1)
    # Two steps, of which one with its gradient counts three evaluations, under the source's draws.
    assert (drawless.network_evaluations, drawless.answers) == (6, plan.evaluations)
    (onto, *_) = tasks_of(replace(plan, eot=None), Memory("m"), 0)[2:]
    assert (onto.network_evaluations, onto.answers) == (6 * subject.draws, 1)


def test_each_judges_among_its_own_columns(tmp_path: Path) -> None:
    """Two subjects whose classes are in another order, one with a class less."""
    bright, back = Memory("bright"), LabelSet("back", BASIC7.classes[:0:-1])
    reversed_ = Memory("reversed", label_set=back)
    plan = replace(PLAN, transfer_from=bright)
    task = tasks_of(plan, reversed_, 0)[-1]
    victim = victim_of(task, reversed_, BASIC7.classes[1:])
    pixels = torch.linspace(0, 1, 8).view(8, 1, 1, 1)
    assert task.source is bright
    assert torch.equal(victim.answer(pixels, 0), bright.victim().answer(pixels, 0)[:, 1:])
    assert victim.deployed is not None
    expected = reversed_.victim().answer(pixels, 0).flip(1)
    assert torch.equal(victim.deployed(pixels, 0), expected)


def test_who_cannot_give_images_is_refused(subject: ModelSubject, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not by square on tiny"):
        AttackPlan(method="square", transfer_from=subject)
    with pytest.raises(ValueError, match="not by apgd on onnx"):
        AttackPlan(transfer_from=Memory("onnx", differentiable=False))

    class Large(Memory):
        def pixels(self, crops: object) -> torch.Tensor:
            return torch.zeros(1, 1, 9, 9)

    plan = replace(PLAN, transfer_from=Large("large"))
    with pytest.raises(ValueError, match=r"from large, \(1, 9, 9\), cannot be shown to tiny"):
        compare([subject], tmp_path, plan)


def test_square_asks_for_answers_only(tmp_path: Path) -> None:
    class Opaque(Memory):
        def victim(self):  # type: ignore[no-untyped-def]
            usual = super().victim()
            return replace(usual, answer=lambda p, s: usual.answer(p, s).detach())

    plan = AttackPlan(method="square", eps=(0.3,), iterations=30)
    opaque = Opaque("opaque", differentiable=False)
    (row,) = summarize_results(compare([opaque], tmp_path / "square", plan).results)["attacks"]
    assert (row["attack"], row["queries"]) == ("square", 30)
    both = summarize_results(compare([opaque, Memory("a")], tmp_path / "apgd").results)
    assert {row["model"] for row in both["attacks"]} == {"a"}
    assert [left["model"] for left in both["not_attacked"]] == ["opaque"]


def test_a_class_left_out_is_no_answer(tmp_path: Path) -> None:
    """A subject that finds fear most likely, then happiness, answers happiness without fear."""

    class Afraid(Memory):
        def victim(self):  # type: ignore[no-untyped-def]
            logits = torch.tensor([BASIC7.classes.index(n) for n in ("fear", "happiness")])
            row = torch.zeros(7).scatter(0, logits, torch.tensor([2.0, 1.0]))
            return network_victim(lambda pixels: row.expand(len(pixels), -1))

    fearless = Memory("fearless", label_set=LabelSet("six", BASIC7.classes[:-1]))
    plan = AttackPlan(method="square", eps=(0.01,), iterations=2)
    report = summarize_results(compare([Afraid("afraid"), fearless], tmp_path, plan).results)
    assert report["data"]["images_left_out"] == 2
    rows = {row["model"]: row for row in report["attacks"]}
    assert rows["afraid"]["accuracy"] == pytest.approx(2 / 12)
    assert rows["afraid"]["n_images"] == 12


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "fgsm"}, "unknown attack 'fgsm': known are apgd, pgd, square"),
        ({"norm": "l1"}, "unknown norm 'l1'"),
        ({"loss": "mse"}, "unknown loss 'mse'"),
        ({"eps": ()}, "at least one eps"),
        ({"eps": (0.1, 0.0)}, "above 0"),
        ({"evaluations": 0}, "evaluations must be at least 1"),
        ({"eot": 0}, "eot must be at least 1"),
        ({"iterations": 0}, "at least 1 step"),
        ({"method": "square", "minimal": True}, "use apgd or pgd"),
        ({"method": "square", "targets": 1}, "use apgd or pgd"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AttackPlan(**options)  # type: ignore[arg-type]
