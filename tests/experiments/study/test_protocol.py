import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from emodc.experiments.study import arms
from emodc.experiments.study.arms import Arm, Setting
from emodc.experiments.study.protocol import QUICK_IMAGES, ArmResult, Study
from emodc.experiments.study.runs import RUNS, TEST, Run, Splits, claimed
from emodc.experiments.study.summary import summarize_study
from emodc.experiments.study.tables import study_markdown
from emodc.model.identity import weights_hash
from emodc.model.store import load_model
from emodc.training.loop import train
from tests.experiments.study.conftest import FEW, finish, make_study, tiny

pytestmark = pytest.mark.usefixtures("few_arms")


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "study"))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained from now on."""
    names: list[str] = []

    def counted(recipe: Any, training: Any, validation: Any, output: Path, **options: Any) -> Any:
        names.append(output.name)
        return train(recipe, training, validation, output, **options)

    monkeypatch.setattr("emodc.experiments.study.runs.train", counted)
    return names


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


@contextmanager
def another_process(run: Run) -> Iterator[None]:
    """Another process is at a run within the block."""
    code = (
        "import sys\nfrom filelock import FileLock\n"
        "with FileLock(sys.argv[1]):\n    print('there', flush=True)\n    sys.stdin.read()"
    )
    lock = run.folder.with_name(f"{run.name}.lock")
    with Popen([sys.executable, "-c", code, str(lock)], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        yield
        process.kill()


def by_name(results: list[ArmResult]) -> dict[str, ArmResult]:
    return {result.arm.name: result for result in results}


def report_of(study: Study) -> dict[str, Any]:
    return summarize_study(study, finish(study), "emodc study")


def test_tried_and_chosen_is_the_first_run(splits: Splits, done: Path) -> None:
    study = make_study(splits, done)
    assert all(not any(cost.work.values()) and cost.seconds == 0 for cost in study.costs())
    results = by_name(finish(study))
    assert list(results) == [arm.name for arm in FEW]
    for result in results.values():
        best = max(outcome.validation_accuracy or 0 for outcome in result.tried)
        assert result.outcomes[0].validation_accuracy == best
        assert result.outcomes[0].run in [outcome.run for outcome in result.tried]
        assert len(result.outcomes) == (2 if result.arm.many_seeds else 1)
        assert all(outcome.run.setting == result.chosen for outcome in result.outcomes)
    # Only what was chosen is shown test images.
    tested = {path.parent.name for path in (done / RUNS).glob(f"*/{TEST}")}
    assert tested == {o.run.name for result in results.values() for o in result.outcomes}


def test_doing_it_again_does_nothing_twice(
    splits: Splits, folder: Path, trainings: list[str]
) -> None:
    before = stamps(folder)
    report = report_of(make_study(splits, folder))
    assert trainings == []
    assert stamps(folder) == before
    assert report["finished"]


def test_only_the_missing_run_is_done(splits: Splits, folder: Path, trainings: list[str]) -> None:
    whole = report_of(make_study(splits, folder))
    shutil.rmtree(folder / RUNS / "base-seed1")
    shutil.rmtree(folder / RUNS / "baseline-cnn-seed0" / TEST)
    missing = {cost.name: cost for cost in make_study(splits, folder).costs()}
    assert missing["base"].work == {"trainings": 1, "samples": 32, "evaluations": 1}
    assert missing["baseline-cnn"].work["evaluations"] == 1
    assert missing["base"].seconds > 0
    assert missing["amdit"].work == {}
    assert missing["baseline-cnn"].work["trainings"] == 0
    assert report_of(make_study(splits, folder)) == whole
    assert trainings == ["base-seed1"]


def test_validation_alone_chooses(splits: Splits, folder: Path, trainings: list[str]) -> None:
    """Another setting of better validation accuracy is taken, whatever the test accuracy was."""
    amdit = by_name(finish(make_study(splits, folder)))["amdit"]
    (other,) = (o.run for o in amdit.tried if o.run.setting != amdit.chosen)
    file = other.folder / "report.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"accuracy": 0.99}))
    shutil.rmtree(folder / RUNS / "amdit-null-seed0")  # it followed the first choice
    results = by_name(finish(make_study(splits, folder)))
    assert results["amdit"].chosen == other.setting
    assert trainings == [f"amdit-{other.setting.name}-seed1", "amdit-null-seed0"]
    assert results["amdit"].outcomes[0].run == other
    null = results["amdit-null"].outcomes[0].run.recipe.phases[-1].objective
    assert null.alpha == other.setting.objective["alpha"]  # type: ignore[union-attr]


def test_a_quick_study_does_not_mix_with_a_full_one(
    splits: Splits, done: Path, trainings: list[str]
) -> None:
    quick = make_study(splits, done, quick=True, seeds=None, limit=None)
    assert (quick.seeds, quick.limit) == (1, QUICK_IMAGES)
    with pytest.raises(ValueError, match="another recipe; choose another --output"):
        finish(quick)
    assert trainings == []


def test_other_data_samples_or_draws_are_refused(splits: Splits, done: Path) -> None:
    with pytest.raises(ValueError, match="another recipe; choose another --output"):
        finish(Study(tiny(samples=48), splits, done, seeds=2, steps=2, limit=21, device="cpu"))
    fewer = Splits(
        splits.training.subset(splits.training.labels[:21]), *list(vars(splits).values())[1:]
    )
    with pytest.raises(ValueError, match="another training data"):
        finish(make_study(fewer, done))
    with pytest.raises(ValueError, match="another"):
        finish(make_study(splits, done, steps=3))


def test_all_arms_begin_with_the_same_weights(
    splits: Splits, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = load_model(done / RUNS / "base-seed0")
    monkeypatch.setattr(arms, "ARMS", (FEW[0], FEW[-1]))
    options = {"seeds": 1, "initial": initial}
    study = make_study(splits, tmp_path, **options)
    (result,) = finish(study)
    begun = load_model(result.outcomes[0].run.folder).facts["initial_model"]
    assert begun["weights_sha256"] == weights_hash(initial)
    report = summarize_study(study, [result], "emodc study")
    assert report["initial_model"] == {
        "name": initial.name,
        "weights_sha256": weights_hash(initial),
    }
    assert report["left_out"][0]["arm"] == "baseline-cnn"
    assert f"All arms begin with the weights of `{initial.name}`" in study_markdown(report)
    other = load_model(done / RUNS / "amdit-alpha-0.2-seed1")
    with pytest.raises(ValueError, match="another initial model"):
        finish(make_study(splits, tmp_path, **options | {"initial": other}))


@pytest.mark.parametrize("part", ["", TEST], ids=["training", "evaluation"])
def test_what_another_process_is_at_is_left_to_it_until_it_is_killed(
    part: str,
    splits: Splits,
    folder: Path,
    trainings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make_study(splits, folder)
    theirs = by_name(finish(study))["base"].outcomes[1].run
    shutil.rmtree(theirs.folder / part)
    shutil.rmtree(folder / RUNS / "baseline-cnn-seed0")
    told: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(another_process(theirs))

        def sleep(seconds: float) -> None:
            assert (folder / RUNS / "baseline-cnn-seed0" / TEST / "report.json").exists()
            assert not (theirs.folder / part).exists()
            stack.close()

        monkeypatch.setattr("emodc.experiments.study.protocol.time.sleep", sleep)
        *_, results = make_study(splits, folder).run(lambda *_: None, told.append)
    assert trainings == ["baseline-cnn-seed0", *([] if part else [theirs.name])]
    assert told[0] == f"another process is at {theirs.name}: waiting for it"
    assert len(results) == len(FEW)


def test_what_another_process_has_done_is_not_done_again(
    splits: Splits, folder: Path, trainings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may finish between a look at what is left and the claim."""
    run = folder / RUNS / "margin-mf-0.1-seed0"
    run.rename(folder / "done")

    @contextmanager
    def too_late(claimed_run: Run, *, wait: bool = False) -> Iterator[bool]:
        if claimed_run.folder == run and not run.exists():
            (folder / "done").rename(run)
        with claimed(claimed_run, wait=wait) as free:
            yield free

    monkeypatch.setattr("emodc.experiments.study.protocol.claimed", too_late)
    finish(make_study(splits, folder))
    assert trainings == []


def test_a_finished_study_is_told_whole_at_once(splits: Splits, folder: Path) -> None:
    """A process that is behind must not put a shorter report in the place of a whole one."""
    (results,) = make_study(splits, folder).run(lambda *_: None, lambda line: None)
    assert [result.arm.name for result in results] == [arm.name for arm in FEW]


def test_of_equals_the_first_is_chosen(splits: Splits, folder: Path) -> None:
    for setting in ("mf-0.05", "mf-0.1"):
        file = folder / RUNS / f"margin-{setting}-seed0" / "report.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"accuracy": 0.5}))
    margin = by_name(finish(make_study(splits, folder)))["margin"]
    assert margin.chosen == FEW[1].settings[0]


HUGE = Setting("huge", {"margin": 1e3, "weight": 1e38})  # their product is no float32


def diverging(*settings: Setting) -> tuple[Arm, ...]:
    margin = Arm("margin", "fixed margin", {"kind": "margin"}, settings, many_seeds=True)
    follower = Arm("follower", "of margin", {"kind": "margin"}, follows="margin")
    return (FEW[0], margin, follower, FEW[2])


def test_a_diverged_arm_is_reported_and_the_rest_goes_on(
    splits: Splits, folder: Path, monkeypatch: pytest.MonkeyPatch, trainings: list[str]
) -> None:
    monkeypatch.setattr(arms, "ARMS", diverging(HUGE))
    report = report_of(make_study(splits, folder))
    assert trainings == ["margin-huge-seed0"]
    assert [arm["name"] for arm in report["arms"]] == ["base", "margin", "amdit"]
    (margin,) = (arm for arm in report["arms"] if arm["name"] == "margin")
    assert margin["setting"] is None
    assert margin["tried"][0]["diverged"]
    (diverged,) = report["diverged"]
    assert diverged["run"] == "margin-huge-seed0"
    assert "loss is" in diverged["reason"]
    (left,) = report["left_out"]
    assert left["arm"] == "follower"
    assert report["finished"]
    assert [row["reference"] for row in report["comparisons"]] == ["base"]
    assert "| margin | diverged |" in study_markdown(report)
    json.dumps(report, allow_nan=False)
    report_of(make_study(splits, folder))  # and it is not tried again
    assert trainings == ["margin-huge-seed0"]
    for cost in make_study(splits, folder).costs():  # nor counted as work
        assert not any(cost.work.values())
        assert cost.seconds == 0
    monkeypatch.setattr(arms, "ARMS", diverging(HUGE, FEW[1].settings[0]))
    results = by_name(finish(make_study(splits, folder)))
    assert results["margin"].chosen == FEW[1].settings[0]  # what diverged is never chosen
    assert len(results["margin"].diverged) == 1
