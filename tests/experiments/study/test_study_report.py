import copy
import csv
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from emodc.experiments.study.output import write_study
from emodc.experiments.study.runs import RUNS, TEST, Splits
from emodc.experiments.study.summary import summarize_study
from emodc.experiments.study.tables import arm_table, study_markdown, study_section
from tests.experiments.study.conftest import finish, make_study
from write_study import rewritten

pytestmark = pytest.mark.usefixtures("few_arms")


@pytest.fixture
def report(splits: Splits, done: Path) -> dict[str, Any]:
    study = make_study(splits, done)
    return summarize_study(study, finish(study), "emodc study --data synthetic:/path/to/data")


def arm(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (arm for arm in report["arms"] if arm["name"] == name)
    return dict(found)


def test_figures_are_those_of_the_evaluations(report: dict[str, Any], done: Path) -> None:
    for name in ("base", "amdit"):
        found = arm(report, name)
        folders = [done / RUNS / run["run"] / TEST / "report.json" for run in found["runs"]]
        own = [json.loads(file.read_text()) for file in folders]
        for figure in ("accuracy", "mean_class_accuracy", "macro_f1", "ece"):
            values = [evaluation[figure] for evaluation in own]
            assert found["figures"][figure]["mean"] == pytest.approx(fmean(values))
            assert found["figures"][figure]["sd"] == pytest.approx(stdev(values))
            assert found["figures"][figure]["n"] == 2
        d_p = [fmean(entry["d_p"] for entry in e["error_by_timestep"]) for e in own]
        assert found["figures"]["d_p"]["mean"] == pytest.approx(fmean(d_p))
    base, amdit = (arm(report, name)["runs"] for name in ("base", "amdit"))
    ratios = [ours["d_p"] / theirs["d_p"] for ours, theirs in zip(amdit, base, strict=True)]
    assert arm(report, "amdit")["d_p_to_base"]["mean"] == pytest.approx(fmean(ratios))
    assert arm(report, "base")["d_p_to_base"]["mean"] == 1
    assert arm(report, "baseline-cnn")["d_p_to_base"]["mean"] is None
    assert arm(report, "baseline-cnn")["figures"]["d_p_at_end"]["n"] == 0


def test_claims_pair_the_seeds_that_both_arms_have(report: dict[str, Any]) -> None:
    claims = {(row["arm"], row["reference"]): row for row in report["comparisons"]}
    assert len(claims) == 4
    assert claims["amdit", "base"]["seeds"] == [0, 1]
    assert claims["amdit", "baseline-cnn"]["seeds"] == claims["amdit", "margin"]["seeds"] == [0]
    for (name, reference), row in claims.items():
        count = len(row["seeds"])
        ours, theirs = (arm(report, n)["runs"][:count] for n in (name, reference))
        means = [fmean(run["accuracy"] for run in among) for among in (ours, theirs)]
        assert row["difference"] == pytest.approx(means[0] - means[1])
        for test, first, second in zip(row["mcnemar"], ours, theirs, strict=True):
            more = test["only_ours"] - test["only_theirs"]
            assert more == round((first["accuracy"] - second["accuracy"]) * row["n_images"])


def test_the_report_tells_what_was_done(report: dict[str, Any]) -> None:
    assert report["data"]["images"] == {"training": 28, "validation": 28, "test": 21}
    assert report["samples"] == 32
    assert {"emodc", "torch"} <= set(report["versions"])
    alpha = float(arm(report, "amdit")["setting"].removeprefix("alpha-"))
    assert arm(report, "amdit-null")["objective"]["alpha"] == alpha
    assert arm(report, "amdit-null")["setting"] == arm(report, "amdit")["setting"]
    tried = arm(report, "amdit")["tried"]
    assert {row["setting"] for row in tried} == {"alpha-0.2", "alpha-0.4"}
    text = study_markdown(report)
    assert report["command"] in text
    assert "21 test images" in text
    assert "Chosen on validation images" in text


def test_a_changed_figure_changes_the_table(report: dict[str, Any]) -> None:
    changed = copy.deepcopy(report)
    changed["arms"][0]["figures"]["ece"]["mean"] += 0.1
    assert arm_table(changed) != arm_table(report)
    changed["comparisons"][0]["difference"] *= -1
    flipped = f"{changed['comparisons'][0]['difference']:+.3f}"
    assert flipped in "\n".join(study_section(changed))


def test_figures_come_with_their_data(report: dict[str, Any], tmp_path: Path) -> None:
    write_study(report, tmp_path)
    with (tmp_path / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    means = {row["arm"]: float(row["accuracy"]) for row in rows if row["seed"] == "mean"}
    assert means == {a["name"]: a["figures"]["accuracy"]["mean"] for a in report["arms"]}
    assert sum(row["seed"] != "mean" for row in rows) == sum(len(a["runs"]) for a in report["arms"])
    assert all(float(r["low"]) <= float(r["accuracy"]) <= float(r["high"]) for r in rows)
    with (tmp_path / "validation.csv").open() as file:
        curves = list(csv.DictReader(file))
    assert {row["samples"] for row in curves} == {"16", "32"}
    for name in ("accuracy", "validation"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "study.json").read_text()) == report


PAGE = "before\n<!-- study -->\nold\n<!-- end of study -->\nafter\n"


def test_pages_with_marks_are_found_and_rewritten(report: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "study"
    folder.mkdir(parents=True)
    marked, other = folder / "README.md", folder.parent / "other.md"
    marked.write_text(PAGE)
    other.write_text("no marks\n")
    assert rewritten(tmp_path) == {marked: PAGE.replace("old", "None yet.")}
    write_study(report, folder)
    other.write_text(PAGE)
    pages = rewritten(tmp_path)
    assert pages.keys() == {marked, other}
    for page, image in ((marked, "(accuracy.png)"), (other, "(study/accuracy.png)")):
        text = pages[page]
        assert "\n".join(arm_table(report)) in text
        assert report["command"] in text
        assert image in text
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")


def test_a_quick_study_has_a_place_of_its_own(report: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "docs" / "study" / "README.md"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE + PAGE.replace("study", "quick study"))
    write_study(report, page.parent / "quick")
    full, quick = rewritten(tmp_path)[page].split("after\n", maxsplit=1)
    assert "None yet." in full
    assert "(quick/accuracy.png)" in quick
