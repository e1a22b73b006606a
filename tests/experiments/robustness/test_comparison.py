from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from emodc.corruptions import CORRUPTIONS, SUITES, corrupt
from emodc.data import open_data
from emodc.experiments.robustness import AttackPlan, Comparison, ModelSubject, SequentialSubject
from emodc.experiments.robustness.attack_tasks import tasks_of
from emodc.experiments.robustness.conditions import CLEAN, conditions_of
from emodc.experiments.robustness.summary import summarize_results
from emodc.experiments.robustness.tables import summary_table
from emodc.inference.scorer import Scorer
from emodc.labels import BASIC7, LabelSet
from tests.experiments.robustness.conftest import Memory, faces, remembering

EVERY = len(SUITES["noise-blur"])


def cells(folder: Path) -> dict[str, int]:
    """When each cell was last written, by name."""
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in folder.rglob("*.safetensors")}


def test_a_cell_holds_the_answers_to_corrupted_crops(subject: ModelSubject, tmp_path: Path) -> None:
    data = faces()
    comparison = Comparison([subject], data, tmp_path, severities=(4,), seeds=(3,))
    comparison.run()
    noise = comparison.results.conditions[1]
    crops = [corrupt(data.image(i), noise.name, 4, 3, i) for i in range(14)]
    x0 = subject.model.settings.codec.encode(crops)
    expected = Scorer(subject.model, steps=2, seed=3)(x0).probabilities
    found = comparison.results.probabilities(subject, noise, 3)[:, 0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_sequential_scoring_tells_the_draws_it_took(
    sequential: SequentialSubject, tmp_path: Path
) -> None:
    data = faces()
    comparison = Comparison([sequential], data, tmp_path, severities=(5,), seeds=(3,))
    comparison.run()
    x0 = sequential.model.settings.codec.encode([data.image(i) for i in range(14)])
    expected = Scorer(sequential.model, delta=0.05, seed=3)(x0)
    found = comparison.results.probabilities(sequential, CLEAN, 3)[:, 0]
    assert torch.allclose(found, expected.probabilities, atol=1e-5)
    mean = float(expected.draws.double().mean())
    assert comparison.results.mean_draws(sequential, CLEAN) == mean < sequential.draws
    (model,) = summarize_results(comparison.results)["models"]
    assert (model["draws"], model["clean"]["draws"]) == (12, mean)
    shown = f"{mean:.1f} / {model['corrupted']['draws']:.1f}"
    assert shown in summary_table(summarize_results(comparison.results))[2]
    with pytest.raises(ValueError, match="no stopping threshold for delta"):
        replace(sequential, delta=0.001)


def test_corruption_comes_before_resizing(subject: ModelSubject, tmp_path: Path) -> None:
    """The codec takes 16 pixels; faces of 24 must be corrupted at 24."""
    sizes: list[tuple[int, ...]] = []

    class Watching(Memory):
        def answers(
            self, crops: Sequence[NDArray[np.uint8]], seed: int
        ) -> tuple[torch.Tensor, torch.Tensor]:
            sizes.extend(crop.shape for crop in crops)
            return super().answers(crops, seed)

    data = open_data("synthetic:count=7,size=24", "test")
    Comparison([Watching("watching"), subject], data, tmp_path, severities=(1,)).run()
    assert set(sizes) == {(24, 24)}


def test_a_face_is_corrupted_alike_whatever_other_faces_are_chosen(tmp_path: Path) -> None:
    seen: dict[str, set[bytes]] = {}

    class Watching(Memory):
        def answers(
            self, crops: Sequence[NDArray[np.uint8]], seed: int
        ) -> tuple[torch.Tensor, torch.Tensor]:
            seen.setdefault(self.name, set()).update(crop.tobytes() for crop in crops)
            return super().answers(crops, seed)

    for name, limit in (("all", None), ("some", 5)):
        subjects = [Watching(name)]
        Comparison(subjects, faces(), tmp_path / name, severities=(3,), limit=limit).run()
    assert len(seen["some"]) == 5 * (EVERY + 1)
    assert seen["some"] < seen["all"]


def test_only_what_is_missing_is_measured(tmp_path: Path) -> None:
    subjects = [remembering("a", faces()), Memory("b")]
    Comparison(subjects, faces(), tmp_path, severities=(1, 2)).run()
    before = cells(tmp_path)
    assert len(before) == 2 * (2 * EVERY + 1)
    gone = next((tmp_path / "cells" / "b").glob("*shot_noise-2*"))
    gone.unlink()
    for memory in subjects:
        memory.shown.clear()
    again = Comparison(subjects, faces(), tmp_path, severities=(1, 2))
    assert [cost.work["cells"] for cost in again.cost()] == [0, 1]
    for memory in subjects:
        memory.shown.clear()
    progress: list[tuple[int, int]] = []
    again.run(lambda done, total, note="": progress.append((done, total)))
    assert (sum(subjects[0].shown), sum(subjects[1].shown)) == (0, 14)
    assert (progress[0], progress[-1]) == ((0, 14), (14, 14))
    after = cells(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {
        str(gone.relative_to(tmp_path))
    }


def test_models_severities_and_seeds_can_be_added(tmp_path: Path) -> None:
    first = remembering("a", faces())
    Comparison([first], faces(), tmp_path, severities=(1,)).run()
    first.shown.clear()
    more = Comparison([first, Memory("b")], faces(), tmp_path, severities=(1, 5), seeds=(0, 1))
    more.run()
    assert sum(first.shown) == 14 * ((1 + 2 * EVERY) * 2 - (1 + EVERY))


def test_results_of_something_else_are_refused(subject: ModelSubject, tmp_path: Path) -> None:
    Comparison([subject], faces(), tmp_path, severities=(1,)).run()
    others = {
        "data": Comparison([subject], faces(7), tmp_path, severities=(1,)),
        "steps": Comparison([replace(subject, steps=3)], faces(), tmp_path, severities=(1,)),
    }
    decision = subject.model.decision.model_copy(update={"scale": 1.0})
    changed = replace(subject, model=replace(subject.model, decision=decision))
    longer = {"suites": ["rafdb-p"], "frames": 3}
    Comparison([subject], faces(), tmp_path, **longer).run()  # type: ignore[arg-type]
    longer["frames"] = 4
    others["number of frames"] = Comparison([subject], faces(), tmp_path, **longer)  # type: ignore[arg-type]
    others["decision"] = Comparison([changed], faces(), tmp_path, severities=(1,))
    before = cells(tmp_path)
    for difference, comparison in others.items():
        with pytest.raises(ValueError, match=f"another {difference}; choose another output"):
            comparison.run()
    assert cells(tmp_path) == before


def test_results_of_other_corruptions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again() -> Comparison:
        return Comparison([Memory("a")], faces(), tmp_path, severities=(1,))

    again().run()
    noise = again().results.conditions[1].name
    changed = replace(CORRUPTIONS[noise], levels=(0.01, 0.02, 0.03, 0.04, 0.05))
    monkeypatch.setitem(CORRUPTIONS, noise, changed)
    with pytest.raises(ValueError, match="another level of the corruption"):
        again().run()


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    comparison = Comparison([Memory("a")], faces(), tmp_path, suites=())
    comparison.run()
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"clean-clean-0.safetensors: damaged; delete it"):
        Comparison([Memory("a")], faces(), tmp_path, suites=()).run()


def test_seeds_are_averaged_face_by_face(subject: ModelSubject, tmp_path: Path) -> None:
    seeds = (0, 1, 2)
    together = Comparison([subject], faces(), tmp_path / "all", severities=(2,), seeds=seeds)
    together.run()
    noise = together.results.conditions[1]
    alone = []
    for seed in seeds:
        one = Comparison([subject], faces(), tmp_path / str(seed), severities=(2,), seeds=(seed,))
        one.run()
        alone.append(one.results.right(subject, noise))
    assert torch.allclose(together.results.right(subject, noise), torch.stack(alone).mean(dim=0))


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    """A subject with another order, one class more and one less gives the same answers."""
    data = faces()
    other = LabelSet("other", ("contempt", "neutral", *reversed(BASIC7.classes[2:])))
    full = remembering("full", data)
    known = {
        crop: other.index(BASIC7.classes[k])
        for crop, k in full.known.items()
        if BASIC7.classes[k] != "happiness"
    }
    comparison = Comparison([full, Memory("other", known, other)], data, tmp_path, suites=())
    comparison.run()
    assert comparison.results.sample.classes == ("neutral", *BASIC7.classes[2:])
    assert comparison.results.sample.images_left_out == 2
    for subject in comparison.results.subjects:
        assert comparison.results.right(subject, CLEAN).tolist() == [1.0] * 12
        answers = comparison.results.probabilities(subject, CLEAN, 0)
        assert answers.shape == (12, 1, 6)
        assert torch.allclose(answers.sum(dim=2), torch.ones(12, 1, dtype=torch.float64))
    stranger = Memory("stranger", label_set=LabelSet("x", ("neutral", "calm")))
    with pytest.raises(ValueError, match="at least two classes must be common to all"):
        Comparison([full, stranger], data, tmp_path)


def test_unreadable_faces_are_left_out_for_all(tmp_path: Path) -> None:
    data = faces()

    def reader(index: int) -> NDArray[np.uint8]:
        if index == 4:
            raise ValueError("4.png: damaged")
        return data.image(index)

    comparison = Comparison([Memory("a")], replace(data, reader=reader), tmp_path, suites=())
    comparison.run()
    assert comparison.results.sample.skipped == ((data.ids[4], "4.png: damaged"),)
    assert comparison.results.sample.index.tolist() == [i for i in range(14) if i != 4]
    assert len(comparison.results.right(comparison.results.subjects[0], CLEAN)) == 13

    def nothing(index: int) -> NDArray[np.uint8]:
        raise ValueError(f"{index}.png: damaged")

    with pytest.raises(ValueError, match=r"no image can be read: 0.png: damaged"):
        Comparison([Memory("a")], replace(data, reader=nothing), tmp_path)


def test_a_diverged_model_is_named(tmp_path: Path) -> None:
    class Diverged(Memory):
        def answers(
            self, crops: Sequence[NDArray[np.uint8]], seed: int
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full((len(crops), 7), torch.nan), torch.zeros(len(crops))

    with pytest.raises(ValueError, match="model 'broken' answers NaN or infinity under clean"):
        Comparison([Diverged("broken")], faces(), tmp_path).run()


def test_cost_grows_with_everything(subject: ModelSubject, tmp_path: Path) -> None:
    def evaluations(subject: ModelSubject = subject, **options: object) -> int:
        arguments = {"severities": (1,)} | options
        (cost,) = Comparison([subject], faces(), tmp_path, **arguments).cost()  # type: ignore[arg-type]
        assert cost.seconds > 0
        return cost.work["network evaluations at most"]

    base = evaluations()
    assert base == 14 * (EVERY + 1) * 2
    assert evaluations(severities=(1, 2)) > base
    assert evaluations(seeds=(0, 1)) == 2 * base
    assert evaluations(replace(subject, steps=4)) == 2 * base
    assert evaluations(limit=7) == base / 2
    assert evaluations(suites=("noise-blur", "rafdb-p"), frames=3) == base + 14 * 10 * 3 * 2
    attacked = evaluations(attack=AttackPlan())
    assert attacked > base
    for harder in (
        AttackPlan(iterations=30),
        AttackPlan(eps=(0.1, 0.2)),
        AttackPlan(eot=2),
        AttackPlan(minimal=True),
        AttackPlan(restarts=2),
        AttackPlan(targets=3),
    ):
        assert evaluations(attack=harder) > attacked
    assert evaluations(attack=AttackPlan(checked=0)) < attacked


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for options, reason in (
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "none twice"),
        ({"limit": 0}, "at least one image"),
    ):
        with pytest.raises(ValueError, match=reason):
            Comparison([Memory("a")], faces(), tmp_path, **options)
    with pytest.raises(ValueError, match="names of their own: a, a"):
        Comparison([Memory("a"), Memory("a")], faces(), tmp_path)
    with pytest.raises(ValueError, match="was not measured yet"):
        Comparison([Memory("a")], faces(), tmp_path).results.right(Memory("a"), CLEAN)


def test_files_of_different_work_never_meet(subject: ModelSubject) -> None:
    plans = [AttackPlan(), AttackPlan(loss="ce"), AttackPlan(norm="l2"), AttackPlan(eot=3)]
    plans += [AttackPlan(method="pgd"), AttackPlan(method="square"), AttackPlan(restarts=2)]
    tasks = [task for plan in plans for task in tasks_of(plan, subject, 0)]
    described = {str(task.settings) + task.kind for task in tasks}
    assert len({task.file for task in tasks}) == len(described)
    conditions = conditions_of(["all", "rafdb-p"], (1, 2, 3, 4, 5), frames=3)
    assert len({condition.file for condition in conditions}) == len(conditions)
